"""Checks that everything a sweep needs is there, by a few real requests, and states how to fix what is not.

No check can block the doctor: each has a time limit, and runs in a separate process if a library cannot be interrupted.
The doctor leaves nothing behind, except in MLflow (see ``mlflow_server``).
"""

from pipeline.doctor.checks import Check, Subject
from pipeline.doctor.examine import Wanted, examine, wanted_by

__all__ = ["Check", "Subject", "Wanted", "examine", "wanted_by"]
