"""The same tiny trainings run twice: by our launch, and by the stack of Ray's documentation.

Each runs in its own process and tracks to its own SQLite database. Nothing is pruned, so that both train equally often:
the schedulers are asked at every report, and always continue.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tiny_inputs
import torch
import yaml
from tiny_inputs import provide
from tiny_sweep import SWEEP

from pipeline.search.sizing import trial_config
from pipeline.spec import SweepSpec, parse_sweep
from pipeline.store import Decision, Proposal, TrialStore, open_files
from pipeline.tracking import MlflowTracker, default_target
from sept_core.results import Report, TrialResult
from sept_core.trial import TrialRun

__all__ = ["ENVIRONMENT", "Outcome", "ours", "resident_mb", "spec_of", "stock"]

EPOCHS = 4
HERE = Path(__file__).parent
# What lets workers find the trainings.
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent / "pipeline" / "search", HERE.parents[1]))),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass
class Outcome:
    """The measurements of a stack.

    Attributes:
        wall: Seconds from the first import to the last record.
        begun: Seconds until the first report: imports, Ray's and the first worker's start.
        training: Seconds of training of each trial.
        reports: Of all trials.
        memory: MB of the driver when each trial had ended, in order.
    """

    wall: float = 0.0
    begun: float = 0.0
    training: list[float] = field(default_factory=list)
    reports: int = 0
    memory: list[float] = field(default_factory=list)


def spec_of(trials: int) -> SweepSpec:
    """One study with this many trials, which train for milliseconds."""
    content = SWEEP | {
        "methods": ["coop"],
        "trials": trials,
        "training": {"epochs": EPOCHS, "report_every": 1, "batch_size": 8},
        "sampler": {"name": "tpe"},
        "pruner": {"name": "median", "n_startup_trials": 1, "n_warmup_epochs": EPOCHS},
        "spaces": {"coop": {"n_ctx": {"choices": [1, 2]}, "lr": {"low": 0.01, "high": 1.0, "log": True}}},
    }
    return parse_sweep(yaml.safe_dump(content), "tiny.yaml")


def resident_mb() -> float:
    """Memory of this process in MB (10^6 bytes)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class _Watcher:
    """An observer that keeps the figures."""

    def __init__(self) -> None:
        self.outcome = Outcome()
        self._started = time.monotonic()

    def sweep_started(self, sweep: str, studies: object) -> None: ...

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None: ...

    def reported(self, proposal: Proposal, report: Report) -> None:
        self.outcome.begun = self.outcome.begun or time.monotonic() - self._started
        self.outcome.reports += 1

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        assert result is not None
        self.outcome.training.append(result.train_seconds)
        self.outcome.memory.append(resident_mb())

    def sweep_ended(self, state: str) -> None: ...


def ours(root: Path, trials: int) -> Outcome:
    """A launch with tracking, checkpoints after every report."""
    watcher = _Watcher()
    began = time.monotonic()
    from pipeline.search.sweep import launch

    tracker = MlflowTracker(default_target(root), TrialStore(open_files(root)))
    outcome = launch(spec_of(trials), root, observers=[tracker, watcher], provider=tiny_inputs.provide)
    assert tracker.close().complete
    assert outcome.finished == trials
    watcher.outcome.wall = time.monotonic() - began
    return watcher.outcome


def train(config: dict[str, Any]) -> None:
    """The same training as a function of Ray Tune's; with a checkpoint at every report where ``keep`` is set."""
    from ray import tune

    torch.set_num_threads(1)
    spec = spec_of(1)
    study = spec.studies()[0]
    inputs = provide("", study.inputs)
    run = TrialRun(trial_config(spec, study, inputs, {"n_ctx": config["n_ctx"], "lr": config["lr"]}), inputs)
    while not run.finished:
        report = run.advance()
        told = {**report.metrics, "epoch": report.epoch, "seconds": report.time_s}
        if run.finished:
            result = run.result()
            told |= {f"test/{name}": value for name, value in result.test.items()} | {"seconds": result.train_seconds}
        if not config["keep"]:
            tune.report(told)
            continue
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "checkpoint.safetensors").write_bytes(run.checkpoint())
            tune.report(told, checkpoint=tune.Checkpoint.from_directory(folder))


def stock(root: Path, trials: int, equal: bool) -> Outcome:
    """``Tuner`` with `OptunaSearch`, `ASHAScheduler` and `MLflowLoggerCallback`.

    Args:
        root: Its folder.
        trials: Number of trials.
        equal: Whether it should do the same as ours: reuse workers, and checkpoint at every report. Otherwise it has
            its defaults.
    """
    outcome = Outcome()
    began = time.monotonic()
    import optuna
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    class Watcher(tune.Callback):
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            outcome.begun = outcome.begun or time.monotonic() - began
            outcome.reports += 1

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            outcome.training.append(trial.last_result["seconds"])
            outcome.memory.append(resident_mb())

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    workers = int(spec_of(1).resources.workers)
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    tracking = MLflowLoggerCallback(tracking_uri=default_target(root).uri, experiment_name="stock")
    tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={"n_ctx": tune.choice([1, 2]), "lr": tune.loguniform(0.01, 1.0), "keep": equal},
        tune_config=tune.TuneConfig(
            metric="val/h",
            mode="max",
            search_alg=OptunaSearch(),
            scheduler=ASHAScheduler(time_attr="epoch", max_t=EPOCHS + 1, grace_period=EPOCHS + 1),
            num_samples=trials,
            max_concurrent_trials=workers,
            reuse_actors=equal or None,
        ),
        run_config=tune.RunConfig(
            name="stock", storage_path=str(root / "tune"), callbacks=[tracking, Watcher()], verbose=0
        ),
    ).fit()
    ray.shutdown()
    outcome.wall = time.monotonic() - began
    return outcome
