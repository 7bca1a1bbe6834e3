"""The contract of observers, which are notified of what a sweep does: tracking, progress display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pipeline.store.records import Decision, Proposal
from sept_core.results import Report, TrialResult

__all__ = ["StudyPlan", "SweepObserver", "SweepState"]

SweepState = Literal["finished", "stopped"]


@dataclass(frozen=True)
class StudyPlan:
    """The plan of one study of a sweep.

    Attributes:
        budget: Number of trials of the study.
        fold: With ``selection: strict`` its test fold; else None.
    """

    key: str
    dataset: str
    encoder: str
    method: str
    budget: int
    fold: str | None = None


class SweepObserver(Protocol):
    """Is notified of everything that happens in a sweep.

    Contract: all calls come from one thread of the driver's process and must return quickly (queue slow work). Events
    are repeated when a sweep continues after a stop, and a trial whose worker died starts again: observers must be
    idempotent, keyed by study and number. An exception in an observer ends the sweep, which can be resumed.
    """

    def sweep_started(self, sweep: str, studies: Sequence[StudyPlan]) -> None:
        """The first call; ``trial_ended`` follows for every trial that ended in an earlier launch."""

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None:
        """A worker has started, from the checkpoint at ``resumed_epoch`` (0: from the beginning)."""

    def reported(self, proposal: Proposal, report: Report) -> None:
        """The next point of the trial's curve; after a resume, earlier points are repeated."""

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        """The trial has ended; ``result`` is given if it finished or failed, never if it was pruned."""

    def sweep_ended(self, state: SweepState) -> None:
        """The last call; trials that have started and not ended are ``stopped`` and will be resumed."""
