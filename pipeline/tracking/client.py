"""The door to MLflow: quiet, without telemetry, and with failures sorted into those that pass and those that stay."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sept_core.errors import InputError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["ENVIRONMENT", "TrackingTarget", "connect", "default_target", "is_passing", "one_line", "prepare"]

# Read by MLflow when it is imported or at each request. Its own retries are off: they repeat a request that creates a
# run without looking whether the first one got through; ours look (``SweepWriter.forget``).
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}

# What the same request would meet again: error codes of the caller's own making.
PERMANENT = {
    "BAD_REQUEST",
    "ENDPOINT_NOT_FOUND",
    "INVALID_PARAMETER_VALUE",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
}

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


def default_target(root: Path, uri: str | None = None) -> TrackingTarget:
    """The tracking target of a results root: its own SQLite database, or the URI that was asked for.

    Raises:
        InputError: The URI is of a kind that MLflow has no store for.
    """
    root = root.absolute()
    artifacts = (root / "mlartifacts").as_uri()
    if uri is None:
        return TrackingTarget(f"sqlite:///{(root / 'mlflow.db').as_posix()}", artifacts)
    scheme = urlsplit(uri).scheme.split("+")[0]
    if scheme not in SCHEMES:
        raise InputError(
            f"'{uri}' is not a tracking URI",
            where="--mlflow",
            mend="give a server (http://HOST:PORT) or a database (sqlite:///PATH/mlflow.db)",
        )
    return TrackingTarget(uri, None if scheme in ("http", "https") else artifacts)


def connect(target: TrackingTarget) -> MlflowClient:
    """A client for the target. Imports MLflow (seconds); makes no request."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow.tracking import MlflowClient

    # MLflow's import configures its own loggers again.
    # What it logs as an error, with a traceback, it raises as well, and whoever calls says it in one line.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    return MlflowClient(tracking_uri=target.uri)


def prepare(target: TrackingTarget) -> None:
    """Make the target ready: import MLflow and bring a database to its newest schema (seconds the first time).

    Done once before anything else writes: two first starts at the same time race on the schema.

    Raises:
        Exception: What MLflow raises where the target cannot be reached.
    """
    prefix = "sqlite:///"
    if target.uri.startswith(prefix):
        Path(target.uri.removeprefix(prefix)).parent.mkdir(parents=True, exist_ok=True)
    connect(target).search_experiments(max_results=1)


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed later: server away, time-out, database locked, disk full for now."""
    code = getattr(error, "error_code", None)
    if code is not None:
        return str(code) not in PERMANENT
    return isinstance(error, OSError)  # requests' exceptions are OSErrors too


def one_line(error: Exception) -> str:
    """An error of MLflow's, which may run over many lines, in one."""
    return " ".join(str(error).split())[:300] or type(error).__name__
