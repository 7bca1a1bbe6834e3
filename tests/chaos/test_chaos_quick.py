"""SIGKILL at any moment, launched again: the same trials, decisions and results, bit for bit, none lost or doubled."""

from __future__ import annotations

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
from tiny_sweep import make_spec, outcome_of, run_inline, worker_pids

from pipeline.store import Lease, LocalFiles

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]


@contextmanager
def launched(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    places = [str(PROJECT), str(HERE.parent / "pipeline" / "search"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places)), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, str(HERE / "tiny_launch.py"), str(root)], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def objects(root: Path) -> int:
    """How far the sweep is: trials, checkpoints, results and decisions in the store."""
    return sum(path.suffix in (".json", ".safetensors") for path in root.glob("*/*/*/*"))


def wait_for_progress(root: Path, beyond: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while objects(root) < beyond and process.poll() is None:
        assert time.monotonic() < deadline, f"no progress: {objects(root)} objects"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    run_inline(make_spec(), root)
    return root


@pytest.mark.long  # what the monkey does in every run, here on a Ray of the sweep's own
def test_a_sweep_killed_again_and_again_ends_as_if_it_never_was(tmp_path: Path, undisturbed: Path) -> None:
    chance = random.Random(20260)
    kills = 0
    for share in (0.0, 0.25, 0.6):
        with launched(tmp_path) as process:
            whole = objects(undisturbed)
            wait_for_progress(tmp_path, objects(tmp_path) + 1 + int(share * (whole - objects(tmp_path))), process)
            time.sleep(chance.random() * 0.3)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.wait()
    assert kills == 3
    assert 0 < len(outcome_of(tmp_path)["verdicts"]) < 15
    with launched(tmp_path) as process:
        assert process.wait(timeout=150) == 0
    assert outcome_of(tmp_path) == outcome_of(undisturbed)
    assert not (tmp_path / "quarantine").exists()
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.long  # likewise
def test_a_stop_and_a_kill_of_a_worker_in_one_sweep_change_nothing(tmp_path: Path, undisturbed: Path) -> None:
    with launched(tmp_path) as process:
        wait_for_progress(tmp_path, 12, process)
        os.kill(worker_pids(tmp_path)[0], signal.SIGKILL)
        wait_for_progress(tmp_path, objects(tmp_path) + 6, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 75
    assert Lease(LocalFiles(tmp_path), "tiny").holder() is None
    assert (tmp_path / "addresses").read_text() == "127.0.0.1"
    with launched(tmp_path) as process:
        assert process.wait(timeout=150) == 0
    assert outcome_of(tmp_path) == outcome_of(undisturbed)
