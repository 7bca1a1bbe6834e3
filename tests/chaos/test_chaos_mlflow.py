"""A real sweep, by the command line: MLflow shows each trial once and whole, whatever was killed or away meanwhile."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from launching import launched, said
from mlflow_server import until
from s3_faults import proxying

from pipeline.store import LocalFiles, TrialStore
from pipeline.tracking import TrackingTarget, default_target, mlflow_client, prepare
from pipeline.tracking.describe import rounded

SWEEP = """
encoder: mini
datasets: [FSDD]
methods: [zero-shot, coop]
trials: 5
shots: 2
folds: {FSDD: [theo]}
training: {epochs: 4, report_every: 1, batch_size: 8}
sampler: {name: tpe, seed: 3, n_startup_trials: 2}
pruner: {name: median, n_startup_trials: 1, n_warmup_epochs: 1}
resources: {workers: 2}
spaces:
  coop: {n_ctx: {choices: [1, 2]}, lr: {low: 0.01, high: 5.0, log: true}}
"""


def launch(folder: Path, target: TrackingTarget) -> AbstractContextManager[subprocess.Popen[bytes]]:
    options = ("--mlflow", target.uri) if target.served else ()
    return launched(folder, "tiny_inputs:provide_slowly", "sweep", "launch", "killed.yaml", "--root", "runs", *options)


def runs_in(target: TrackingTarget, sweep: str) -> list[Any]:
    """What MLflow shows of the sweep."""
    client = mlflow_client(target)
    experiment = client.get_experiment_by_name(sweep)
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def reports_in(target: TrackingTarget, sweep: str) -> int:
    """Points of curves that MLflow shows so far."""
    trials = [run for run in runs_in(target, sweep) if run.data.tags["sept.role"] == "trial"]
    return sum(len(mlflow_client(target).get_metric_history(run.info.run_id, "val/h")) for run in trials)


def check(target: TrackingTarget, root: Path, sweep: str) -> None:
    """Each trial of the store is one run that has ended, with its curve, under one run for its study."""
    decisions = {
        (decision.study, decision.number): decision for decision in TrialStore(LocalFiles(root)).decisions(sweep)
    }
    assert len(decisions) == 6
    client, runs = mlflow_client(target), runs_in(target, sweep)
    assert {run.info.status for run in runs} == {"FINISHED"}
    trials = [run for run in runs if run.data.tags["sept.role"] == "trial"]
    assert sorted((run.data.tags["sept.study"], int(run.data.tags["sept.number"])) for run in trials) == sorted(
        decisions
    )
    assert len(runs) - len(trials) == 2 + 1  # two studies and the report
    for run in trials:
        decision = decisions[run.data.tags["sept.study"], int(run.data.tags["sept.number"])]
        assert run.data.tags["sept.signature"] == decision.signature
        assert run.data.tags["sept.state"] == decision.state
        points = client.get_metric_history(run.info.run_id, "val/h")
        assert sorted((point.step, point.value, point.timestamp) for point in points) == [
            (report.epoch, rounded(report.metrics["val/h"]), report.timestamp_ms) for report in decision.curve
        ]
        assert ("test/h" in run.data.metrics) == (decision.state == "finished")


@pytest.fixture(params=["sqlite", "server"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> TrackingTarget:
    """Either kind of place to track into."""
    uri = None if request.param == "sqlite" else request.getfixturevalue("server")
    place = default_target(tmp_path / "runs", uri)
    prepare(place)
    return place


@pytest.mark.long
def test_sigkill_of_the_launch_loses_and_doubles_nothing_in_mlflow(tmp_path: Path, target: TrackingTarget) -> None:
    root = tmp_path / "runs"
    (tmp_path / "killed.yaml").write_text(f"name: killed{SWEEP}")
    rng = random.Random(7)
    for least in (1, 6):
        with launch(tmp_path, target) as process:
            deadline = time.monotonic() + 180
            while reports_in(target, "killed") < least and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(rng.uniform(0, 0.6))
            process.kill()
            assert process.wait(30) == -signal.SIGKILL, said(tmp_path)
        assert reports_in(target, "killed") >= least
    with launch(tmp_path, target) as process:
        assert process.wait(300) == 0, said(tmp_path)
    check(target, root, "killed")


@pytest.mark.long
def test_trials_go_on_while_mlflow_is_away_and_are_there_once_it_is_back(tmp_path: Path, server: str) -> None:
    root, direct = tmp_path / "runs", default_target(tmp_path / "runs", server)
    (tmp_path / "killed.yaml").write_text(f"name: away{SWEEP}")
    store = TrialStore(LocalFiles(root))
    with proxying(server) as proxy, launch(tmp_path, default_target(root, proxy.address)) as process:
        until(lambda: reports_in(direct, "away") > 0 or process.poll() is not None)
        ended, proxy.answer = len(store.decisions("away")), (500, "InternalError")
        until(lambda: len(store.decisions("away")) >= ended + 3 or process.poll() is not None)
        before = reports_in(direct, "away")
        until(lambda: len(store.decisions("away")) >= ended + 4 or process.poll() is not None)
        assert process.poll() is None, said(tmp_path)
        assert reports_in(direct, "away") == before
        proxy.answer = None
        assert process.wait(300) == 0, said(tmp_path)
    assert "did not take" not in said(tmp_path)
    check(direct, root, "away")
