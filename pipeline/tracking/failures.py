"""Explains failures of MLflow to a person, and says how to fix them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.text import one_line
from pipeline.tracking.client import is_passing
from sept_core.errors import InputError, SeptError

if TYPE_CHECKING:
    from pipeline.tracking.client import TrackingTarget

__all__ = ["failure"]

_DAMAGED = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}
_CLOSED = {"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"}
_LOGIN = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user that may write there, or give --mlflow "
    "http://USER:PASSWORD@HOST"
)


def failure(target: TrackingTarget, error: Exception, what: str = "it") -> SeptError:
    """The error to show for a failure of MLflow.

    Args:
        target: The tracking target.
        error: The exception of MLflow.
        what: What MLflow did not accept.

    Returns:
        An ``InputError`` if a person has to fix something: a damaged or locked file, a missing login. Otherwise an
        error that says whether a later attempt may succeed.
    """
    if isinstance(error, SeptError):
        return error
    from requests import exceptions  # comes with MLflow

    chain = [*_chain(error)]
    names = {_base(one) for one in chain if isinstance(one, sqlite3.Error)}
    reason = one_line(getattr(error, "orig", None) or error)
    file = str(target.database)
    if names & _DAMAGED:
        fix = "move it away; 'sept track sync SWEEP' writes everything again from the results"
        return InputError(f"MLflow's database is damaged ({reason})", where=file, fix=fix)
    if names & _CLOSED:
        fix = "make the file and its folder writable for this user, or give another place with --mlflow"
        return InputError(f"MLflow's database cannot be written to ({reason})", where=file, fix=fix)
    if "out-of-date database schema" in reason:
        fix = "use the version of MLflow that last wrote it, or give another place with --mlflow"
        return InputError(f"the database is of another version of MLflow ({reason})", where=target.shown, fix=fix)
    if _status(error) in (401, 403) or getattr(error, "error_code", "") in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        if "Invalid Host header" in reason:
            fix = "start the server with --allowed-hosts and this host name"
            return InputError("MLflow's server does not accept this host name", where=target.shown, fix=fix)
        return InputError("MLflow refuses this user or password", where=target.shown, fix=_LOGIN)
    if getattr(error, "error_code", "") == "ENDPOINT_NOT_FOUND":
        fix = "give the whole address, including the path if it is behind a proxy"
        return InputError("MLflow does not answer at this address", where=target.shown, fix=fix)
    # MLflow's own messages are long, and begin with the number of attempts, which is always 1.
    if any(isinstance(one, exceptions.Timeout) for one in chain) or "ReadTimeout" in str(error):
        reason = "it does not answer"
    elif any(isinstance(one, exceptions.ConnectionError) for one in chain):
        reason = "it cannot be reached"
    later = "; try again later" if is_passing(error) else ""
    return SeptError(f"MLflow at {target.shown} did not accept {what}: {reason}{later}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _base(error: sqlite3.Error) -> str:
    """SQLite's name of an error without its details: SQLITE_READONLY for SQLITE_READONLY_DIRECTORY."""
    return "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])


def _status(error: Exception) -> int | None:
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if code is not None else getattr(error, "get_http_status_code", lambda: None)()
