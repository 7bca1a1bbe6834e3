"""Access to MLflow: quiet, without telemetry, and with failures sorted into temporary and permanent ones."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from pipeline.store.open_store import StoreError, is_remote, local_folder
from pipeline.text import masked
from sept_core.errors import InputError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = [
    "ENVIRONMENT",
    "TrackingTarget",
    "active_experiment",
    "as_default",
    "default_target",
    "is_passing",
    "mlflow_client",
    "prepare",
    "quiet",
]

# Read by MLflow when it is imported or at each request. Its own retries are off: they repeat a request that creates a
# run without checking whether the first one succeeded; ``Runs`` checks.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Otherwise the end of every run costs one more request, and is printed on the terminal.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

# Errors that the same request would get again: faults of the caller, or of its assumptions about the server.
PERMANENT = {
    "BAD_REQUEST",
    "ENDPOINT_NOT_FOUND",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "PERMISSION_DENIED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
    "UNAUTHENTICATED",
}
# HTTP errors of the client (4xx) that are temporary: time-out, too early, too many requests.
ASK_AGAIN = {408, 425, 429}

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class TrackingTarget:
    """Where the records in MLflow are stored.

    Attributes:
        uri: Tracking URI: a database (``sqlite:///...``) or a server (``http://...``).
        artifacts: Parent URI of the artifacts of a new experiment; None leaves it to the server.
        own: Whether it is the database of the results folder, which nobody but this program creates.
    """

    uri: str
    artifacts: str | None
    own: bool = False

    @property
    def served(self) -> bool:
        """Whether it is a server."""
        return urlsplit(self.uri).scheme in ("http", "https")

    @property
    def database(self) -> Path | None:
        """The file of an SQLite database; otherwise None."""
        scheme, _, path = self.uri.partition(":///")
        return Path(path.partition("?")[0]) if scheme.split("+")[0] == "sqlite" else None

    @property
    def shown(self) -> str:
        """The URI without user, password and token, for printing."""
        return masked(self.uri)


def default_target(root: str | Path, uri: str | None = None) -> TrackingTarget:
    """The tracking target of a results folder: the given URI, or an SQLite database in the folder.

    For results in a bucket the default is the URI in ``MLFLOW_TRACKING_URI``, or the database in ``./sept-runs``: a
    database cannot be used inside a bucket.

    Raises:
        InputError: MLflow has no store for this kind of URI.
    """
    folder = local_folder(root)
    artifacts = (folder / "mlartifacts").as_uri()
    if uri is None and is_remote(root):
        uri = os.environ.get("MLFLOW_TRACKING_URI") or None
    own = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
    if uri is None or uri == own:
        return TrackingTarget(own, artifacts, own=True)
    scheme = urlsplit(uri).scheme.split("+")[0]
    if scheme not in SCHEMES:
        # Without a scheme the beginning of a user name is unknown.
        shown = masked(uri) if "://" in uri else uri.rpartition("@")[2]
        raise InputError(
            f"'{shown}' is not a tracking URI",
            where="--mlflow or MLFLOW_TRACKING_URI",
            fix="give a server (http://HOST:PORT) or a database (sqlite:///PATH/mlflow.db)",
        )
    if re.search(r"://[^/?#]*\s[^/?#]*@", uri):
        raise InputError(
            "a user or password with a blank in it",
            where="--mlflow or MLFLOW_TRACKING_URI",
            fix="write %20 for the blank",
        )
    return TrackingTarget(uri, None if scheme in ("http", "https") else artifacts)


def mlflow_client(target: TrackingTarget, guard: Callable[[], None] | None = None) -> MlflowClient:
    """A client for the target. Imports MLflow (seconds); makes no request.

    Args:
        target: Where the records are stored.
        guard: Called before every request; raises if nothing may be written any more.
    """
    quiet()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=target.uri)
    return client if guard is None else cast("MlflowClient", _Guarded(client, guard))


class _Guarded:
    """MLflow's client with a check before each of its methods."""

    def __init__(self, client: MlflowClient, guard: Callable[[], None]) -> None:
        self._client = client
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        self._guard()
        return getattr(self._client, name)


def quiet() -> None:
    """Import MLflow (seconds) without telemetry and log output."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import mlflow.tracking  # noqa: F401 (imported for its side effects)

    # MLflow's import configures its loggers again. It also raises what it logs as an error with a traceback, and our
    # callers report that in one line.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)


@contextmanager
def as_default(uri: str | None) -> Iterator[None]:
    """Make this the default tracking and registry URI of MLflow's functions; None changes nothing."""
    import mlflow

    if uri is None:
        yield
        return
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])


def prepare(target: TrackingTarget) -> None:
    """Make the target ready: import MLflow and update the schema of a database (seconds the first time).

    To be called before anything else writes: two processes that create the schema at the same time can fail.

    Raises:
        Exception: Raised by MLflow if the target cannot be reached.
    """
    file = target.database
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            # Created with the umask, like all files of the results; SQLite's own file would not be group-writable.
            file.touch(exist_ok=True)
    client = mlflow_client(target)
    client.search_experiments(max_results=1)
    if target.own:
        _remove_empty_default(client)


def _remove_empty_default(client: MlflowClient) -> None:
    """Remove the experiment that MLflow creates in every database, if it is empty; MLflow can restore it."""
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):  # it is only there to be looked at
        default = client.get_experiment("0")
        found = default.name == "Default" and default.lifecycle_stage == "active" and not default.tags
        if found and not client.search_runs(["0"], run_view_type=ViewType.ALL, max_results=1):
            client.delete_experiment("0")


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed later: server away, time-out, database locked, or disk full."""
    code = getattr(error, "error_code", None)
    if code is not None:
        return str(code) not in PERMANENT
    # Exceptions of `requests` are OSErrors too, including HTTP errors while files are sent.
    status = getattr(getattr(error, "response", None), "status_code", 500)
    return isinstance(error, OSError | StoreError) and (status >= 500 or status in ASK_AGAIN)


def active_experiment(client: MlflowClient, sweep: str) -> str | None:
    """The id of a sweep's experiment; None if there is none, or if it was deleted."""
    found = client.get_experiment_by_name(sweep)
    return found.experiment_id if found is not None and found.lifecycle_stage == "active" else None
