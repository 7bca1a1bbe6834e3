"""The driver of a sweep: connects studies, store and observers; independent of Ray.

    driver = SweepDriver(spec, store, observers, provider)
    driver.replay()
    while (trial := driver.ask()) is not None:
        ...  # run it, and call begun, reported, and then concluded or lost

The order of writes makes a kill at any moment harmless: a proposal is stored before its trial starts, the result of a
trial before the decision on it, and everything in memory is computed from these. Test metrics are passed on to
observers; nothing here reads them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Container, Sequence

from pipeline.search.observer import StudyPlan, SweepObserver
from pipeline.search.sizing import trial_config
from pipeline.search.studies import Params
from pipeline.search.study_state import Idle, StudyState
from pipeline.spec import StudyInputs, StudySpec, SweepSpec
from pipeline.store.records import Decision, Proposal
from pipeline.store.trials import TrialStore
from sept_core.errors import InputError, SeptError
from sept_core.results import Report, TrialResult, now_ms
from sept_core.trial import TrialInputs, failed_result, trial_neighbors
from sept_core.trial_config import METHOD_VERSION, TrialConfig, parts_of_key
from sept_core.trial_inputs import check_names_apart

__all__ = ["Provider", "SweepDriver"]

logger = logging.getLogger(__name__)

Provider = Callable[[StudyInputs], TrialInputs]
"""Loads what the trials of a study read."""

# Number of workers that a trial may lose in a row without a new report.
_MAX_LOSSES = 5
# Number of workers that may be lost in a row before any of their trials began: then the trials are not the cause.
_MAX_STILLBORN = 10


def _on_axis(cell: str) -> str:
    """The label of a cell's neighbours; empty without such an axis."""
    return next((one for one in cell.split(",") if one.startswith("neighbors=")), "")


class SweepDriver:
    """Not thread-safe: all calls come from one thread.

    Args:
        spec: The sweep.
        store: The trial store.
        observers: Are notified of everything that happens.
        provider: Loads what trials read; called only if a study has something left to do.
        guard: Called before every write that decides something; raises if this driver must not write any more.
        heard: Called with a trial and its curve so far at every message of its worker, even if it has nothing new for
            observers.
    """

    def __init__(
        self,
        spec: SweepSpec,
        store: TrialStore,
        observers: Sequence[SweepObserver],
        provider: Provider,
        guard: Callable[[], None] = lambda: None,
        heard: Callable[[Proposal, tuple[Report, ...]], None] = lambda proposal, curve: None,
    ) -> None:
        self.spec = spec
        self.ended = Counter[str]()  # decisions by state, including those of earlier launches
        self.started = 0
        self._store = store
        self._observers = tuple(observers)
        self._provider = provider
        self._guard = guard
        self._heard = heard
        self._states: dict[str, StudyState] = {}
        self._curves: dict[tuple[str, int], tuple[Report, ...]] = {}
        self._losses: Counter[tuple[str, int]] = Counter()  # since a worker got further than all earlier ones
        self._furthest: Counter[tuple[str, int]] = Counter()  # reports
        self._stillborn = 0
        self._unborn: Counter[tuple[str, int]] = Counter()  # workers lost before the trial began, in a row
        self._since: dict[tuple[str, int], int] = {}  # trials that had begun when the first of them was lost
        self._begun: set[tuple[str, int]] = set()

    @property
    def finished(self) -> bool:
        """Whether every study has its budget and all its trials have ended."""
        return all(state.done for state in self._states.values())

    def replay(self) -> None:
        """Read the records of earlier launches, notify observers of ended trials, and check that the sweep can
        continue.

        Raises:
            InputError: Inputs are missing, or not those that the sweep was started with.
        """
        studies = self.spec.studies()
        plans = [
            StudyPlan(study.key, study.dataset, study.encoder, study.method_in_cell, study.trials, study.fold)
            for study in studies
        ]
        for observer in self._observers:
            observer.sweep_started(self.spec.name, plans)
        proposals, decisions = self._store.proposals(self.spec.name), self._store.decisions(self.spec.name)
        for study in studies:
            state = StudyState(
                study,
                [proposal for proposal in proposals if proposal.study == study.key],
                [decision for decision in decisions if decision.study == study.key],
                self._admit,
            )
            self._states[study.key] = state
            decided = [
                (proposal, decision)
                for proposal in state.proposals
                if (decision := state.decision(proposal)) is not None
            ]
            ended = ((study.key, proposal.signature) for proposal, decision in decided if decision.state != "pruned")
            results = self._store.read_results(ended)
            for proposal, decision in decided:
                self._replay_decision(state, proposal, decision, results.get((study.key, proposal.signature)))
            if not state.done:
                self._check_inputs(state, proposals)

    def ask(self, fitting: Container[str] = ()) -> Proposal | None:
        """The next trial to run; None if the remaining trials are running, or none is left.

        Studies of a higher priority come first, studies of equal priority in turn, so that no worker is idle while any
        study has a trial that may run.

        Trials that already have a result end here, without running.

        Args:
            fitting: Studies that come first among those of equal priority, because they fit the free worker.
        """
        for key, state in sorted(
            self._states.items(), key=lambda item: (-item[1].study.priority, item[0] not in fitting)
        ):
            while not isinstance(proposal := state.next(), Idle):
                result = self._store.read_result(proposal.study, proposal.signature)
                if result is not None:
                    self._conclude(state, proposal, result)
                    continue
                # A served study goes to the end of the queue, so that all studies advance together.
                self._states[key] = self._states.pop(key)
                return proposal
        return None

    def release(self, proposal: Proposal) -> None:
        """Return a trial of `ask` that does not run; `ask` will return it again."""
        self._states[proposal.study].release(proposal)

    def begun(self, proposal: Proposal, curve: tuple[Report, ...]) -> bool:
        """A worker has started a trial at the end of ``curve``; returns whether it should continue."""
        self.started += 1
        self._stillborn = 0
        self._begun.add((proposal.study, proposal.number))
        self._unborn.pop((proposal.study, proposal.number), None)
        self._since.pop((proposal.study, proposal.number), None)
        for observer in self._observers:
            observer.trial_started(proposal, curve[-1].epoch if curve else 0)
        self._curves[proposal.study, proposal.number] = ()
        return self.reported(proposal, curve)

    def reported(self, proposal: Proposal, curve: tuple[Report, ...]) -> bool:
        """A worker has reported the curve so far; returns whether it should continue (otherwise the trial is
        pruned)."""
        self._heard(proposal, curve)
        key = (proposal.study, proposal.number)
        state = self._states[proposal.study]
        # A trial that only runs to restore a lost result already has its decision.
        pruned = state.judge(proposal, curve) if state.decision(proposal) is None else None
        counted = curve if pruned is None else pruned.curve
        if len(curve) > self._furthest[key]:
            # Only new reports count as progress: every worker starts with the reports so far.
            self._furthest[key], self._losses[key] = len(curve), 0
        for report in counted[len(self._curves[key]) :]:
            for observer in self._observers:
                observer.reported(proposal, report)
        self._curves[key] = counted
        if pruned is not None:
            self._end(state, proposal, pruned, None)
        return pruned is None

    def concluded(self, proposal: Proposal) -> None:
        """A worker reports that the trial's result is in the store."""
        result = self._store.read_result(proposal.study, proposal.signature)
        if result is None:
            self.lost(proposal, "its result is damaged or missing")
        else:
            self._conclude(self._states[proposal.study], proposal, result)

    def lost(self, proposal: Proposal, reason: str) -> None:
        """The trial's worker is gone: the trial will run again, from its last checkpoint.

        The trial fails only if it loses several workers in a row without progress.

        Raises:
            SeptError: Several workers in a row were lost before they started: something else is wrong.
        """
        state, key = self._states[proposal.study], (proposal.study, proposal.number)
        if key in self._begun:
            self._begun.remove(key)
            self._losses[key] += 1
        else:
            self._stillborn += 1
            self._unborn[key] += 1
            self._since.setdefault(key, self.started)
        if self._stillborn > _MAX_STILLBORN:
            raise SeptError(
                f"{self._stillborn} workers in a row were lost before they started, the last one because {reason}; no "
                "trial is to blame. See Ray's logs (versions, memory, authentication), then run the same command again"
            )
        logger.warning("%s, number %d, will start again: %s", proposal.study, proposal.number, reason)
        error = ""
        if self._losses[key] > _MAX_LOSSES:
            error = f"lost {self._losses[key]} workers in a row without a new report; the last one: {reason}"
        elif self._unborn[key] > _MAX_LOSSES and self.started > self._since[key]:
            # Other trials have started meanwhile, so this trial is the cause.
            error = f"lost {self._unborn[key]} workers in a row before it started; the last one: {reason}"
        if error:
            self._guard()
            self._store.write_result(failed_result(proposal.config, self._curves.get(key, ()), error))
        state.release(proposal)

    def close(self) -> None:
        """Nothing runs any more, for whatever reason; notifies observers for the last time."""
        for observer in self._observers:
            observer.sweep_ended("finished" if self._states and self.finished else "stopped")

    def _conclude(self, state: StudyState, proposal: Proposal, result: TrialResult) -> None:
        decision = state.decision(proposal) or state.conclude(proposal, result)
        told = self._curves.get((proposal.study, proposal.number))
        if told is not None:
            for report in decision.curve[len(told) :]:
                for observer in self._observers:
                    observer.reported(proposal, report)
        self._end(state, proposal, decision, result)

    def _end(self, state: StudyState, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        self._guard()
        known = state.decision(proposal)
        if known is None:
            decision = self._store.write_decision(self.spec.name, decision)
            self.ended[decision.state] += 1
        state.end(proposal, decision)
        for observer in self._observers:
            # A pruned trial has no result in this sweep, even if another sweep trained it to the end.
            observer.trial_ended(proposal, decision, None if decision.state == "pruned" else result)

    def _replay_decision(
        self, state: StudyState, proposal: Proposal, decision: Decision, result: TrialResult | None
    ) -> None:
        self.ended[decision.state] += 1
        if decision.state == "pruned":
            # Another trial of the same configuration, or another sweep, may have trained it to the end.
            result = None
        elif result is None:
            state.reopen(proposal)
            return
        for observer in self._observers:
            observer.trial_ended(proposal, decision, result)

    def _admit(self, study: StudySpec, number: int, params: Params) -> Proposal:
        config = self._config(study, params)
        proposal = Proposal(study.key, number, config.signature, config, params, now_ms())
        self._guard()
        self._store.write_config(config)
        return self._store.add_proposal(self.spec.name, proposal)

    def _config(self, study: StudySpec, params: Params) -> TrialConfig:
        return trial_config(self.spec, study, self._provider(study.inputs), params)

    def _check_inputs(self, state: StudyState, others: Sequence[Proposal]) -> None:
        study = state.study
        inputs = self._provider(study.inputs)
        for proposal in state.proposals:
            now = self._config(study, proposal.params)
            for name, value in proposal.config:
                self._check_same(study, name, value, getattr(now, name))
        wanted = study.space.get("n_neighbors")
        if wanted is not None and inputs.neighbors is not None:
            used = trial_neighbors(inputs, self.spec.protocol, self.spec.neighbors_naming_new)
            most = max(int(value) for value in wanted.extremes)
            defaults = {name: one.default for name, one in study.declared.items() if one.default is not None}
            hyper = defaults | study.constants | {"n_neighbors": most}
            check_names_apart(inputs, self.spec.protocol, hyper, used)
        # Studies that have ended or not started must have read the same as this one.
        for config, cell in {one.signature: (one.config, parts_of_key(one.study).cell) for one in others}.values():
            self._check_same(study, "method_version", config.method_version, METHOD_VERSION)
            if config.encoder != study.encoder:
                continue
            self._check_same(study, "encoder_fingerprint", config.encoder_fingerprint, inputs.encoder.fingerprint)
            if config.dataset == study.dataset:
                self._check_same(study, "manifest_digest", config.manifest_digest, inputs.table.manifest_digest)
                self._check_same(study, "embeddings_digest", config.embeddings_digest, inputs.table.digest)
                used = trial_neighbors(inputs, config.protocol, config.neighbors_naming_new)
                if config.sept and used is not None and _on_axis(cell) == _on_axis(parts_of_key(study.key).cell):
                    self._check_same(study, "neighbors_digest", config.neighbors_digest, used.digest)

    def _check_same(self, study: StudySpec, name: str, before: object, now: object) -> None:
        if now == before:
            return
        what = f"its {name} was {before} when the sweep started and is {now} now"
        fix = "these results cannot belong to one search: give the sweep another name, with --fork NAME"
        if isinstance(before, dict) and isinstance(now, dict):
            # By data set; the first that differs is named.
            dataset = next(key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
            then, today = before.get(dataset, "none"), now.get(dataset, "none")
            if name == "left_out":
                what = f"clips of {dataset} left out of training and test: {then} when the sweep started, {today} now"
                fix = f"embed {dataset} with --force as it was then, or give the sweep another name, with --fork NAME"
            else:
                what = f"its {name}.{dataset} was {then} when the sweep started and is {today} now"
        raise InputError(what, where=f"sweep '{self.spec.name}', {study.key}", fix=fix)
