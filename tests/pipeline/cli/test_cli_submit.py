"""``sept sweep submit``: what is refused before anything is sent, and what is sent."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic_results as made
import yaml

from pipeline.cluster.jobs import Job, Request
from sept_core.semantic import load_neighbors

Sept = Callable[..., tuple[int, str, str]]
HEAD = ("--address", "http://127.0.0.1:1", "--root", "s3://bucket/sept")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Requests that reach a cluster, which then runs the job for ever."""
    requests: list[Request] = []

    def take(client: Any, request: Request, waiting: Callable[[str], object]) -> Job:
        # What it names is gone once this test has ended.
        requests.append(request)
        return Job("sept-job-1", attached=False)

    def interrupted(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.cluster.jobs.job_client", lambda address: None)
    monkeypatch.setattr("pipeline.cluster.jobs.submit", take)
    monkeypatch.setattr("pipeline.cluster.following.follow", interrupted)
    return requests


def test_what_was_typed_travels_as_one_complete_sweep(sept: Sept, sent: list[Request], tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(made.SPEC)
    more = ("--trials", 5, "--workers", 3, "--fork", "wider", "--mlflow", "http://mlflow:5000", "--retry-failed")
    code, out, _ = sept("sweep", "submit", "s.yaml", *HEAD, *more, "--no-wait")
    assert code == 0
    assert "Submitted job sept-job-1 at http://127.0.0.1:1" in out
    assert "sept sweep stop wider --root s3://bucket/sept" in out
    [request] = sent
    spec = yaml.safe_load(request.spec)
    assert (spec["name"], spec["trials"], spec["resources"]["workers"]) == ("wider", 5, 3)
    assert (request.sweep, request.root) == ("wider", "s3://bucket/sept")
    assert request.options == ("--retry-failed", "--mlflow", "http://mlflow:5000")


def test_ctrl_c_detaches_and_says_how_to_follow_and_stop(sept: Sept, sent: list[Request]) -> None:
    code, out, _ = sept("sweep", "submit", "quickstart", *HEAD)
    assert code == 75
    assert "Detached; job sept-job-1 keeps running." in out
    assert "follow  sept sweep submit quickstart --address http://127.0.0.1:1 --root s3://bucket/sept\n" in out
    assert "stop    sept sweep stop quickstart --root s3://bucket/sept\n" in out


def test_a_password_of_the_job_server_is_not_printed(sept: Sept, sent: list[Request]) -> None:
    code, out, err = sept("sweep", "submit", "quickstart", "--address", "http://me:secret@head:8265", *HEAD[2:])
    assert code == 75
    assert "Submitted job sept-job-1 at http://head:8265;" in out
    assert "--address http://USER:PASSWORD@head:8265 " in out
    assert "secret" not in out + err


def test_lists_of_neighbours_that_lie_here_travel_along(sept: Sept, sent: list[Request], tmp_path: Path) -> None:
    import sept_core.semantic

    shipped = Path(sept_core.semantic.__file__).parent / "data" / "neighbors" / "base" / "fsdd.json"
    shutil.copy(shipped, tmp_path / "mine.json")
    spec = yaml.safe_load(made.SPEC) | {"neighbors": {"FSDD": "mine.json"}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(spec))
    assert sept("sweep", "submit", "s.yaml", *HEAD, "--no-wait")[0] == 0
    [request] = sent
    assert request.files == {"neighbors-FSDD.json": tmp_path / "mine.json"}
    assert yaml.safe_load(request.spec)["neighbors"] == {"FSDD": "neighbors-FSDD.json"}
    assert load_neighbors("FSDD", request.files["neighbors-FSDD.json"])
    axes = {"neighbors": {"mine": {"FSDD": "mine.json", "ESC10": "control:other-classes"}, "shipped": None}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(spec | {"neighbors": {}, "axes": axes}))
    assert sept("sweep", "submit", "s.yaml", *HEAD, "--no-wait")[0] == 0
    request = sent[-1]
    assert request.files == {"neighbors-mine-FSDD.json": tmp_path / "mine.json"}
    carried = {"mine": {"FSDD": "neighbors-mine-FSDD.json", "ESC10": "control:other-classes"}, "shipped": {}}
    assert yaml.safe_load(request.spec)["axes"]["neighbors"] == carried


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--address", "http://127.0.0.1:1"), "a cluster cannot use a relative folder"),
        (("--address", "ray://127.0.0.1:1", "--root", "/r"), "not an address of a job server"),
        (("--address", "http://127.0.0.1:1", "--root", "/r"), "no job server of Ray"),
        ((*HEAD, "--mlflow", "http://me:secret@mlflow"), "a user, password or token would be shown with the job"),
        ((*HEAD, "--mlflow", "http://secret@mlflow"), "a user, password or token would be shown with the job"),
        ((*HEAD, "--mlflow", "postgresql://db/m?password=secret"), "would be shown with the job"),
        ((*HEAD, "--trials", "5", "--fork", "../x"), "name"),
    ],
)
def test_what_cannot_be_submitted_is_one_line_and_exit_code_2(sept: Sept, given: tuple[str, ...], says: str) -> None:
    code, _, err = sept("sweep", "submit", "quickstart", *given)
    assert code == 2
    assert says in err
    assert "secret" not in err
    assert err.count("\n") == 1


def test_a_ray_client_address_is_refused_with_the_command_that_replaces_it(sept: Sept) -> None:
    code, _, err = sept("sweep", "launch", "quickstart", "--address", "ray://head:10001")
    assert code == 2
    assert "sept sweep submit SPEC --address http://HEAD:8265" in err
    assert err.count("\n") == 1
