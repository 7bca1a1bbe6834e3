"""A sweep whose results lie in a bucket, by the command line, killed and launched again: what a folder would hold."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from tiny_sweep import SWEEP, outcome_of, run_inline

from pipeline.spec import parse_sweep
from pipeline.store import Files, Lease, LocalFiles, open_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HERE = Path(__file__).parent

# Six trials of the tiny sweep: every one of its objects is a request to the server.
SMALL = yaml.safe_dump(
    SWEEP | {"methods": ["zero-shot", "coop"], "trials": 5, "spaces": {"coop": SWEEP["spaces"]["coop"]}}
)

PROGRAM = """
import functools, sys
import pipeline.search.sweep as search
search.launch = functools.partial(search.launch, provider="slow_inputs:provide")
from pipeline.cli import main
main(sys.argv[1:])
"""


def sept(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command line in a process of its own; what it says goes to ``log.txt``."""
    places = [
        str(HERE.parents[1]),
        str(HERE),
        str(HERE.parent / "pipeline" / "search"),
        os.environ.get("PYTHONPATH", ""),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places)), "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], cwd=folder, env=environment, stdout=log, stderr=log, text=True
        )


@contextmanager
def launched(folder: Path, root: str) -> Iterator[subprocess.Popen[str]]:
    process = sept(folder, "sweep", "launch", "tiny.yaml", "--root", root)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def objects(files: Files) -> int:
    """How far the sweep is: members, checkpoints, results and verdicts in the store."""
    return len([key for key in files.list() if key.count("/") == 4 or key.startswith("trials/")])


def wait_for_progress(files: Files, beyond: int, process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + 120
    while objects(files) < beyond:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, f"no progress: {objects(files)} objects"
        time.sleep(0.05)


def copied(files: Files, folder: Path) -> Path:
    """Everything in a store, as a folder."""
    local = LocalFiles(folder)
    for key, data in files.read_many(files.list()).items():
        local.write(key, data)
    return folder


def test_a_sweep_in_a_bucket_killed_and_launched_again_is_the_sweep_in_a_folder(s3_root: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SMALL)
    files, log = open_files(s3_root), tmp_path / "log.txt"
    chance = random.Random(7)
    for beyond in (8,):
        with launched(tmp_path, s3_root) as process:
            wait_for_progress(files, beyond, process, log)
            time.sleep(chance.random() * 0.5)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, log.read_text()
        # The dead driver's lease is still there, and does not stand in the way of the next.
        assert Lease(files, "tiny").holder() is not None
    undone = copied(files, tmp_path / "undone")
    assert 0 < len(outcome_of(undone)["verdicts"]) < 6
    with launched(tmp_path, s3_root) as process:
        assert process.wait(300) == 0, log.read_text()
    said = log.read_text()

    run_inline(parse_sweep(SMALL, "tiny.yaml"), tmp_path / "folder")
    assert outcome_of(copied(files, tmp_path / "copied")) == outcome_of(tmp_path / "folder")
    assert Lease(files, "tiny").holder() is None
    assert not files.list("quarantine")
    # Nothing of the store went to this machine, and what MLflow keeps here is said.
    assert not (tmp_path / "s3:").exists()
    assert sorted(path.name for path in (tmp_path / "sept-runs").iterdir()) == ["mlartifacts", "mlflow.db"]
    assert f"sqlite:///{tmp_path}/sept-runs/mlflow.db (on this machine" in said
    assert f"Table   {s3_root}/sweeps/tiny/report/table.md" in said
    assert f"sept ui --root {s3_root}" in said

    status = sept(tmp_path, "sweep", "status", "tiny", "--root", s3_root, "--json")
    assert status.wait(60) == 0, log.read_text()
    found = json.loads(log.read_text())
    assert (found["ended"], found["budget"]) == (6, 6)
