"""The search: Optuna proposes, Ray Tune executes, the trial store is the truth.

`studies.py` is the search itself, pure functions of a study and its history; `driver.py` connects it with the store;
`worker.py` is what runs on a worker; `tune.py` hands trials to Ray Tune; `sweep.py` launches, which is also resuming.
Nothing is re-exported here: a worker process imports `worker.py` alone and must not pay for the driver's libraries.
"""

__all__: list[str] = []
