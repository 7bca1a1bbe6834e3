"""The search: Optuna proposes, Ray Tune executes, the trial store is the truth.

`studies.py` is the search itself, pure functions of a study and its history; `driver.py` connects it with the store;
`worker.py` runs on workers; `tune.py` passes trials to Ray Tune; `sweep.py` launches and resumes. Nothing is
re-exported here: a worker process imports only `worker.py` and must not load the driver's libraries.
"""

__all__: list[str] = []
