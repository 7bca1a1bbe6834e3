"""A driver that sleeps beyond its lease and wakes up while another one runs its sweep: it writes nowhere any more."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import yaml
from launching import launched, said
from tiny_sweep import SHORT, outcome_of, run_inline

from pipeline.spec import parse_sweep
from pipeline.store import Lease, LocalFiles
from pipeline.tracking import default_target, mlflow_client

# It has to sleep for longer than a lease lasts.
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

SPEC = yaml.safe_dump(SHORT | {"trials": 6, "training": {"epochs": 60, "report_every": 2, "batch_size": 8}})
LAUNCH = ("sweep", "launch", "tiny.yaml", "--root", "runs")


def checkpoints(folder: Path) -> int:
    return len(list(folder.glob("runs/trials/*/*/*")))


def wait_until(condition: object, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_it_ends_and_the_other_drivers_sweep_is_as_if_it_had_never_been(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SPEC)
    files = LocalFiles(tmp_path / "runs")
    with launched(tmp_path, "slow_inputs:provide", *LAUNCH) as sleeper:
        wait_until(lambda: checkpoints(tmp_path) > 1, 180, said(tmp_path))
        os.kill(sleeper.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        while True:
            with launched(tmp_path, "slow_inputs:provide", *LAUNCH) as other:
                wait_until(
                    lambda now=other: (
                        now.poll() is not None
                        or ((holder := Lease(files, "tiny").holder()) is not None and holder.pid == now.pid)
                    ),
                    180,
                    said(tmp_path),
                )
                if other.poll() is not None:
                    # Refused: the sleeper has renewed its lease not long ago.
                    assert other.returncode == 2, said(tmp_path)
                    assert time.monotonic() - stopped < 150
                    time.sleep(5)
                    continue
                before = checkpoints(tmp_path)
                wait_until(lambda seen=before: checkpoints(tmp_path) > seen, 180, said(tmp_path))
                os.kill(sleeper.pid, signal.SIGCONT)
                assert sleeper.wait(120) not in (0, 75), said(tmp_path)
                assert other.wait(400) == 0, said(tmp_path)
                break
    assert "was taken over" in said(tmp_path)
    run_inline(parse_sweep(SPEC, "tiny.yaml"), tmp_path / "calm")
    assert outcome_of(tmp_path / "runs") == outcome_of(tmp_path / "calm")
    client = mlflow_client(default_target(str(tmp_path / "runs")))
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    # Seven trials, two studies, the report: each once, and none that the sleeper has ended.
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 10
    assert len({run.info.run_name for run in runs}) == 10
