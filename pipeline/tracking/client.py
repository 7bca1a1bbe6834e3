"""The door to MLflow: quiet, without telemetry, and with failures sorted into those that pass and those that stay."""

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

from pipeline.store.files import StoreError, is_remote, local_folder
from pipeline.text import masked, one_line
from sept_core.errors import InputError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = [
    "ENVIRONMENT",
    "TrackingTarget",
    "as_default",
    "default_target",
    "is_passing",
    "mlflow_client",
    "one_line",
    "prepare",
    "quiet",
]

# Read by MLflow when it is imported or at each request. Its own retries are off: they repeat a request that creates a
# run without looking whether the first one got through; ours look (``Runs``).
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Else the end of every run costs a request more, and is announced on the terminal.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

# What the same request would meet again: error codes of the caller's own making, or of what it believes is there.
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
# Of the answers that say so, those to ask again after: time-out, too early, too many requests.
ASK_AGAIN = {408, 425, 429}

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class TrackingTarget:
    """Where MLflow's records go.

    Attributes:
        uri: Tracking URI: a database (``sqlite:///...``) or a server (``http://...``).
        artifacts: URI below which a new experiment's artifacts lie; None leaves it to the server.
    """

    uri: str
    artifacts: str | None

    @property
    def served(self) -> bool:
        """Whether a server stands between us and the database."""
        return urlsplit(self.uri).scheme in ("http", "https")

    @property
    def database(self) -> Path | None:
        """The file of an SQLite database; None of everything else."""
        scheme, _, path = self.uri.partition(":///")
        return Path(path.partition("?")[0]) if scheme.split("+")[0] == "sqlite" else None

    @property
    def shown(self) -> str:
        """The URI without user, password and token: all that is ever printed of it."""
        return masked(self.uri)


def default_target(root: str | Path, uri: str | None = None) -> TrackingTarget:
    """The tracking target of a results root: the URI that was asked for, or else an SQLite database of its own.

    Of results in a bucket it is the URI of ``MLFLOW_TRACKING_URI``, or else the database in ``./sept-runs``: a database
    in a bucket would have to be fetched and put back whole.

    Raises:
        InputError: The URI is of a kind that MLflow has no store for.
    """
    folder = local_folder(root)
    artifacts = (folder / "mlartifacts").as_uri()
    if uri is None and is_remote(root):
        uri = os.environ.get("MLFLOW_TRACKING_URI") or None
    if uri is None:
        return TrackingTarget(f"sqlite:///{(folder / 'mlflow.db').as_posix()}", artifacts)
    scheme = urlsplit(uri).scheme.split("+")[0]
    if scheme not in SCHEMES:
        # Without a scheme nothing says where a user's name would begin.
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
        target: Where MLflow's records go.
        guard: Called before everything that the client is asked for; raises when nothing may be written any more.
    """
    quiet()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=target.uri)
    return client if guard is None else cast("MlflowClient", _Guarded(client, guard))


class _Guarded:
    """MLflow's client, each of whose methods is preceded by a check."""

    def __init__(self, client: MlflowClient, guard: Callable[[], None]) -> None:
        self._client = client
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        self._guard()
        return getattr(self._client, name)


def quiet() -> None:
    """Import MLflow (seconds) so that it neither reports home nor chatters."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import mlflow.tracking  # noqa: F401 (what importing it does is meant)

    # MLflow's import configures its own loggers again.
    # What it logs as an error, with a traceback, it raises as well, and whoever calls says it in one line.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)


@contextmanager
def as_default(uri: str | None) -> Iterator[None]:
    """Within, MLflow's own functions use this tracking URI, for its registry too; None leaves theirs."""
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
    """Make the target ready: import MLflow and bring a database to its newest schema (seconds the first time).

    Done once before anything else writes: two first starts at the same time race on the schema.

    Raises:
        Exception: What MLflow raises where the target cannot be reached.
    """
    file = target.database
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            # By the umask, as all other files of the results: SQLite itself would let nobody else write it.
            file.touch(exist_ok=True)
    mlflow_client(target).search_experiments(max_results=1)


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed later: server away, time-out, database locked, disk full for now."""
    code = getattr(error, "error_code", None)
    if code is not None:
        return str(code) not in PERMANENT
    # What `requests` raises are OSErrors too; where files are sent it is the server's answer as well.
    status = getattr(getattr(error, "response", None), "status_code", 500)
    return isinstance(error, OSError | StoreError) and (status >= 500 or status in ASK_AGAIN)
