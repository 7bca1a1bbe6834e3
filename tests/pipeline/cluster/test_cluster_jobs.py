"""``sept sweep submit`` against a real cluster, as ``ray start --head`` starts it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parents[1]
sys.path.insert(0, str(HERE / "search"))

from tiny_sweep import SWEEP, make_spec, outcome_of, run_inline  # noqa: E402

from pipeline.store import Lease, LocalFiles  # noqa: E402

pytest.importorskip("aiohttp_cors", reason="Ray's job server is not installed (pip install 'sept-sweep[cluster]')")
pytestmark = pytest.mark.timeout(600)

# The command that the head runs, with the inputs of the tests.
SEPT = f"""#!{sys.executable}
import functools
import pipeline.search.sweep as search
from tiny_inputs import provide_slowly
search.launch = functools.partial(search.launch, provider=provide_slowly)
from pipeline.cli import main
main()
"""
TRIALS = 4
CLIENT = [sys.executable, "-c", "from pipeline.cli import main; main()"]


@dataclass(frozen=True)
class Head:
    address: str
    variables: dict[str, str]

    def submit(self, folder: Path, *more: str) -> subprocess.Popen[str]:
        root = ("--root", str(folder / "runs"))
        return subprocess.Popen(
            [*CLIENT, "sweep", "submit", "tiny.yaml", "--address", self.address, *root, *more],
            cwd=folder,
            # An address in the environment does not go before the one that is given.
            env=self.variables | {"RAY_ADDRESS": "127.0.0.1:1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    programs = tmp_path_factory.mktemp("bin")
    (programs / "sept").write_text(SEPT)
    (programs / "sept").chmod(0o755)
    # Sockets lie in it, and their paths have to be short.
    scratch = tmp_path_factory.mktemp("r")
    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    places = [str(HERE / "search"), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    variables = own | {
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        # With Ray's token in it: a plain "ray start --head" asks for it from then on (Ray listens on the network here),
        # and who submits as the same user needs to say nothing.
        "HOME": str(home),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    port = free_port()
    command = f"""start --head --block --port={free_port()} --dashboard-port={port} --num-cpus=2
        --dashboard-agent-listen-port={free_port()} --runtime-env-agent-port={free_port()}
        --ray-client-server-port={free_port()} --object-store-memory=80000000 --temp-dir={scratch}"""
    log = programs / "log.txt"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", "from ray.scripts.scripts import main; main()", *command.split()],
            env=variables,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90
        while "Ray runtime started" not in log.read_text() or not listens(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield Head(f"http://127.0.0.1:{port}", variables)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def driver_of(folder: Path) -> int:
    """The process that holds the sweep's lease, once a trial has a checkpoint."""
    deadline = time.monotonic() + 120
    while not list((folder / "runs" / "trials").glob("*/*/checkpoint.safetensors")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    holder = Lease(LocalFiles(folder / "runs"), "tiny").holder()
    assert holder is not None
    return holder.pid


def test_the_head_runs_the_command_beside_its_sweep_and_words_and_exit_code_come_back(
    head: Head, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SWEEP))
    # What only the command on the head finds out: the sweep is read by then.
    (tmp_path / "runs").write_text("a file")
    process = head.submit(tmp_path)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 2, said
    assert "Submitted job sept-tiny-" in said
    assert said.count("is a file, not a folder") == 1


@pytest.mark.long
def test_a_job_outlives_who_submitted_it_is_found_again_and_goes_on_after_a_kill(
    head: Head, tmp_path: Path, empty_database: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(SWEEP | {"trials": TRIALS}))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").write_bytes(empty_database.read_bytes())
    first = head.submit(tmp_path)
    driver = driver_of(tmp_path)
    # So that it is still there when it is killed, however slow this machine is.
    os.kill(driver, signal.SIGSTOP)
    first.kill()
    assert "Submitted job sept-tiny-" in first.communicate()[0]

    second = head.submit(tmp_path)
    other = head.submit(tmp_path, "--trials", "9", "--no-wait")
    said = other.communicate(timeout=120)[0]
    assert other.returncode == 2, said
    assert "runs there already, with another spec or other options" in said
    os.kill(driver, signal.SIGKILL)
    said = second.communicate(timeout=120)[0]
    assert second.returncode == 75, said
    assert "Attached to job sept-tiny-" in said
    assert "The job was killed (signal 9). Every finished step is kept" in said
    # What it had said before comes too, once.
    assert said.count("tiny: zero-shot, CoOp, CoOp + SEPT on FSDD") == 1

    third = head.submit(tmp_path)
    said = third.communicate(timeout=200)[0]
    assert third.returncode == 0, said
    assert "-2 at http" in said
    assert "SEPT against its baseline" in said
    run_inline(make_spec(trials=TRIALS), tmp_path / "calm")
    assert outcome_of(tmp_path / "runs") == outcome_of(tmp_path / "calm")
