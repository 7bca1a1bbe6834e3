"""A real sweep, by the command line: seen from another process while it runs, stopped from there, and gone on with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from launching import launched, said, sept
from s3_fixtures import store_at
from tiny_sweep import SHORT, outcome_of, run_inline

from pipeline.spec import parse_sweep
from pipeline.store import LocalFiles, open_files
from pipeline.tracking import default_target, mlflow_client

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]

# Trials of some seconds each, so that somebody can look at them.
SPEC = yaml.safe_dump(SHORT | {"training": {"epochs": 30, "report_every": 1, "batch_size": 8}})

INPUTS = "slow_inputs:provide"
LAUNCH = ("sweep", "launch", "tiny.yaml", "--root")


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.long)])
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "runs")
    return store_at(str(request.getfixturevalue("seaweedfs_endpoint")), monkeypatch, tmp_path)


def status_when(condition: Callable[[dict[str, Any]], bool], folder: Path, root: str) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    found = None
    while time.monotonic() < deadline:
        ran = sept(folder, "sweep", "status", "tiny", "--root", root, "--json")
        # Until the launch has begun, the sweep is unknown.
        assert ran.returncode in (0, 2), ran.stderr
        found = json.loads(ran.stdout) if ran.returncode == 0 else None
        if found is not None and condition(found):
            return found
        time.sleep(0.2)
    raise AssertionError(f"it has not come to that: {found}; {said(folder)}")


def copied(root: str, folder: Path) -> Path:
    files, local = open_files(root), LocalFiles(folder)
    for key, data in files.read_many(files.list()).items():
        local.write(key, data)
    return folder


def trains(found: dict[str, Any]) -> bool:
    return any(trial["phase"] == "running" and 0 < trial["epoch"] < 15 for trial in found["trials"])


def test_a_sweep_is_watched_and_stopped_from_elsewhere_and_ends_as_if_undisturbed(root: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SPEC)
    with launched(tmp_path, INPUTS, *LAUNCH, root) as process:
        found = status_when(trains, tmp_path, root)
        assert found["state"] == "running"
        assert found["driver"]["pid"] == process.pid
        assert found["driver"]["renewed_s"] < 30
        running = [trial for trial in found["trials"] if trial["phase"] == "running"]
        # The slow encoder reports several times a second; what is told is two seconds old, and the machine busy.
        assert all(trial["heard_s"] < 15 for trial in running)
        assert all(trial["begun_ms"] >= found["driver"]["since_ms"] for trial in running)
        stopped = sept(tmp_path, "sweep", "stop", "tiny", "--root", root)
        assert stopped.returncode == 0, stopped.stderr
        assert "tiny stopped after" in stopped.stdout
        assert process.wait(timeout=120) == 3, said(tmp_path)
    assert "Stopped. Every finished step is kept" in said(tmp_path)
    assert "asks this sweep to stop" in said(tmp_path)
    files = open_files(root)
    assert [key for key in files.list("sweeps/tiny") if "/stop/" in key or key.endswith("progress.json")] == []
    after = status_when(lambda found: True, tmp_path, root)
    assert (after["state"], after["trials"], after["driver"]) == ("stopped", [], None)
    assert after["ended"] < after["budget"] == 6
    assert runs_by_status(root, tmp_path).keys() <= {"FINISHED", "KILLED"}
    assert "tiny does not run" in sept(tmp_path, "sweep", "stop", "tiny", "--root", root).stdout

    with launched(tmp_path, INPUTS, *LAUNCH, root) as process:
        status_when(lambda found: found["state"] == "running", tmp_path, root)
        watched = sept(tmp_path, "sweep", "status", "tiny", "--root", root, "--watch", "--json", "--every", "1")
        assert watched.returncode == 0, watched.stderr
        assert process.wait(timeout=300) == 0, said(tmp_path)
    lines = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [line["state"] for line in lines] == ["running"] * (len(lines) - 1) + ["finished"]
    assert any(line["expected_end_ms"] for line in lines)
    ended = [line["ended"] for line in lines]
    assert ended == sorted(ended)
    assert ended[-1] == 6
    assert runs_by_status(root, tmp_path) == {"FINISHED": 9}

    run_inline(parse_sweep(SPEC, "tiny.yaml"), tmp_path / "undisturbed")
    assert outcome_of(copied(root, tmp_path / "copied")) == outcome_of(tmp_path / "undisturbed")
    assert not files.list("quarantine")


def runs_by_status(root: str, folder: Path) -> dict[str, int]:
    """MLflow's runs: two studies, their trials, and the report."""
    target = default_target(root if "://" not in root else str(folder / "sept-runs"))
    client = mlflow_client(target)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    states = [run.info.status for run in client.search_runs([experiment.experiment_id])]
    return {state: states.count(state) for state in states}
