"""A real sweep, by the command line, killed with SIGKILL and launched again: MLflow shows each trial once and whole."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.store import LocalFiles, TrialStore
from pipeline.tracking import connect, default_target, prepare

TINY = Path(__file__).parents[1] / "pipeline" / "search"

PROGRAM = """
import functools, sys
import pipeline.search.sweep as search
search.launch = functools.partial(search.launch, provider="tiny_inputs:provide_slowly")
from pipeline.cli import main
main(sys.argv[1:])
"""

SWEEP = """
name: killed
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


def launch(folder: Path) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(filter(None, [str(TINY), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-c", PROGRAM, "sweep", "launch", "killed.yaml", "--root", "runs"]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, stdout=log, stderr=log)


def reports_in(root: Path) -> int:
    """Points of curves that MLflow shows so far."""
    client = connect(default_target(root))
    experiment = client.get_experiment_by_name("killed")
    if experiment is None:
        return 0
    runs = client.search_runs([experiment.experiment_id], "tags.`sept.role` = 'trial'")
    return sum(len(client.get_metric_history(run.info.run_id, "val/h")) for run in runs)


@pytest.mark.slow
def test_sigkill_of_the_launch_loses_and_doubles_nothing_in_mlflow(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    (tmp_path / "killed.yaml").write_text(SWEEP)
    prepare(default_target(root))
    rng = random.Random(7)
    for least in (1, 6):
        process = launch(tmp_path)
        deadline = time.monotonic() + 180
        while reports_in(root) < least and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(rng.uniform(0, 0.6))
        process.kill()
        assert process.wait(30) == -signal.SIGKILL, (tmp_path / "log.txt").read_text()
        assert reports_in(root) >= least
    last = launch(tmp_path)
    assert last.wait(300) == 0, (tmp_path / "log.txt").read_text()

    store = TrialStore(LocalFiles(root))
    verdicts = {(verdict.study, verdict.number): verdict for verdict in store.verdicts("killed")}
    assert len(verdicts) == 6
    client = connect(default_target(root))
    experiment = client.get_experiment_by_name("killed")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    trials = [run for run in runs if run.data.tags["sept.role"] == "trial"]
    assert sorted((run.data.tags["sept.study"], int(run.data.tags["sept.number"])) for run in trials) == sorted(
        verdicts
    )
    assert len(runs) - len(trials) == 2
    for run in trials:
        verdict = verdicts[run.data.tags["sept.study"], int(run.data.tags["sept.number"])]
        assert run.data.tags["sept.signature"] == verdict.signature
        assert run.data.tags["sept.state"] == verdict.state
        points = client.get_metric_history(run.info.run_id, "val/h")
        assert sorted((point.step, point.value, point.timestamp) for point in points) == [
            (report.epoch, report.metrics["val/h"], report.timestamp_ms) for report in verdict.curve
        ]
        assert ("test/h" in run.data.metrics) == (verdict.state == "finished")
    shutil.rmtree(root)
