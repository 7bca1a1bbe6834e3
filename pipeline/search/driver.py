"""The driver of a sweep: connects studies, store and observers; knows nothing of Ray.

    driver = SweepDriver(spec, store, observers, provider)
    driver.replay()
    while (member := driver.ask()) is not None:
        ...  # run it, and tell: begun, reported, and then ended or lost

The order of writes is what makes a kill at any moment harmless: a member is recorded before it starts, a trial's result
is published before the verdict on it, and everything in memory is computed from those. Test metrics pass through to
observers; nothing here reads them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Container, Sequence

from pipeline.search.book import Idle, StudyBook
from pipeline.search.observer import StudyPlan, SweepObserver
from pipeline.search.sizing import trial_config
from pipeline.search.studies import Params
from pipeline.spec import StudyInputs, StudySpec, SweepSpec
from pipeline.store.records import Member, Verdict
from pipeline.store.trials import TrialStore
from sept_core.errors import InputError, SeptError
from sept_core.results import METHOD_VERSION, Report, TrialConfig, TrialResult, now_ms
from sept_core.trial import TrialInputs, failed_result, trial_neighbors
from sept_core.trial_inputs import check_names_apart

__all__ = ["Provider", "SweepDriver"]

logger = logging.getLogger(__name__)

Provider = Callable[[StudyInputs], TrialInputs]
"""Loads what the trials of a study read."""

# Workers that a trial may lose one after another without a single new report in between.
_MAX_LOSSES = 5
# Workers that may be lost in a row, whatever the trials, before any of them has begun: then it is not the trials.
_MAX_STILLBORN = 10


class SweepDriver:
    """Not thread-safe: all calls come from one thread.

    Args:
        spec: The sweep.
        store: Where everything is.
        observers: Who is told.
        provider: Loads what trials read; asked only where a study has something left to do.
        guard: Called before every write that decides something; raises when this driver must not write any more.
        heard: Called with a member and its curve so far whenever its worker has said something, also where that is
            nothing new for observers.
    """

    def __init__(
        self,
        spec: SweepSpec,
        store: TrialStore,
        observers: Sequence[SweepObserver],
        provider: Provider,
        guard: Callable[[], None] = lambda: None,
        heard: Callable[[Member, tuple[Report, ...]], None] = lambda member, curve: None,
    ) -> None:
        self.spec = spec
        self.ended = Counter[str]()  # verdicts by state, those of earlier launches included
        self.started = 0
        self._store = store
        self._observers = tuple(observers)
        self._provider = provider
        self._guard = guard
        self._heard = heard
        self._books: dict[str, StudyBook] = {}
        self._curves: dict[tuple[str, int], tuple[Report, ...]] = {}
        self._losses: Counter[tuple[str, int]] = Counter()  # since a worker got further than all before it
        self._furthest: Counter[tuple[str, int]] = Counter()  # reports
        self._stillborn = 0
        self._unborn: Counter[tuple[str, int]] = Counter()  # workers lost before the trial began, in a row
        self._since: dict[tuple[str, int], int] = {}  # trials that had begun when the first of them was lost
        self._begun: set[tuple[str, int]] = set()

    @property
    def finished(self) -> bool:
        """Whether every study has its budget and all its members have ended."""
        return all(book.done for book in self._books.values())

    def replay(self) -> None:
        """Read what earlier launches left, tell observers what has ended, and check that one can go on from there.

        Raises:
            InputError: Inputs are missing, or not those that the sweep was begun with.
        """
        studies = self.spec.studies()
        plans = [
            StudyPlan(study.key, study.dataset, study.encoder, study.method, study.trials, study.fold)
            for study in studies
        ]
        for observer in self._observers:
            observer.sweep_started(self.spec.name, plans)
        members, verdicts = self._store.members(self.spec.name), self._store.verdicts(self.spec.name)
        for study in studies:
            book = StudyBook(
                study,
                [member for member in members if member.study == study.key],
                [verdict for verdict in verdicts if verdict.study == study.key],
                self._admit,
            )
            self._books[study.key] = book
            decided = [(member, verdict) for member in book.members if (verdict := book.verdict(member)) is not None]
            ended = ((study.key, member.signature) for member, verdict in decided if verdict.state != "pruned")
            results = self._store.read_results(ended)
            for member, verdict in decided:
                self._replay_verdict(book, member, verdict, results.get((study.key, member.signature)))
            if not book.done:
                self._check_inputs(book, members)

    def ask(self, fitting: Container[str] = ()) -> Member | None:
        """The next member to run; None when all that is left is in flight, or nothing is left.

        Studies of a higher priority first, those of one priority in turn: so no worker idles while any study has a
        member that may run.

        Members whose trial has a result already end here, without running.

        Args:
            fitting: Studies that come first among those of one priority, because the worker that is free fits them.
        """
        for key, book in sorted(
            self._books.items(), key=lambda item: (-item[1].study.priority, item[0] not in fitting)
        ):
            while not isinstance(member := book.next(), Idle):
                result = self._store.read_result(member.study, member.signature)
                if result is not None:
                    self._conclude(book, member, result)
                    continue
                # Who was served goes to the end of the queue, so that all studies advance together.
                self._books[key] = self._books.pop(key)
                return member
        return None

    def release(self, member: Member) -> None:
        """Take back a member that `ask` handed out and that does not run; it is handed out again."""
        self._books[member.study].release(member)

    def begun(self, member: Member, curve: tuple[Report, ...]) -> bool:
        """A worker has begun with a member, at the end of ``curve``; whether it should go on."""
        self.started += 1
        self._stillborn = 0
        self._begun.add((member.study, member.number))
        self._unborn.pop((member.study, member.number), None)
        self._since.pop((member.study, member.number), None)
        for observer in self._observers:
            observer.member_started(member, curve[-1].epoch if curve else 0)
        self._curves[member.study, member.number] = ()
        return self.reported(member, curve)

    def reported(self, member: Member, curve: tuple[Report, ...]) -> bool:
        """A worker has the curve so far; whether it should go on (else: the member is pruned)."""
        self._heard(member, curve)
        key = (member.study, member.number)
        book = self._books[member.study]
        # The verdict on a member that only runs to restore a lost result is made already.
        pruned = book.judge(member, curve) if book.verdict(member) is None else None
        counted = curve if pruned is None else pruned.curve
        if len(curve) > self._furthest[key]:
            # Only what no worker has reported before counts as getting on: every one begins with the reports so far.
            self._furthest[key], self._losses[key] = len(curve), 0
        for report in counted[len(self._curves[key]) :]:
            for observer in self._observers:
                observer.reported(member, report)
        self._curves[key] = counted
        if pruned is not None:
            self._end(book, member, pruned, None)
        return pruned is None

    def concluded(self, member: Member) -> None:
        """A worker says that the member's result is in the store."""
        result = self._store.read_result(member.study, member.signature)
        if result is None:
            self.lost(member, "its result is damaged or gone")
        else:
            self._conclude(self._books[member.study], member, result)

    def lost(self, member: Member, reason: str) -> None:
        """The member's worker is gone: the member will run again, from its last checkpoint.

        That doesn't count against its trial, unless it loses one worker after another without getting anywhere.

        Raises:
            SeptError: Workers are lost before they begin, one after the other: something else is wrong.
        """
        book, key = self._books[member.study], (member.study, member.number)
        if key in self._begun:
            self._begun.remove(key)
            self._losses[key] += 1
        else:
            self._stillborn += 1
            self._unborn[key] += 1
            self._since.setdefault(key, self.started)
        if self._stillborn > _MAX_STILLBORN:
            raise SeptError(
                f"{self._stillborn} workers in a row were gone before they began, the last one because {reason}; no "
                "trial is to blame. See Ray's logs (versions, memory, authentication), then run the same command again"
            )
        logger.warning("%s, number %d, will start again: %s", member.study, member.number, reason)
        error = ""
        if self._losses[key] > _MAX_LOSSES:
            error = f"lost {self._losses[key]} workers in a row without a new report; the last one: {reason}"
        elif self._unborn[key] > _MAX_LOSSES and self.started > self._since[key]:
            # Others have begun meanwhile: then it is this trial.
            error = f"lost {self._unborn[key]} workers in a row before it began; the last one: {reason}"
        if error:
            self._guard()
            self._store.write_result(failed_result(member.config, self._curves.get(key, ()), error))
        book.release(member)

    def close(self) -> None:
        """Nothing runs any more, whatever the reason; observers hear it last."""
        for observer in self._observers:
            observer.sweep_ended("finished" if self._books and self.finished else "stopped")

    def _conclude(self, book: StudyBook, member: Member, result: TrialResult) -> None:
        verdict = book.verdict(member) or book.conclude(member, result)
        told = self._curves.get((member.study, member.number))
        if told is not None:
            for report in verdict.curve[len(told) :]:
                for observer in self._observers:
                    observer.reported(member, report)
        self._end(book, member, verdict, result)

    def _end(self, book: StudyBook, member: Member, verdict: Verdict, result: TrialResult | None) -> None:
        self._guard()
        known = book.verdict(member)
        if known is None:
            verdict = self._store.write_verdict(self.spec.name, verdict)
            self.ended[verdict.state] += 1
        book.end(member, verdict)
        for observer in self._observers:
            # What the sweep pruned has no result in this sweep, even where another one trained it to the end.
            observer.member_ended(member, verdict, None if verdict.state == "pruned" else result)

    def _replay_verdict(self, book: StudyBook, member: Member, verdict: Verdict, result: TrialResult | None) -> None:
        self.ended[verdict.state] += 1
        if verdict.state == "pruned":
            # Another member of the same configuration, or another sweep, may have trained it to the end.
            result = None
        elif result is None:
            book.reopen(member)
            return
        for observer in self._observers:
            observer.member_ended(member, verdict, result)

    def _admit(self, study: StudySpec, number: int, params: Params) -> Member:
        config = self._config(study, params)
        member = Member(study.key, number, config.signature, config, params, now_ms())
        self._guard()
        self._store.write_config(config)
        return self._store.add_member(self.spec.name, member)

    def _config(self, study: StudySpec, params: Params) -> TrialConfig:
        return trial_config(self.spec, study, self._provider(study.inputs), params)

    def _check_inputs(self, book: StudyBook, others: Sequence[Member]) -> None:
        study = book.study
        inputs = self._provider(study.inputs)
        for member in book.members:
            now = self._config(study, member.params)
            for name, value in member.config:
                self._check_same(study, name, value, getattr(now, name))
        wanted = study.space.get("n_neighbors")
        if wanted is not None and inputs.neighbors is not None:
            used = trial_neighbors(inputs, self.spec.protocol, self.spec.neighbors_naming_new)
            most = max(int(value) for value in wanted.extremes)
            defaults = {name: one.default for name, one in study.declared.items() if one.default is not None}
            hyper = defaults | study.constants | {"n_neighbors": most}
            check_names_apart(inputs, self.spec.protocol, hyper, used)
        # Studies that are done already, or not begun yet, must have read the same as this one.
        for config in {member.config.signature: member.config for member in others}.values():
            self._check_same(study, "method_version", config.method_version, METHOD_VERSION)
            self._check_same(study, "encoder_fingerprint", config.encoder_fingerprint, inputs.encoder.fingerprint)
            if config.dataset == study.dataset:
                self._check_same(study, "manifest_digest", config.manifest_digest, inputs.table.manifest_digest)
                self._check_same(study, "embeddings_digest", config.embeddings_digest, inputs.table.digest)
                used = trial_neighbors(inputs, config.protocol, config.neighbors_naming_new)
                if config.sept and used is not None:
                    self._check_same(study, "neighbors_digest", config.neighbors_digest, used.digest)

    def _check_same(self, study: StudySpec, name: str, before: object, now: object) -> None:
        if now == before:
            return
        what = f"its {name} was {before} when the sweep began and is {now} now"
        fix = "results of both cannot be one search: give the sweep another name, with --fork NAME"
        if isinstance(before, dict) and isinstance(now, dict):
            # By data set; the first that differs is named.
            dataset = next(key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
            then, today = before.get(dataset, "none"), now.get(dataset, "none")
            if name == "left_out":
                what = f"clips of {dataset} left out of training and test: {then} when the sweep began, {today} now"
                fix = f"embed {dataset} with --force as it was then, or give the sweep another name, with --fork NAME"
            else:
                what = f"its {name}.{dataset} was {then} when the sweep began and is {today} now"
        raise InputError(what, where=f"sweep '{self.spec.name}', {study.key}", mend=fix)
