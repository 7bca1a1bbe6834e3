"""The status of a sweep, from the store alone: while it runs, after a crash, in a copied folder, on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.data.stored_spec import stored_spec
from pipeline.search.selection import choose, chosen_value, with_fold_values
from pipeline.spec import StudySpec
from pipeline.spec.known_sweep import known_sweep
from pipeline.store import Decision, Lease, Proposal, TrialStore
from pipeline.store.launch_messages import LaunchProgress, Noticeboard
from pipeline.watch.remaining import StudyWork, seconds_left
from sept_core.results import now_ms

__all__ = [
    "DriverStatus",
    "StudyStatus",
    "SweepReader",
    "SweepStatus",
    "TrialPhase",
    "TrialStatus",
    "study_budgets",
    "sweep_status",
]

# No end is shown that is further away than this (30 years).
_FORESEEN_S = 1e9

TrialPhase = Literal["running", "waiting", "unknown"]


@dataclass(frozen=True)
class StudyStatus:
    """The status of one study.

    Attributes:
        fold: With ``selection: strict`` its test fold; otherwise None.
        begun: Trials that were proposed and have not ended.
        running: Trials that run now, as far as is known; 0 if the sweep does not run.
        best_objective: Validation H (cross-dataset: accuracy on the source) as in the report: the mean over test folds
            of each fold's best trial, percent; with ``selection: paper`` measured on test clips.
    """

    key: str
    dataset: str
    method: str
    budget: int
    finished: int
    pruned: int
    failed: int
    begun: int
    running: int
    best_objective: float | None
    fold: str | None = None


@dataclass(frozen=True)
class TrialStatus:
    """A trial that has not ended, in a sweep that runs.

    Attributes:
        phase: ``running``; ``waiting``: no worker has started it in this launch; ``unknown``: the driver has not
            published the progress of its trials lately. The fields after ``epochs`` are set for running trials only.
        epochs: Number of epochs that it trains.
        epoch: Epochs trained at its last report.
        best_objective: Best validation objective of its reports, percent; None before the first.
        begun_ms: When its worker started it, milliseconds since 1970.
        heard_s: Seconds since its last message.
    """

    study: str
    number: int
    signature: str
    phase: TrialPhase
    epochs: int
    epoch: int | None = None
    best_objective: float | None = None
    begun_ms: int | None = None
    heard_s: float | None = None


@dataclass(frozen=True)
class DriverStatus:
    """The driver that holds the lease of the sweep.

    Attributes:
        alive: Whether it may still be running; if not, the next launch takes over.
        gone: Whether its process has certainly ended, which only its own machine can tell.
        since_ms: When it took the lease, milliseconds since 1970.
        renewed_ms: When it last renewed the lease.
        renewed_s: Seconds since then.
        stop_asked_ms: When somebody asked it to stop; None if nobody did.
    """

    host: str
    pid: int
    alive: bool
    gone: bool
    since_ms: int
    renewed_ms: int
    renewed_s: float
    stop_asked_ms: int | None


@dataclass(frozen=True)
class SweepStatus:
    """The status of a sweep.

    Attributes:
        selection: How trials are chosen, as in `TrialConfig`.
        at_ms: Time of this status, milliseconds since 1970.
        state: ``running``; ``finished``: all studies have their budget; ``stopped``: the last launch released the lease
            before that; ``lost``: the driver holds the lease and is not alive.
        trials: The trials that have begun and not ended, while the sweep runs.
        driver: The holder of the lease; None if nobody holds it.
        expected_end_ms: Expected end, by `remaining.seconds_left`; None if it cannot be estimated.
        failures: A line for each failed trial.
        data_warnings: Warnings about the data, one per line.
        began_ms: When its first trial was proposed, milliseconds since 1970; None before that.
        last_ms: When a trial last ended.
    """

    sweep: str
    protocol: str
    selection: str
    encoder: str
    at_ms: int
    state: Literal["running", "finished", "stopped", "lost"]
    studies: tuple[StudyStatus, ...]
    trials: tuple[TrialStatus, ...]
    driver: DriverStatus | None
    expected_end_ms: int | None
    failures: tuple[str, ...]
    data_warnings: tuple[str, ...] = ()
    began_ms: int | None = None
    last_ms: int | None = None

    @property
    def ended(self) -> int:
        """Trials that have ended."""
        return sum(study.finished + study.pruned + study.failed for study in self.studies)

    @property
    def budget(self) -> int:
        """Number of trials that the sweep is to have."""
        return sum(study.budget for study in self.studies)

    def to_json(self) -> dict[str, Any]:
        """Plain values, including totals."""
        return asdict(self) | {"ended": self.ended, "budget": self.budget}


class SweepReader:
    """Reads the status of a sweep repeatedly; what is final is read only once.

    Raises:
        InputError: The store has no sweep of this name, or its spec is no longer valid.
    """

    def __init__(self, store: TrialStore, sweep: str) -> None:
        self._store = store
        self._sweep = sweep
        self._lease = Lease(store.files, sweep)
        self._board = Noticeboard(store.files, sweep)
        self._text = known_sweep(store, sweep)
        self._spec = stored_spec(store, sweep, self._text)
        self._proposals: list[Proposal] = []
        self._decisions: list[Decision] = []
        self._warnings: dict[tuple[object, ...], tuple[str, ...]] = {}

    def read(self) -> SweepStatus:
        """The current status.

        Raises:
            InputError: The sweep no longer exists, or its spec is no longer valid.
            StoreError: The store cannot be read.
        """
        # The lease first: if it is free, everything that its launch wrote can be read.
        driver, progress = self._look()
        self._refresh()
        at = now_ms()
        runs = driver is not None and driver.alive
        ended = {(decision.study, decision.number) for decision in self._decisions}
        begun = [proposal for proposal in self._proposals if (proposal.study, proposal.number) not in ended]
        trials = tuple(_trial(proposal, progress, at) for proposal in begun) if runs else ()
        specs = self._spec.studies()
        studies = tuple(_study(spec, self._decisions, begun, trials) for spec in specs)
        done = all(one.finished + one.pruned + one.failed >= one.budget for one in studies)
        seconds = None
        if runs and driver is not None and progress is not None:
            left = [_work(spec, self._decisions, trials) for spec in specs]
            seconds = seconds_left(left, progress.workers, driver.since_ms)
        return SweepStatus(
            sweep=self._sweep,
            protocol=self._spec.protocol,
            selection=self._spec.selection,
            encoder=", ".join(self._spec.encoders),
            at_ms=at,
            state="running" if runs else "finished" if done else "stopped" if driver is None else "lost",
            studies=studies,
            trials=trials,
            driver=driver,
            expected_end_ms=None if seconds is None or seconds > _FORESEEN_S else at + round(1000 * seconds),
            failures=tuple(
                f"{decision.study} #{decision.number} failed: {decision.error}"
                for decision in self._decisions
                if decision.state == "failed"
            ),
            data_warnings=self._data_warnings(specs),
            began_ms=min((proposal.created_ms for proposal in self._proposals), default=None),
            last_ms=max((decision.decided_ms for decision in self._decisions), default=None),
        )

    def _data_warnings(self, specs: Sequence[StudySpec]) -> tuple[str, ...]:
        """From one result for each dataset and choice of folds, with and without SEPT: such trials share embeddings and
        neighbours. Each is read once."""
        for spec in specs:
            place = spec.dataset, spec.encoder, spec.inputs.neighbors, spec.sept, spec.folds
            if place in self._warnings:
                continue
            found = (one for one in self._decisions if one.study == spec.key and one.state == "finished")
            for decision in found:
                result = self._store.read_result(decision.study, decision.signature)
                if result is not None:
                    self._warnings[place] = result.warnings
                    break
        return tuple(dict.fromkeys(line for lines in self._warnings.values() for line in lines))

    def _look(self) -> tuple[DriverStatus | None, LaunchProgress | None]:
        """The holder of the lease, and the progress of trials that its launch has published."""
        holder = self._lease.holder()
        if holder is None:
            return None, None
        request = self._board.stop_request(holder.token)
        driver = DriverStatus(
            host=holder.host,
            pid=holder.pid,
            alive=self._lease.alive(holder),
            gone=holder.gone(),
            since_ms=holder.since_ms,
            renewed_ms=holder.renewed_ms,
            renewed_s=_age_s(holder.renewed_ms, now_ms()),
            stop_asked_ms=request.asked_ms if request else None,
        )
        return driver, self._board.progress(holder.token)

    def _refresh(self) -> None:
        """Read new specs, decisions and trials."""
        # A later launch may have raised budgets, or added studies.
        text = self._store.read_spec(self._sweep) or known_sweep(self._store, self._sweep)
        if text != self._text:
            self._text, self._spec = text, stored_spec(self._store, self._sweep, text)
        # A failed trial may be run again; all other decisions are final. Decisions are read before trials, because
        # every decision has a trial.
        final = [decision for decision in self._decisions if decision.state != "failed"]
        decisions = self._store.decisions(self._sweep, final)
        self._proposals = self._store.proposals(self._sweep, self._proposals)
        # Decisions of earlier releases need their results, which are read once.
        self._decisions = with_fold_values(self._store, self._proposals, decisions)


def sweep_status(store: TrialStore, sweep: str) -> SweepStatus:
    """Read a sweep's state once.

    Raises:
        InputError: The store has no sweep of this name.
    """
    return SweepReader(store, sweep).read()


def study_budgets(store: TrialStore, sweep: str) -> dict[str, int]:
    """The number of trials that each study is to have, by its key, in the order of the stored spec.

    Raises:
        InputError: The store has no sweep of this name, or its spec is no longer valid.
    """
    spec = stored_spec(store, sweep)
    return {study.key: study.trials for study in spec.studies()}


def _study(
    spec: StudySpec, decisions: Sequence[Decision], begun: Sequence[Proposal], trials: Sequence[TrialStatus]
) -> StudyStatus:
    decided = [decision for decision in decisions if decision.study == spec.key]
    states = [decision.state for decision in decided]
    return StudyStatus(
        key=spec.key,
        dataset=spec.dataset,
        method=spec.method_in_cell,
        fold=spec.fold,
        budget=spec.trials,
        finished=states.count("finished"),
        pruned=states.count("pruned"),
        failed=states.count("failed"),
        begun=sum(proposal.study == spec.key for proposal in begun),
        running=sum(trial.study == spec.key and trial.phase != "waiting" for trial in trials),
        # Nothing is chosen among the variants of an ablation.
        best_objective=None if spec.listed else chosen_value(choose(decided)),
    )


def _trial(proposal: Proposal, progress: LaunchProgress | None, at_ms: int) -> TrialStatus:
    study, number, epochs = proposal.study, proposal.number, proposal.config.epochs
    if progress is None:
        return TrialStatus(study, number, proposal.signature, "unknown", epochs)
    heard = next((one for one in progress.trials if (one.study, one.number) == (study, number)), None)
    if heard is None:
        return TrialStatus(study, number, proposal.signature, "waiting", epochs)
    return TrialStatus(
        study=study,
        number=number,
        signature=proposal.signature,
        phase="running",
        epochs=epochs,
        epoch=heard.epoch,
        best_objective=heard.best,
        begun_ms=heard.begun_ms,
        heard_s=_age_s(heard.heard_ms, at_ms),
    )


def _work(spec: StudySpec, decisions: Sequence[Decision], trials: Sequence[TrialStatus]) -> StudyWork:
    ended = [decision for decision in decisions if decision.study == spec.key]
    return StudyWork(
        ended=ended,
        trials=spec.trials - len(ended),
        done=[(trial.epoch or 0) / max(trial.epochs, 1) for trial in trials if trial.study == spec.key],
        parallel=spec.parallel,
    )


def _age_s(then_ms: int, now: int) -> float:
    """Seconds since; never negative, because the clock of another machine may be ahead."""
    return max(0, now - then_ms) / 1000
