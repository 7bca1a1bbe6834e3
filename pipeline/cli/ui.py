"""``sept ui``: MLflow's pages with the records of sweeps; reachable from this machine only unless asked otherwise."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import closing
from typing import IO, TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import DEFAULT_ROOT, MlflowOption, RootOption, root_option
from sept_core.errors import InputError, SeptError
from sept_core.suggestions import known_words

if TYPE_CHECKING:
    from pipeline.tracking import TrackingTarget

__all__ = ["ui"]

START_S = 120.0
STOP_S = 10.0


def ui(
    root: RootOption = DEFAULT_ROOT,
    mlflow: MlflowOption = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 5000,
    host: Annotated[
        str,
        typer.Option(
            "--host", help="Address to listen on; with another one than the default, others can see the results."
        ),
    ] = "127.0.0.1",
    sweep: Annotated[str | None, typer.Option("--sweep", help="Sweep to show first; default: the newest.")] = None,
) -> None:
    """Show the results in MLflow, until Ctrl-C."""
    from rich.console import Console

    from pipeline.cli.console import say, working

    console = Console()
    with working("Looking at the records in MLflow"):
        from pipeline.tracking import default_target

        target = default_target(root, mlflow)
        _check_shown(root, target)
        _check_free(host, port)
        page, charts = _pages(target, sweep)
    address = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"  # noqa: S104 (compared, not bound)
    # SIGTERM is handled like Ctrl-C, because the server is a separate process that has to be ended too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryFile() as log:
        process = _serve(target, host, port, log)
        try:
            say(console, "Starting MLflow (some seconds)")
            _wait(process, address)
            say(console, f"MLflow shows the results at {address}/{page}")
            if charts:
                say(console, f"Charts of the trials: {address}/{charts}")
            say(console, "Ctrl-C ends it.")
            process.wait()
            raise SeptError(f"MLflow's server ended unexpectedly (code {process.returncode}){_last_line(log)}")
        except TimeoutError as error:
            raise SeptError(f"{error}{_last_line(log)}") from error
        except KeyboardInterrupt:
            say(console, "")
        finally:
            _end(process)


def _check_shown(root: str, target: TrackingTarget) -> None:
    """Check that the target is an existing database.

    Raises:
        InputError: It does not exist, or is a server, which shows its own pages.
    """
    if target.served:
        raise InputError(
            "MLflow's server shows its own pages", where="--mlflow or MLFLOW_TRACKING_URI", fix=f"open {target.shown}"
        )
    database = target.database
    if database is not None and not database.is_file():
        raise InputError(
            "no MLflow database",
            where=str(database),
            fix=f"run a sweep first (sept quickstart{root_option(root)}), or give its folder with --root, or its "
            "database with --mlflow sqlite:///PATH",
        )


def _check_free(host: str, port: int) -> None:
    try:
        with closing(socket.create_server((host, port))):
            pass
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}:{port}: {error.strerror or error}", where="--port", fix="try another --port"
        ) from error


def _pages(target: TrackingTarget, sweep: str | None) -> tuple[str, str]:
    """The page of the sweep, or of the newest one, and the page of its charts (empty if there is no sweep)."""
    from pipeline.spec import is_ablation
    from pipeline.tracking import failure, mlflow_client, prepare
    from pipeline.tracking.view import CHARTS, view_path

    try:
        prepare(target)
        found = mlflow_client(target).search_experiments(order_by=["creation_time DESC"])
    except Exception as error:
        raise failure(target, error, "the question") from error
    sweeps = {one.name: one for one in found if one.name != "Default"}
    if sweep is not None and sweep not in sweeps:
        listed = known_words(sweep, sweeps) if sweeps else "there is none yet"
        raise InputError(f"no experiment '{sweep}' in MLflow", where="--sweep", fix=listed)
    searches = [one for name, one in sweeps.items() if not is_ablation(name)]
    shown = sweeps[sweep] if sweep is not None else next(iter([*searches, *sweeps.values()]), None)
    if shown is None:
        return "#/experiments?workflowType=machine_learning", ""
    experiment = str(shown.experiment_id)
    return view_path(experiment, shown.tags), view_path(experiment, shown.tags, CHARTS)


def _serve(target: TrackingTarget, host: str, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    from pipeline.tracking.client import ENVIRONMENT

    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", host, "--port", str(port)]
    command += ["--artifacts-destination", str(target.artifacts)]
    # MLflow's background jobs are not needed and cost processes.
    environment = os.environ | ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # Not on the command line, which everybody on this machine can read: it may contain a password.
    environment["MLFLOW_BACKEND_STORE_URI"] = target.uri
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    """Wait until the server answers.

    Raises:
        TimeoutError: It has ended, or takes too long.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TimeoutError(f"MLflow's server did not start (code {process.returncode})")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):  # noqa: S310 (our own address)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError(f"MLflow's server did not answer within {START_S:.0f} s")


def _last_line(log: IO[bytes]) -> str:
    """The last line that the server wrote, to append to an error."""
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").split("\n")
    return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and its child processes, which it does not end by itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            continue
        break
