"""Who is told what a sweep does: tracking, progress display."""

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
    """What a sweep is about to do in one study.

    Attributes:
        budget: Trials that the study ends with.
        fold: With ``selection: strict`` its test fold; else None.
    """

    key: str
    dataset: str
    encoder: str
    method: str
    budget: int
    fold: str | None = None


class SweepObserver(Protocol):
    """Told of everything that happens to a sweep.

    Contract: all calls come from one thread of the driver's process and must return quickly (queue what takes longer).
    Everything is told again when a sweep goes on after a stop, and a trial whose worker died starts again: observers
    must be idempotent, keyed by study and number. What an observer raises ends the sweep, resumably.
    """

    def sweep_started(self, sweep: str, studies: Sequence[StudyPlan]) -> None:
        """First of all calls; ``trial_ended`` follows for every trial that ended in an earlier launch."""

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None:
        """A worker has begun, from the checkpoint at ``resumed_epoch`` (0: from the beginning)."""

    def reported(self, proposal: Proposal, report: Report) -> None:
        """One more point of the trial's curve, in order; after a resume those before it too."""

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        """The sweep is through with a trial; ``result`` is there for what finished or failed, never for pruned."""

    def sweep_ended(self, state: SweepState) -> None:
        """Last of all calls; what was started and not ended is ``stopped`` and will be resumed."""
