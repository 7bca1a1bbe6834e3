"""Messages between driver and workers: plain values, since they pass through Ray Tune."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.cluster.faults import Fault
from pipeline.search.inputs import Loader
from pipeline.spec import StudyInputs
from sept_core.results import Report, TrialConfig

__all__ = ["Assignment", "Message"]


@dataclass(frozen=True)
class Assignment:
    """The message to a worker: the trial, and where to find everything.

    Attributes:
        root: The store.
        provider: Loads what trials read; pickled by Ray.
        inputs: The argument of ``provider``, `StudyInputs` as JSON.
        config: The trial's configuration as JSON.
        cpus: CPUs that the trial occupies.
        gpus: Share of a GPU that it occupies.
    """

    root: str
    provider: Loader
    inputs: str
    config: str
    cpus: float
    gpus: float

    @classmethod
    def of(
        cls, root: str, provider: Loader, inputs: StudyInputs, config: TrialConfig, cpus: float = 1, gpus: float = 0
    ) -> Assignment:
        """The assignment of a trial of a study with these inputs."""
        return cls(root, provider, json.dumps(asdict(inputs)), config.model_dump_json(), cpus, gpus)

    @property
    def threads(self) -> int:
        """Threads to compute with."""
        return max(1, int(self.cpus))

    @property
    def study_inputs(self) -> StudyInputs:
        """The inputs of the trial."""
        content = json.loads(self.inputs)
        return StudyInputs(**content | {"targets": tuple(content["targets"])})

    @property
    def trial(self) -> TrialConfig:
        """The configuration."""
        return TrialConfig.model_validate_json(self.config)


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
