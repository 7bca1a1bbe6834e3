"""Tracking in MLflow: a projection of the trial store for people to look at, which the search never reads.

A sweep is an experiment, a study a parent run, a trial a child run, and one more run has the report. Only the process
of the driver writes; runs of trials are written by one background thread. Everything is found by tags and has the
timestamps of the store, so writing it again changes nothing.
"""

from __future__ import annotations

from pipeline.tracking.client import TrackingTarget, default_target, mlflow_client, prepare
from pipeline.tracking.failures import failure
from pipeline.tracking.report import log_report
from pipeline.tracking.space import log_space
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
    "log_space",
    "mlflow_client",
    "prepare",
    "sync",
]
