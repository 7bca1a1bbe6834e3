"""Tracking in MLflow: a projection of the trial store for people to look at, never read by the search.

Experiment = sweep, parent run = study, child run = trial, and a run that carries the report. Only the driver's process
writes, the trials' runs in one background thread.
Everything written is keyed by tags and carries timestamps of the store, so writing it again adds nothing.
"""

from __future__ import annotations

from pipeline.text import one_line
from pipeline.tracking.client import TrackingTarget, default_target, mlflow_client, prepare
from pipeline.tracking.failures import failure
from pipeline.tracking.report import log_report
from pipeline.tracking.sync import SyncSummary, sync
from pipeline.tracking.tracker import MlflowTracker, TrackingSummary
from pipeline.tracking.writer import SweepWriter

__all__ = [
    "MlflowTracker",
    "SweepWriter",
    "SyncSummary",
    "TrackingSummary",
    "TrackingTarget",
    "default_target",
    "failure",
    "log_report",
    "mlflow_client",
    "one_line",
    "prepare",
    "sync",
]
