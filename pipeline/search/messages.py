"""Messages between driver and workers, which pass through Ray Tune."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.cluster.faults import Fault
from pipeline.search.inputs import Loader
from pipeline.spec import StudyInputs
from sept_core.results import Report
from sept_core.trial_config import TrialConfig

__all__ = ["Assignment", "Message"]


@dataclass(frozen=True)
class Assignment:
    """The message to a worker: the trial, and where to find everything.

    Attributes:
        root: The store.
        provider: Loads what trials read; pickled by Ray.
        inputs: The argument of ``provider``.
        config: The configuration of the trial.
        cpus: CPUs that the trial occupies.
        gpus: Share of a GPU that it occupies.
    """

    root: str
    provider: Loader
    inputs: StudyInputs
    config: TrialConfig
    cpus: float = 1
    gpus: float = 0

    @property
    def threads(self) -> int:
        """Threads to compute with."""
        return max(1, int(self.cpus))


@dataclass(frozen=True)
class Message:
    """The message of a worker after a step.

    Attributes:
        phase: ``begun``, ``report``, ``ended`` (the result is in the store) or ``unusable`` (the store or the inputs
            are unusable).
        curve: All reports so far.
        error: The problem, in one line.
        fault: The kind of problem.
    """

    phase: Literal["begun", "report", "ended", "unusable"]
    curve: tuple[Report, ...] = ()
    error: str = ""
    fault: Fault = "other"

    def to_tune(self) -> dict[str, Any]:
        """As the result of a step; the curve as text, since Tune flattens and copies nested values."""
        return {
            "phase": self.phase,
            "curve": json.dumps([report.to_json() for report in self.curve]),
            "error": self.error,
            "fault": self.fault,
            "done": self.phase in ("ended", "unusable"),
        }

    @classmethod
    def from_tune(cls, result: dict[str, Any]) -> Message:
        """Read the result that Tune passes on."""
        curve = tuple(Report.from_json(report) for report in json.loads(result["curve"]))
        return cls(result["phase"], curve, result["error"], result["fault"])
