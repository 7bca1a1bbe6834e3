"""``sept quickstart --compose``: starts the services of infra/compose.yaml, and submits the quickstart to them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from pipeline.cli.options import DEFAULT_ROOT, rest
from sept_core.errors import InputError, SeptError

__all__ = ["COMPOSE_FILE", "quickstart_on_compose"]

# The image is built from the sources, so it works only in a checkout.
COMPOSE_FILE = Path(__file__).resolve().parents[2] / "infra" / "compose.yaml"
_ROOT = "s3://sept/runs"
_MLFLOW = "http://mlflow:5000"
# Seconds for a request that docker answers immediately.
_ASK_S = 60


def quickstart_on_compose(root: str, workers: int | None, mlflow: str | None) -> None:
    """Run the quickstart on the services, which are built and started if necessary.

    Args:
        root: The results folder; by default the services' bucket.
        workers: Number of Ray workers and of parallel trials; default as in the services.
        mlflow: Tracking URI, as the services see it; default their server.

    Raises:
        InputError: There is no checkout, no usable docker, or the services cannot see the results folder.
        SeptError: The services did not start.
        typer.Exit: As `submit_sweep` raises it.
    """
    from rich.console import Console

    from pipeline.cli.console import say
    from pipeline.cli.submitting import submit_sweep
    from pipeline.store import is_remote

    if root != DEFAULT_ROOT and not is_remote(root):
        raise InputError("the services do not see this folder", where=f"root {root}", fix="leave --root out")
    where = _ROOT if root == DEFAULT_ROOT else root
    compose = _find()
    _run([*compose, "up", "--build", "--wait"], {} if workers is None else {"SEPT_WORKERS": str(workers)})
    console = Console()
    address = f"http://{_port(compose, 'ray-head', 8265)}"
    said = " ".join(quote(word) for word in compose)
    say(console, f"\nMLflow           http://{_port(compose, 'mlflow', 5000)}")
    say(console, f"Ray              {address}")
    say(console, f"stop the services  {said} down")
    submit_sweep(
        "quickstart",
        where,
        address=address,
        command="sept quickstart --compose"
        + ("" if root == DEFAULT_ROOT else f" --root {quote(root)}")
        + rest(workers, mlflow),
        overrides={} if workers is None else {"resources.workers": workers},
        mlflow=mlflow or _MLFLOW,
        stop=f"{said} exec ray-head sept sweep stop quickstart --root {quote(where)}",
    )


def _find() -> list[str]:
    """The compose command for the services, after checking that it works."""
    if not COMPOSE_FILE.is_file():
        raise InputError(
            "--compose builds its image from a checkout, and this sept is installed without one",
            fix="clone the repository and pip install -e . there, or run sept quickstart without it",
        )
    fix = "install Docker Engine with its Compose plugin, or run sept quickstart without --compose"
    if shutil.which("docker") is None:
        raise InputError("there is no docker here", where="--compose", fix=fix)
    for command, missing in (
        (["docker", "compose", "version"], "docker has no Compose plugin"),
        (["docker", "info"], "no Docker engine answers"),
    ):
        try:
            asked = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InputError(f"{missing}: {error}", where="--compose", fix=fix) from error
        if asked.returncode:
            raise InputError(missing, where="--compose", fix=fix)
    return ["docker", "compose", "-f", str(COMPOSE_FILE)]


def _run(command: Sequence[str], variables: Mapping[str, str]) -> None:
    code = subprocess.run(command, env=os.environ | dict(variables), check=False).returncode
    if code:
        logs = " ".join(quote(word) for word in (*command[:4], "logs"))
        raise SeptError(f"the services did not start (exit code {code}); see their logs: {logs}")


def _port(compose: Sequence[str], service: str, port: int) -> str:
    """The local address of a port of a service."""
    command = [*compose, "port", service, str(port)]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SeptError(f"docker does not report the port of the service {service}: {error}") from error
    found = asked.stdout.strip()
    if asked.returncode or not found:
        raise SeptError(f"the service {service} has no port {port} on this machine; see {COMPOSE_FILE}")
    return found
