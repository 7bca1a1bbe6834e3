"""Following a job: nothing missed, nothing twice, whatever happens to the connection, and the right exit code."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import AuthenticationError, RpcError
from ray.job_submission import JobStatus

from pipeline.cluster import following
from pipeline.cluster.address import fix_for, resolve, use_token
from pipeline.cluster.following import JobLostError, follow
from pipeline.cluster.jobs import Job, Request, cluster_root, job_client, refused, submit
from pipeline.cluster.ray_cluster import cluster
from sept_core.errors import InputError, SeptError

WORDS = "one\ntwo\nthree\n"


class Server:
    """Stands for a job server: what each look at the job meets, the last one again and again."""

    def __init__(self, tails: list[Any], looks: list[Any]) -> None:
        self.tails, self.looks = tails, looks

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for said in self.tails.pop(0) if len(self.tails) > 1 else self.tails[0]:
            if isinstance(said, Exception):
                raise said
            yield said

    def get_job_info(self, job: str) -> Any:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        return look

    def get_job_logs(self, job: str) -> str:
        return WORDS


def job(status: str, code: int | None = None, **more: Any) -> Any:
    given = {"driver_exit_code": code, "message": None, "error_type": None, **more}
    return SimpleNamespace(status=JobStatus(status), **given)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_PAUSE_S", 0.0)
    monkeypatch.setattr(following, "_MOMENT_S", 0.0)


def run(server: Any, patience_s: float = 60.0) -> tuple[int, str, list[str]]:
    said: list[str] = []
    notes: list[str] = []
    code = follow(server, "http://head:8265", "job-1", said.append, notes.append, patience_s)
    return code, "".join(said), notes


def test_words_come_once_though_the_connection_is_lost_in_the_middle_of_them() -> None:
    lost = ["one\nt", RuntimeError("WebSocket connection closed unexpectedly")]
    server = Server(
        [lost, ["one\ntwo\n", OSError("reset")], [WORDS[:9]]],
        [job("RUNNING"), OSError("no route"), job("SUCCEEDED", 0)],
    )
    code, said, notes = run(server)
    assert (code, said) == (0, WORDS)
    assert notes == [
        "No answer from http://head:8265. The job continues without this command; trying again.",
        "Connected again.",
    ]


@pytest.mark.parametrize(
    ("end", "code", "note"),
    [
        (job("SUCCEEDED", 0), 0, ""),
        (job("FAILED", 1), 1, ""),
        (job("FAILED", 2), 2, ""),
        (job("FAILED", 75), 75, ""),
        (job("FAILED", -9), 75, "killed (signal 9)"),
        (job("FAILED", 137), 75, "killed (signal 9)"),
        (job("STOPPED"), 75, "stopped"),
    ],
)
def test_the_exit_code_is_the_jobs_and_75_where_it_goes_on(end: Any, code: int, note: str) -> None:
    got, said, notes = run(Server([[WORDS]], [end]))
    assert (got, said) == (code, WORDS)
    assert note in "".join(notes)
    assert bool(notes) == bool(note)


@pytest.mark.parametrize(
    ("look", "error", "says", "resumable"),
    [
        (job("FAILED", 127), SeptError, "does not find the command sept", False),
        (
            job("FAILED", message="no\nsuch env", error_type="RUNTIME_ENV_SETUP_FAILURE"),
            SeptError,
            "no such env",
            False,
        ),
        (job("FAILED", message="died", error_type="JOB_SUPERVISOR_ACTOR_DIED"), JobLostError, "node was lost", True),
        (RuntimeError("Request failed with status code 404: Job"), JobLostError, "no longer knows the job job-1", True),
        (OSError("away"), JobLostError, "no answer from http://head:8265", True),
        (AuthenticationError("token"), InputError, "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH", False),
    ],
)
def test_what_cannot_be_followed_is_one_line(look: Any, error: type[SeptError], says: str, resumable: bool) -> None:
    with pytest.raises(error, match=says) as raised:
        run(Server([[WORDS]], [look]), patience_s=0.0)
    assert raised.value.resumable is resumable


class Jobs:
    """Stands for a job server's list."""

    def __init__(self, *jobs: Any, come_between: Any = None, not_ready: int = 0) -> None:
        self.jobs, self.come_between, self.not_ready = list(jobs), come_between, not_ready

    def list_jobs(self) -> list[Any]:
        return self.jobs

    def submit_job(self, *, entrypoint: str, submission_id: str, runtime_env: Any, metadata: Any) -> str:
        if self.not_ready:
            self.not_ready -= 1
            raise RuntimeError(
                "Request failed with status code 500: No available agent to submit job, please try again"
            )
        if self.come_between:
            self.jobs.append(self.come_between)
            raise RuntimeError("Request failed with status code 500: already exists")
        self.jobs.append(SimpleNamespace(submission_id=submission_id, metadata=metadata, status=JobStatus.RUNNING))
        return submission_id


REQUEST = Request("tiny", "name: tiny\n", "s3://bucket/a b", ("--mlflow", "http://mlflow:5000"))


def made(number: int, status: str, request: Request = REQUEST) -> Any:
    metadata = {"sept_sweep": request.key, "sept_request": request.digest}
    name = f"sept-{request.key}-{number}"
    return SimpleNamespace(submission_id=name, metadata=metadata, status=JobStatus(status))


def test_the_head_is_told_the_sweep_its_root_and_options_as_a_shell_reads_them() -> None:
    assert REQUEST.command == (
        "sept sweep launch tiny.yaml --address auto --root 's3://bucket/a b' --mlflow http://mlflow:5000"
    )


def test_submitting_while_it_runs_attaches_and_afterwards_makes_the_next_job() -> None:
    jobs = Jobs(made(1, "FAILED"), SimpleNamespace(submission_id="other", metadata=None, status=JobStatus.RUNNING))
    job = submit(jobs, REQUEST)  # type: ignore[arg-type]
    assert job == Job(f"sept-{REQUEST.key}-2", attached=False)
    assert submit(jobs, REQUEST) == Job(job.name, attached=True)  # type: ignore[arg-type]
    elsewhere = Request("tiny", REQUEST.spec, "s3://other")
    assert submit(jobs, elsewhere) == Job(f"sept-{elsewhere.key}-1", attached=False)  # type: ignore[arg-type]


def test_of_two_who_submit_at_once_one_attaches_to_the_others_job() -> None:
    assert submit(Jobs(come_between=made(1, "PENDING")), REQUEST) == Job(f"sept-{REQUEST.key}-1", attached=True)  # type: ignore[arg-type]


def test_a_head_whose_agent_has_not_started_is_waited_for_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.cluster.jobs._AGENT_POLL_S", 0.0)
    said: list[str] = []
    assert submit(Jobs(not_ready=3), REQUEST, said.append) == Job(f"sept-{REQUEST.key}-1", attached=False)  # type: ignore[arg-type]
    assert said == ["The cluster's head takes no jobs yet; waiting for its agent (up to 60 s)"]
    monkeypatch.setattr("pipeline.cluster.jobs._AGENT_S", 0.0)
    with pytest.raises(SeptError, match=r"takes no jobs; its agent did not start: see dashboard_agent"):
        submit(Jobs(not_ready=10**9), REQUEST)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "variables", "file", "mode", "own"),
    [
        ("10.0.0.1:6379", {}, "", None, False),
        ("10.0.0.1:6379", {}, "secret", "token", False),
        ("http://10.0.0.1:8265", {"RAY_AUTH_TOKEN": "secret"}, "", "token", False),
        ("http://10.0.0.1:8265", {"RAY_AUTH_TOKEN_PATH": "nowhere"}, "secret", None, False),
        ("http://10.0.0.1:8265", {"RAY_AUTH_MODE": "disabled"}, "secret", "disabled", False),
        ("local", {}, "secret", "token", False),
        ("local", {}, "", None, True),
        ("local", {"RAY_AUTH_MODE": "disabled"}, "", "disabled", False),
    ],
)
def test_the_token_that_is_there_is_shown_unless_the_environment_says_otherwise(
    address: str,
    variables: dict[str, str],
    file: str,
    mode: str | None,
    own: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("os.environ", {"HOME": str(tmp_path), **variables})
        patch.setattr("sys.modules", {name: module for name, module in sys.modules.items() if name != "ray"})
        if file:
            (tmp_path / ".ray").mkdir()
            (tmp_path / ".ray" / "auth_token").write_text(file)
        use_token(address)
        assert os.environ.get("RAY_AUTH_MODE") == mode
        assert (len(os.environ.get("RAY_AUTH_TOKEN", "")) == 64) == own


def test_a_ray_that_the_environment_names_is_asked_for_by_auto_only_and_named_where_it_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert [resolve(address) for address in ("local", "10.0.0.1:6379", "auto")] == [
        "local",
        "10.0.0.1:6379",
        "127.0.0.1:1",
    ]
    refused_there = r"^address 127\.0\.0\.1:1: no Ray cluster: Connection refused"
    with pytest.raises(InputError, match=refused_there), cluster("auto"):
        pass
    mismatch = "Version mismatch: The cluster was started with: Ray: 2.55.0"
    assert fix_for("auto", mismatch).endswith("or use 'local', or unset RAY_ADDRESS, which names it")
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:1")
    with pytest.raises(InputError, match="not in a Ray client"), cluster("auto"):
        pass
    monkeypatch.delenv("RAY_ADDRESS")
    assert resolve("auto") == "auto"
    assert fix_for("10.0.0.1:1", mismatch) == "install the cluster's versions of Ray and Python here, or use 'local'"


def test_another_request_for_a_sweep_that_runs_is_refused() -> None:
    other = Request("tiny", "name: tiny\ntrials: 9\n", REQUEST.root, REQUEST.options)
    with pytest.raises(InputError, match="sept sweep stop tiny --root 's3://bucket/a b'"):
        submit(Jobs(made(1, "RUNNING")), other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("failure", "error", "says"),
    [
        (OSError("refused"), InputError, "http://head:8265: no job server of Ray: refused; give http://HEAD:8265"),
        (RpcError("no GCS"), InputError, "no job server of Ray: no GCS"),
        (
            AuthenticationError("token"),
            InputError,
            "the cluster asks for (its|another) token.*; set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH",
        ),
        (RuntimeError("status code 500"), SeptError, "http://head:8265: status code 500"),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line(failure: Exception, error: type[SeptError], says: str) -> None:
    with pytest.raises(error, match=says), refused("http://head:8265"):
        raise failure


def test_a_server_that_takes_connections_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cluster.jobs._ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SeptError, match=f"{address}: no answer within 0 s; try again later"):
            job_client(address)


def test_a_server_that_ends_the_words_of_a_job_that_runs_is_not_pressed(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(following, "_MOMENT_S", 0.125)
    monkeypatch.setattr(following.time, "sleep", pauses.append)
    code, said, _ = run(Server([[WORDS]], [job("RUNNING"), job("RUNNING"), job("SUCCEEDED", 0)]))
    assert (code, said, pauses) == (0, WORDS, [0.125, 0.125])


def test_a_relative_root_is_refused_unless_the_cluster_is_on_this_machine(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cluster_root("s3://bucket/x", "http://head:8265") == "s3://bucket/x"
    assert cluster_root("/shared/runs", "http://head:8265") == "/shared/runs"
    assert cluster_root("runs", "auto") == str(tmp_path / "runs")
    with pytest.raises(InputError, match="root runs: a cluster cannot use a relative folder"):
        cluster_root("runs", "http://127.0.0.1:8265")
