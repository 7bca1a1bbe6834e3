from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import synthetic_results as made

from pipeline.store import LocalFiles, TrialStore
from pipeline.tracking import SweepWriter, default_target
from pipeline.tracking.client import connect

Sept = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tracked(tmp_path: Path, empty_database: Path) -> Path:
    root = tmp_path / "runs"
    root.mkdir()
    shutil.copy(empty_database, root / "mlflow.db")
    target = default_target(root)
    SweepWriter(connect(target), target, made.SWEEP, TrialStore(LocalFiles(root))).open()
    return root


def test_without_a_database_the_line_says_what_makes_one(sept: Sept, tmp_path: Path) -> None:
    code, _, err = sept("ui", "--root", tmp_path)
    assert code == 2
    assert str(tmp_path / "mlflow.db") in err
    assert "sept quickstart" in err
    assert err.count("\n") == 1


def test_a_port_in_use_is_one_line(sept: Sept, tracked: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = sept("ui", "--root", tracked, "--port", port)
    assert code == 2
    assert f"127.0.0.1:{port}" in err
    assert err.count("\n") == 1


def test_an_unknown_sweep_is_named_with_those_that_are_there(sept: Sept, tracked: Path) -> None:
    code, _, err = sept("ui", "--root", tracked, "--sweep", "other", "--port", free_port())
    assert code == 2
    assert f"known: {made.SWEEP}" in err


def test_it_serves_the_results_on_loopback_and_ctrl_c_leaves_no_process(tracked: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "ui", "--root", str(tracked)]
    command += ["--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = ""
        for line in process.stdout:
            if "http://" in line:
                address = line.split()[-1]
                break
        assert address.startswith(f"http://127.0.0.1:{port}/#/experiments/")
        with urllib.request.urlopen(address.split("#")[0], timeout=20) as page:
            assert b"MLflow" in page.read()
    finally:
        os.kill(process.pid, signal.SIGINT)
        code = process.wait(30)
    assert code == 0
    with socket.create_server(("127.0.0.1", port)):
        pass  # nobody listens there any more


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
