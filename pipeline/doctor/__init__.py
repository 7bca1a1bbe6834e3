"""Whether everything that a sweep needs is there: a few real requests each, with what to do where one fails.

Nothing that is checked can hold the doctor up: each check has its seconds, and a process of its own where a library
could not be interrupted. Nothing that it writes stays, but for what ``mlflow_server`` says of MLflow.
"""

from pipeline.doctor.checks import Check, Subject
from pipeline.doctor.examine import Wanted, examine, wanted_by

__all__ = ["Check", "Subject", "Wanted", "examine", "wanted_by"]
