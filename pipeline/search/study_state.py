"""The state of one study: its trials, which have ended, and which may run next."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import Enum

from pipeline.search.selection import fold_values
from pipeline.search.studies import Params, Past, propose, pruned_at, visible
from pipeline.spec import StudySpec
from pipeline.store.records import Decision, DecisionState, Proposal
from sept_core.results import Report, TrialResult, now_ms

__all__ = ["Idle", "StudyState"]


class Idle(Enum):
    """Why a study has nothing to run: it waits for running trials, or its budget is used up."""

    WAIT = "wait"
    DONE = "done"


class StudyState:
    """Trials and decisions of one study in memory; it decides, and its owner writes.

    Args:
        study: The study.
        proposals: Proposals of earlier launches. Those after a gap in the numbers are ignored: proposals are
            deterministic, so the same ones will be made again.
        decisions: Decisions of earlier launches.
        admit: Makes the proposal of a number and parameters *and stores it*; called once for each new trial, in the
            order of numbers, before the trial runs.
    """

    def __init__(
        self,
        study: StudySpec,
        proposals: Iterable[Proposal],
        decisions: Iterable[Decision],
        admit: Callable[[StudySpec, int, Params], Proposal],
    ) -> None:
        self.study = study
        self._admit = admit
        by_number = {proposal.number: proposal for proposal in proposals}
        self.proposals: list[Proposal] = []
        while len(self.proposals) in by_number:
            self.proposals.append(by_number[len(self.proposals)])
        self._decisions = {
            decision.number: decision
            for decision in decisions
            if decision.number < len(self.proposals) and decision.signature == self.proposals[decision.number].signature
        }
        self._running: set[int] = set()
        self._reopened: set[int] = set()

    def decision(self, proposal: Proposal) -> Decision | None:
        """How the trial ended; None if it has not. Final: a reopened trial keeps its decision."""
        return self._decisions.get(proposal.number)

    @property
    def done(self) -> bool:
        """Whether all trials of the budget have ended and none must run once more."""
        return len(self._decisions) == len(self.proposals) >= self.study.trials and not self._reopened

    def reopen(self, proposal: Proposal) -> None:
        """Run an ended trial once more because its result is lost; its decision stays."""
        self._reopened.add(proposal.number)

    def next(self) -> Proposal | Idle:
        """The next trial to run; it counts as running until `end` or `release`.

        Trials that were recorded and have not ended come first, lowest number first. A trial whose configuration is
        already running under another number waits for it, and then finds its result or checkpoint.
        """
        while True:
            busy = {self.proposals[number].signature for number in self._running}
            for proposal in self.proposals:
                if (
                    self._to_run(proposal.number)
                    and self._decidable(proposal.number)
                    and proposal.signature not in busy
                ):
                    self._running.add(proposal.number)
                    return proposal
            number = len(self.proposals)
            if number >= self.study.trials:
                return Idle.DONE if self.done else Idle.WAIT
            if not self._decidable(number):
                return Idle.WAIT
            self.proposals.append(self._admit(self.study, number, propose(self.study, self._history())))

    def release(self, proposal: Proposal) -> None:
        """Return a trial of `next` that does not run (any more): `next` will return it again."""
        self._running.discard(proposal.number)

    def judge(self, proposal: Proposal, curve: tuple[Report, ...]) -> Decision | None:
        """The decision ``pruned`` if this study stops the trial at some report of the curve so far."""
        count = pruned_at(self.study, proposal.number, self._history(), curve, proposal.config.epochs)
        if count is None:
            return None
        return self._make(proposal, "pruned", curve[:count])

    def conclude(self, proposal: Proposal, result: TrialResult) -> Decision:
        """The decision on a trial that has a result, whichever sweep trained it.

        A trial that this study would have pruned is pruned, so that existing results change nothing.
        """
        pruned = self.judge(proposal, result.curve)
        if pruned is not None:
            return pruned
        if result.state == "failed":
            lines = result.error.strip().splitlines()
            return replace(self._make(proposal, "failed", result.curve), error=lines[-1] if lines else "unknown error")
        values = fold_values(proposal.config, result.objective, result.replicas)
        return replace(self._make(proposal, "finished", result.curve), objective=result.objective, fold_values=values)

    def end(self, proposal: Proposal, decision: Decision) -> None:
        """The trial has ended."""
        self._running.discard(proposal.number)
        self._reopened.discard(proposal.number)
        self._decisions[proposal.number] = decision

    def _to_run(self, number: int) -> bool:
        return number not in self._running and (number not in self._decisions or number in self._reopened)

    def _decidable(self, number: int) -> bool:
        """Whether all outcomes are known that determine the trial's proposal and pruning.

        This is also checked for stored proposals: an earlier decision may be damaged, and is then made again first.
        """
        return all(index in self._decisions for index in range(visible(self.study, number)))

    @staticmethod
    def _make(proposal: Proposal, state: DecisionState, curve: tuple[Report, ...]) -> Decision:
        return Decision(
            study=proposal.study,
            number=proposal.number,
            signature=proposal.signature,
            state=state,
            epoch=curve[-1].epoch if curve else 0,
            objective=curve[-1].objective if curve else None,
            curve=curve,
            decided_ms=now_ms(),
        )

    def _history(self) -> list[Past]:
        return [Past(proposal.params, self._decisions.get(proposal.number)) for proposal in self.proposals]
