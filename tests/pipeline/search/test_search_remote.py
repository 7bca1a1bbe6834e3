"""A sweep launched from outside of a cluster, through Ray's client server, by the command line."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tiny_sweep import SWEEP, make_spec, outcome_of, run_inline

from pipeline.search.remote import launch_remotely
from pipeline.store import Lease, LocalFiles
from sept_core.errors import InputError

# Ray needs its time to start a server for a client, and gives up on a busy machine: on demand only.
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
# The head's processes, and so the command that runs there, find the tiny inputs.
SITE = """
import functools, sys
if sys.argv[:1] == ["-c"]:
    import pipeline.search.sweep as search
    from tiny_inputs import provide_slowly
    search.launch = functools.partial(search.launch, provider=provide_slowly)
"""
SEPT = [sys.executable, "-c", "from pipeline.cli import main; main()"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITE)
    places = [str(folder), str(HERE), str(HERE.parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        # Ray listens on the network here, as a cluster does: nobody else is to use it.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def address(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray of its own, as ``ray start`` starts it, with a client server."""
    port, server = free_port(), free_port()
    log = tmp_path_factory.mktemp("ray") / "log.txt"
    command = f"""start --head --block --port={port} --ray-client-server-port={server} --num-cpus=2
        --runtime-env-agent-port={free_port()} --include-dashboard=false --object-store-memory=80000000"""
    with log.open("wb") as said:
        head = subprocess.Popen(
            [sys.executable, "-c", "from ray.scripts.scripts import main; main()", *command.split()],
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    deadline = time.monotonic() + 90
    while True:
        try:
            socket.create_connection(("127.0.0.1", server), timeout=1).close()
            break
        except OSError:
            assert head.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
    yield f"ray://127.0.0.1:{server}"
    head.send_signal(signal.SIGTERM)
    head.wait(30)


def launch(folder: Path, address: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SEPT, "sweep", "launch", "tiny.yaml", "--root", "runs", "--address", address],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_command_runs_on_the_cluster_stops_on_ctrl_c_and_goes_on(
    address: str, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SWEEP))
    first = launch(tmp_path, address, environment)
    results = tmp_path / "runs" / "trials"
    deadline = time.monotonic() + 120
    while not list(results.glob("*/*/checkpoint.safetensors")):
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[0]
    assert first.returncode == 75, said
    assert "Stopped. Every finished step is kept" in said
    assert Lease(LocalFiles(tmp_path / "runs"), "tiny").holder() is None

    second = launch(tmp_path, address, environment)
    said = second.communicate(timeout=200)[0]
    assert second.returncode == 0, said
    assert "SEPT against its baseline" in said
    run_inline(make_spec(), tmp_path / "calm")
    assert outcome_of(tmp_path / "runs") == outcome_of(tmp_path / "calm")


def test_a_command_that_cannot_run_there_ends_here_with_its_line_and_code(
    address: str, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SWEEP))
    (tmp_path / "runs").write_text("a file")
    process = launch(tmp_path, address, environment)
    said = process.communicate(timeout=100)[0]
    assert process.returncode == 2, said
    assert "is a file, not a folder" in said


def test_no_client_server_is_one_line() -> None:
    with pytest.raises(InputError, match=r"address ray://127.0.0.1:1: no Ray cluster: Connection refused"):
        launch_remotely("ray://127.0.0.1:1", "x", "", [], print)
