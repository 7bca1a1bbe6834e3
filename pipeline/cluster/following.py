"""Shows the output of a job on a Ray cluster until it ends, over connections that may be lost.

A laptop's lid closes, a tunnel breaks, a head restarts. Nothing here acts on the job. After every loss the output is
read from its beginning and what has been shown is skipped, so that nothing is missed and nothing appears twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pipeline.cluster.jobs import needs_token
from pipeline.text import one_line
from sept_core.errors import SeptError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

__all__ = ["JobLostError", "follow"]

# Seconds of silence after which to reconnect: a connection that died while a laptop slept never reports it.
_SILENCE_S = 60.0
# Seconds between two attempts, and how long to go without an answer.
_PAUSE_S = 2.0
_PATIENCE_S = 900.0
# Seconds between the end of a job's output and the next look at the job.
_MOMENT_S = 0.5
_RESUMABLE = 75
# A shell's exit codes for a command that it cannot run.
_NO_COMMAND = (126, 127)
_NOT_FOUND = "status code 404"


class JobLostError(SeptError):
    """The job's output cannot be read any more; what the job has done is kept."""

    resumable = True


class _Words:
    """A job's output, shown once however often it is read from the beginning."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo = echo
        self._shown = 0
        self._read = 0

    def begin(self) -> None:
        """The next output is its first."""
        self._read = 0

    def take(self, said: str) -> None:
        """Its next output."""
        new = said[max(0, self._shown - self._read) :]
        self._read += len(said)
        if new:
            self._shown += len(new)
            self._echo(new)


def follow(
    client: JobSubmissionClient,
    address: str,
    job: str,
    echo: Callable[[str], None],
    note: Callable[[str], None],
    patience_s: float = _PATIENCE_S,
) -> int:
    """Show the output of a job until it ends.

    Args:
        client: The client of its cluster.
        address: The cluster's address, for messages.
        job: Its submission id.
        echo: Called with the job's output.
        note: Called with a line of our own, such as that the connection is lost.
        patience_s: How long to go without an answer of the cluster, in seconds.

    Returns:
        The exit code: the job's own, or 75 if it was stopped or killed and submitting it again resumes.

    Raises:
        JobLostError: The cluster did not answer for that long, or no longer knows the job.
        InputError: The cluster asks for a token.
        SeptError: The job could not be started there.
    """
    from ray.exceptions import AuthenticationError

    trouble = _trouble()
    words = _Words(echo)
    lost: float | None = None
    while True:
        try:
            info = client.get_job_info(job)
        except AuthenticationError as error:
            raise needs_token(address) from error
        except trouble as error:
            if _NOT_FOUND in str(error):
                gone = f"{address} no longer knows the job {job}; submit it again to resume"
                raise JobLostError(gone) from error
            if lost is None:
                lost = time.monotonic()
                note(f"No answer from {address}. The job continues without this command; trying again.")
            if time.monotonic() - lost > patience_s:
                silent = f"no answer from {address} for {patience_s:.0f} s; the same command follows {job} again"
                raise JobLostError(silent) from error
        else:
            if lost is not None:
                note("Connected again.")
            lost = None
            if info.status.is_terminal():
                said = ""
                with suppress(*trouble):
                    said = client.get_job_logs(job)
                words.begin()
                words.take(said)
                return _exit_code(info, note)
            if asyncio.run(_read_along(client, job, words)):
                # The job is ending, and the server will report it soon; one that still reports it as running is not
                # hurried.
                time.sleep(_MOMENT_S)
                continue
        time.sleep(_PAUSE_S)


async def _read_along(client: JobSubmissionClient, job: str, words: _Words) -> bool:
    """Show a job's output until it is silent for long or the connection is lost; True if the job has ended."""
    lost: tuple[type[Exception], ...] = (TimeoutError, *_trouble())
    words.begin()
    coming = client.tail_job_logs(job)
    while True:
        try:
            said = await asyncio.wait_for(anext(coming), _SILENCE_S)
        except StopAsyncIteration:
            return True
        except lost:
            return False
        words.take(said)


def _trouble() -> tuple[type[Exception], ...]:
    """The exceptions of a lost connection, or of a server that is starting or ending."""
    from aiohttp import ClientError

    return OSError, RuntimeError, ClientError


def _exit_code(info: Any, note: Callable[[str], None]) -> int:
    """The exit code for a job that has ended.

    Raises:
        SeptError: It could not be started.
    """
    ended = str(info.status.value)
    code = info.driver_exit_code
    if ended == "SUCCEEDED":
        return 0
    if ended == "STOPPED" or (code is not None and (code < 0 or code > 128)):
        by = "stopped" if ended == "STOPPED" else f"killed (signal {-code if code < 0 else code - 128})"
        note(f"The job was {by}. Every finished step is kept; the same command continues from there.")
        return _RESUMABLE
    if code in _NO_COMMAND:
        raise SeptError(
            "the cluster's head does not find the command sept; install sept-sweep in the environment of its Ray"
        )
    if code is not None:
        return int(code)
    reason = one_line(info.message or "")
    if str(getattr(info.error_type, "value", info.error_type)) == "JOB_SUPERVISOR_ACTOR_DIED":
        raise JobLostError(f"the job's node was lost ({reason}); the same command continues")
    raise SeptError(f"the cluster could not start the job: {reason}")
