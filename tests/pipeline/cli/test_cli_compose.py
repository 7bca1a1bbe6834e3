"""``sept quickstart --compose`` with a docker that records what it is asked, for no engine runs where the tests do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.quickstart_compose import COMPOSE_FILE
from pipeline.cluster.jobs import Job, Request

Sept = Callable[..., tuple[int, str, str]]
DOCKER = """#!{python}
import os, sys
with open({log!r}, "a") as log:
    print(*sys.argv[1:], "|", os.environ.get("SEPT_WORKERS", ""), file=log)
if {fails!r} and {fails!r} in " ".join(sys.argv[1:]):
    sys.exit(17)
if "port" in sys.argv:
    print("127.0.0.1:" + {{"8265": "18265", "5000": "15000"}}[sys.argv[-1]])
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a docker on the path that fails at what contains some words; returns the record of its calls."""

    def make(fails: str = "") -> Path:
        folder, log = tmp_path / "bin", tmp_path / "calls.txt"
        folder.mkdir()
        (folder / "docker").write_text(DOCKER.format(python=sys.executable, log=str(log), fails=fails))
        (folder / "docker").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return log

    return make


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Request]]:
    """What reaches the cluster, by its address."""
    requests: list[tuple[str, Request]] = []

    def take(client: Any, request: Request, waiting: Callable[[str], object]) -> Job:
        requests.append((client, request))
        return Job("job-1", attached=False)

    monkeypatch.setattr("pipeline.cluster.jobs.job_client", lambda address: address)
    monkeypatch.setattr("pipeline.cluster.jobs.submit", take)
    monkeypatch.setattr("pipeline.cluster.following.follow", lambda *_: 0)
    return requests


def test_the_services_are_started_and_the_quickstart_is_submitted_to_them(
    sept: Sept, docker: Callable[[str], Path], sent: list[tuple[str, Request]]
) -> None:
    calls = docker("")
    code, out, err = sept("quickstart", "--compose", "--workers", 3)
    assert (code, err) == (0, "")
    assert calls.read_text().splitlines()[2] == f"compose -f {COMPOSE_FILE} up --build --wait | 3"
    [(address, request)] = sent
    assert address == "http://127.0.0.1:18265"
    assert (request.sweep, request.root) == ("quickstart", "s3://sept/runs")
    assert request.options == ("--mlflow", "http://mlflow:5000")
    assert "http://127.0.0.1:15000" in out
    assert f"docker compose -f {COMPOSE_FILE} down" in out


@pytest.mark.parametrize(
    ("fails", "code", "says"),
    [
        ("compose version", 2, "docker has no Compose plugin"),
        ("info", 2, "no Docker engine answers"),
        ("up", 1, "the services did not start (exit code 17)"),
    ],
)
def test_a_docker_that_cannot_is_one_line_and_nothing_is_submitted(
    sept: Sept, docker: Callable[[str], Path], sent: list[tuple[str, Request]], fails: str, code: int, says: str
) -> None:
    docker(fails)
    got, _, err = sept("quickstart", "--compose")
    assert (got, err.count("\n"), sent) == (code, 1, [])
    assert says in err


def test_a_docker_that_does_not_tell_a_port_is_one_line(
    sept: Sept, docker: Callable[[str], Path], sent: list[tuple[str, Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    docker("")
    real = subprocess.run

    def silent(command: list[str], **more: Any) -> Any:
        if "port" in command:
            raise subprocess.TimeoutExpired(command, 60)
        return real(command, **more)

    monkeypatch.setattr("pipeline.cli.quickstart_compose.subprocess.run", silent)
    code, _, err = sept("quickstart", "--compose")
    assert (code, err.count("\n"), sent) == (1, 1, [])
    assert "docker does not report the port of the service" in err


def test_no_docker_no_checkout_and_a_folder_that_it_does_not_see_are_one_line(
    sept: Sept, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = sept("quickstart", "--compose")
    assert code == 2
    assert "there is no docker here; install Docker Engine" in err
    code, _, err = sept("quickstart", "--compose", "--root", tmp_path)
    assert code == 2
    assert "the services do not see this folder" in err
    monkeypatch.setattr("pipeline.cli.quickstart_compose.COMPOSE_FILE", tmp_path / "infra" / "compose.yaml")
    code, _, err = sept("quickstart", "--compose")
    assert code == 2
    assert "from a checkout" in err
