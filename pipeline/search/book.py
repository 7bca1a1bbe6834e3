"""The bookkeeping of one study: its members, what has ended, and what may run next."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import Enum

from pipeline.choice import fold_values
from pipeline.search.studies import Params, Past, propose, pruned_at, visible
from pipeline.spec import StudySpec
from pipeline.store.records import Member, Verdict, VerdictState
from sept_core.results import Report, TrialResult, now_ms

__all__ = ["Idle", "StudyBook"]


class Idle(Enum):
    """Why a study has nothing to run: it waits for what is in flight, or has its budget."""

    WAIT = "wait"
    DONE = "done"


class StudyBook:
    """Members and verdicts of one study in memory; decides, and leaves writing to its owner.

    Args:
        study: The study.
        members: Members recorded by earlier launches. From a gap in their numbers on they are left out: proposals are
            pure, so the same members are asked for again.
        verdicts: Verdicts of earlier launches.
        admit: Makes the member of a number and proposed parameters *and records it in the store*; called once for each
            new member, in the order of numbers, before the member is handed out.
    """

    def __init__(
        self,
        study: StudySpec,
        members: Iterable[Member],
        verdicts: Iterable[Verdict],
        admit: Callable[[StudySpec, int, Params], Member],
    ) -> None:
        self.study = study
        self._admit = admit
        by_number = {member.number: member for member in members}
        self.members: list[Member] = []
        while len(self.members) in by_number:
            self.members.append(by_number[len(self.members)])
        self._verdicts = {
            verdict.number: verdict
            for verdict in verdicts
            if verdict.number < len(self.members) and verdict.signature == self.members[verdict.number].signature
        }
        self._running: set[int] = set()
        self._reopened: set[int] = set()

    def verdict(self, member: Member) -> Verdict | None:
        """How the member ended, None while it has not. Final: a reopened member keeps it."""
        return self._verdicts.get(member.number)

    @property
    def done(self) -> bool:
        """Whether the study has its budget, all members have ended, and none is to be run once more."""
        return len(self._verdicts) == len(self.members) >= self.study.trials and not self._reopened

    def reopen(self, member: Member) -> None:
        """Run an ended member once more, because its result is lost; its verdict stands."""
        self._reopened.add(member.number)

    def next(self) -> Member | Idle:
        """The next member to run; it counts as running until `end` or `release`.

        Members that were recorded and have not ended come first, lowest number first. One whose configuration is
        running already under another number waits for it, and then finds its result or its checkpoint.
        """
        while True:
            busy = {self.members[number].signature for number in self._running}
            for member in self.members:
                if self._to_run(member.number) and self._decidable(member.number) and member.signature not in busy:
                    self._running.add(member.number)
                    return member
            number = len(self.members)
            if number >= self.study.trials:
                return Idle.DONE if self.done else Idle.WAIT
            if not self._decidable(number):
                return Idle.WAIT
            self.members.append(self._admit(self.study, number, propose(self.study, self._history())))

    def release(self, member: Member) -> None:
        """Take back a member that was handed out and does not run (any more): `next` gives it out again."""
        self._running.discard(member.number)

    def judge(self, member: Member, curve: tuple[Report, ...]) -> Verdict | None:
        """The verdict ``pruned`` if some report of the curve so far is where this study stops the member."""
        count = pruned_at(self.study, member.number, self._history(), curve, member.config.epochs)
        if count is None:
            return None
        return self._make(member, "pruned", curve[:count])

    def conclude(self, member: Member, result: TrialResult) -> Verdict:
        """The verdict on a member whose trial has a result, whoever trained it.

        What this study would have pruned is pruned, so that a result that was there already changes nothing.
        """
        pruned = self.judge(member, result.curve)
        if pruned is not None:
            return pruned
        if result.state == "failed":
            lines = result.error.strip().splitlines()
            return replace(self._make(member, "failed", result.curve), error=lines[-1] if lines else "unknown error")
        values = fold_values(member.config, result.objective, result.replicas)
        return replace(self._make(member, "finished", result.curve), objective=result.objective, fold_values=values)

    def end(self, member: Member, verdict: Verdict) -> None:
        """The member has ended."""
        self._running.discard(member.number)
        self._reopened.discard(member.number)
        self._verdicts[member.number] = verdict

    def _to_run(self, number: int) -> bool:
        return number not in self._running and (number not in self._verdicts or number in self._reopened)

    def _decidable(self, number: int) -> bool:
        """Whether all outcomes are known that the member's proposal and pruning are computed from.

        Of a recorded member too: a verdict before it may have been damaged, and is then made again first.
        """
        return all(index in self._verdicts for index in range(visible(self.study, number)))

    @staticmethod
    def _make(member: Member, state: VerdictState, curve: tuple[Report, ...]) -> Verdict:
        return Verdict(
            study=member.study,
            number=member.number,
            signature=member.signature,
            state=state,
            epoch=curve[-1].epoch if curve else 0,
            objective=curve[-1].objective if curve else None,
            curve=curve,
            decided_ms=now_ms(),
        )

    def _history(self) -> list[Past]:
        return [Past(member.params, self._verdicts.get(member.number)) for member in self.members]
