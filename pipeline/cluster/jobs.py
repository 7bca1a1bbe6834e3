"""A sweep as a job of a running Ray cluster, through Ray's Jobs API: submitted, found again, and followed.

The cluster's head runs ``sept sweep launch`` in a folder that holds the sweep's YAML. The job belongs to the cluster:
the person who submitted it may leave and come back. Its name consists of the sweep, its results folder and a number.
So submitting again while it runs attaches to it, and of two people who submit at once, one attaches to the other's job.
Once it has ended, by itself or because its driver or the whole cluster died, submitting it again resumes it.
Checked with Ray 2.60.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.cluster.address import use_token
from pipeline.store import is_remote
from pipeline.text import one_line
from sept_core.errors import InputError, SeptError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

__all__ = ["Job", "Request", "cluster_root", "job_client", "needs_token", "refused", "submit"]

_SWEEP, _REQUEST = "sept_sweep", "sept_request"
# A given address takes precedence over the environment's, which Ray's client would use first.
_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
# Loggers that set a level of their own; what they log is reported here in other words.
_LOUD = ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")
# Seconds within which a job server must accept a connection, and answer; a head that is starting takes longer.
_CONNECT_S, _ANSWER_S = 10.0, 60.0
# The message of a job server whose agent has not started, after 10 s; seconds to wait for it, and between two tries.
_NO_AGENT = "No available agent to submit job"
_AGENT_S, _AGENT_POLL_S = 60.0, 1.0
_AGENT_FIX = (
    "its agent did not start: see dashboard_agent.log in Ray's session folder there; install ray[default] there, and "
    "if another Ray has the agent's port, choose another one: ray start --head --dashboard-agent-listen-port=N"
)


@dataclass(frozen=True)
class Request:
    """What the head must run.

    Attributes:
        sweep: Name of the sweep.
        spec: Its complete YAML.
        root: Where its results are stored, as the cluster sees it.
        options: Further options of ``sept sweep launch``.
        files: Files that the YAML refers to, by the names that it uses for them.
    """

    sweep: str
    spec: str
    root: str
    options: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A key that all jobs of one sweep with one results folder share."""
        return f"{self.sweep}-{_digest(self.root)}"

    @property
    def command(self) -> str:
        """The command that the head's shell runs."""
        launch = ["sept", "sweep", "launch", f"{self.sweep}.yaml", "--address", "auto", "--root", self.root]
        return shlex.join([*launch, *self.options])

    @property
    def digest(self) -> str:
        """A digest that equal requests share."""
        contents = [path.read_text(encoding="utf-8") for _, path in sorted(self.files.items())]
        return _digest("\0".join([self.spec, self.command, *contents]))


@dataclass(frozen=True)
class Job:
    """The job of a request.

    Attributes:
        name: Its submission id.
        attached: Whether it existed already.
    """

    name: str
    attached: bool


def cluster_root(root: str, address: str) -> str:
    """A results folder in the form to give to the cluster.

    Args:
        root: The folder as a person gave it.
        address: The cluster's; ``auto`` is on this machine, so that a relative folder means one here.

    Raises:
        InputError: The folder is relative, but the cluster is elsewhere.
    """
    if is_remote(root):
        return root
    path = Path(root).expanduser()
    if not path.is_absolute() and address != "auto":
        raise InputError(
            "a cluster cannot use a relative folder",
            where=f"root {root}",
            fix="give --root s3://BUCKET/PREFIX, or the full path of a folder that all its machines share "
            f"(if this machine is all of it: {path.absolute()})",
        )
    return str(path.absolute())


def job_client(address: str) -> JobSubmissionClient:
    """A client of a cluster's job server.

    Args:
        address: ``http://HEAD:8265`` (or https), or ``auto`` for the cluster on this machine.

    Raises:
        InputError: This is not an address, nothing listens there, or the server refuses.
    """
    parts = urlsplit(address)
    if address != "auto" and (parts.scheme not in ("http", "https") or not parts.hostname):
        fix = "give http://HEAD:8265, the address of the cluster's dashboard"
        raise InputError("not an address of a job server", where=f"address {address}", fix=fix)
    use_token(address)
    client = _bounded_client()
    # Ray sets their levels when it is imported.
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)
    with refused(address), _own_address(address):
        return client(address)


def _bounded_client() -> type[JobSubmissionClient]:
    """Ray's client with time-outs; without them it waits forever for a server that never answers."""
    from ray.job_submission import JobSubmissionClient

    class Bounded(JobSubmissionClient):
        def _do_request(self, *args: Any, **more: Any) -> Any:
            return super()._do_request(*args, **{"timeout": (_CONNECT_S, _ANSWER_S), **more})

    return Bounded


@contextmanager
def refused(address: str) -> Iterator[None]:
    """Within this context, errors that mean that a job server cannot be used become one line.

    Raises:
        InputError: Nothing listens there, it is not Ray, or it asks for a token.
        SeptError: It listens but does not answer.
    """
    from ray.exceptions import AuthenticationError, RayError
    from requests.exceptions import ReadTimeout

    where = f"address {address}"
    try:
        yield
    except AuthenticationError as error:
        raise needs_token(address) from error
    except ReadTimeout as error:
        # The server may have done what was asked for all the same.
        fix = "try again later: the same command finds the job if it was created"
        raise SeptError(f"{where}: no answer within {_ANSWER_S:.0f} s; {fix}") from error
    except (OSError, ValueError, RayError) as error:
        fix = "give http://HEAD:8265, where a Ray with its dashboard listens (its extra 'cluster' is needed there)"
        raise InputError(f"no job server of Ray: {one_line(error).rstrip('.')}", where=where, fix=fix) from error
    except RuntimeError as error:
        raise SeptError(f"{where}: {one_line(error)}") from error


def needs_token(address: str) -> InputError:
    """The error to raise when a cluster refuses because its token is missing or wrong."""
    mode = os.environ.get("RAY_AUTH_MODE", "")
    shown = mode.lower() == "token"
    fix = "set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or copy ~/.ray/auth_token from the cluster's head"
    if mode and not shown:
        fix = f"unset RAY_AUTH_MODE, which is '{mode}' here; then {fix}, if there is none here"
    what = "the cluster asks for another token than the one here" if shown else "the cluster asks for its token"
    return InputError(what, where=f"address {address}", fix=fix)


def submit(client: JobSubmissionClient, request: Request, waiting: Callable[[str], object] = lambda line: None) -> Job:
    """Submit a request, or find its job that still runs.

    Args:
        client: The job server's client.
        request: What the head must run.
        waiting: Called once with a line if the head is not ready to take jobs yet.

    Raises:
        InputError: The sweep runs there already, with another spec or other options.
        SeptError: The server did not accept it, or its head was not ready within a minute.
    """
    deadline = None
    tries = 0
    while True:
        jobs = [job for job in client.list_jobs() if (job.metadata or {}).get(_SWEEP) == request.key]
        for job in jobs:
            if not job.status.is_terminal():
                return _attach(job, request)
        number = 1 + max((_number(job.submission_id) for job in jobs), default=0)
        try:
            return Job(_hand_over(client, request, f"sept-{request.key}-{number}"), attached=False)
        except RuntimeError as error:
            if _NO_AGENT in str(error):
                if deadline is None:
                    deadline = time.monotonic() + _AGENT_S
                    waiting(f"The cluster's head takes no jobs yet; waiting for its agent (up to {_AGENT_S:.0f} s)")
                elif time.monotonic() > deadline:
                    raise SeptError(f"the cluster's head takes no jobs; {_AGENT_FIX}") from error
                time.sleep(_AGENT_POLL_S)
                continue
            # Somebody else may have submitted it meanwhile: then it is in the list by now.
            tries += 1
            if tries > 1:
                raise SeptError(f"the cluster did not take the job: {one_line(error)}") from error


def _attach(job: Any, request: Request) -> Job:
    if job.metadata.get(_REQUEST) != request.digest:
        raise InputError(
            "the sweep runs there already, with another spec or other options",
            where=f"job {job.submission_id}",
            fix=f"wait for it, or stop it first: sept sweep stop {request.sweep} --root {shlex.quote(request.root)}",
        )
    return Job(job.submission_id, attached=True)


def _hand_over(client: JobSubmissionClient, request: Request, name: str) -> str:
    with tempfile.TemporaryDirectory(prefix="sept-submit-") as made:
        folder = Path(made)
        (folder / f"{request.sweep}.yaml").write_text(request.spec, encoding="utf-8")
        for file, path in request.files.items():
            (folder / file).write_bytes(path.read_bytes())
        return str(
            client.submit_job(
                entrypoint=request.command,
                submission_id=name,
                runtime_env={"working_dir": str(folder)},
                metadata={_SWEEP: request.key, _REQUEST: request.digest},
            )
        )


def _number(name: str | None) -> int:
    number = (name or "").rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


@contextmanager
def _own_address(address: str) -> Iterator[None]:
    """Within this context, the environment's addresses of Ray are unset, unless the address is ``auto``."""
    names = () if address == "auto" else _ADDRESSES
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
