"""The tracker that a sweep runs with: takes its events in the driver's thread, writes them to MLflow in another."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pipeline.store.lease import LeaseLost
from pipeline.text import one_line
from pipeline.tracking.client import TrackingTarget, is_passing, mlflow_client
from pipeline.tracking.writer import SweepWriter
from sept_core.results import Report, TrialResult

if TYPE_CHECKING:
    from pipeline.search.observer import StudyPlan
    from pipeline.store import Decision, Lease, Proposal, TrialStore

__all__ = ["MlflowTracker", "TrackingSummary"]

logger = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0


@dataclass(frozen=True)
class TrackingSummary:
    """How tracking ended.

    Attributes:
        pending: Trials of which MLflow has not taken all, and one for the sweep itself: the server was away.
        refused: Trials of which MLflow would never take something.
        error: The last failure, in one line; empty where there was none left over.
    """

    pending: int
    refused: int
    error: str

    @property
    def complete(self) -> bool:
        """Whether MLflow shows all there is."""
        return not self.pending and not self.refused


@dataclass
class _Update:
    """What MLflow is still to be told of a trial."""

    proposal: Proposal
    started: bool = False
    reports: dict[int, Report] = field(default_factory=dict)
    decision: Decision | None = None
    refused: bool = False

    def add(self, newer: _Update) -> None:
        """What has happened since; a decision has the whole curve, and says all that was to be said before it."""
        self.started |= newer.started
        self.reports |= newer.reports
        self.decision = newer.decision or self.decision
        if self.decision is not None:
            self.reports = {}

    def write(self, writer: SweepWriter) -> None:
        """Tell it."""
        if self.decision is not None:
            writer.end(self.proposal, self.decision)
            return
        if self.started:
            writer.start(self.proposal)
        if self.reports:
            writer.report(self.proposal, [self.reports[epoch] for epoch in sorted(self.reports)])


class MlflowTracker:
    """A ``SweepObserver`` that projects a sweep into MLflow without ever holding it up.

    Calls only note down what is to be told, and one background thread tells it. Where the server is away the thread
    tries again with growing pauses for as long as the sweep runs, and ``close`` says what is left (``sept track sync``
    writes that later). Meanwhile what is noted of a trial is what it has come to, not how it got there: of a trial in
    flight its curve, of an ended one its decision, which the driver has in memory anyway. So an outage of any length
    costs a few hundred bytes a trial, and catching up takes fewer requests than were missed.

    Args:
        target: Where MLflow's records go.
        store: Gives results and learned contexts of trials that have ended.
    """

    def __init__(self, target: TrackingTarget, store: TrialStore) -> None:
        self._target = target
        self._store = store
        self._waiting: dict[tuple[str, int], _Update] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._grace_s = 0.0
        self._deadline: float | None = None
        self._pause_s = _FIRST_WAIT_S
        self._ended = False
        self._refused = 0
        self._error = ""
        self._sweep = ""
        self._budgets: dict[str, int] = {}
        self._state: Literal["finished", "stopped"] = "stopped"
        self._lease: Lease | None = None
        self._lost = False
        self._reached = False
        self._thread = threading.Thread(target=self._run, name="sept-mlflow", daemon=True)

    def hold(self, lease: Lease) -> None:
        """Write only as long as this lease is held; to be called before the sweep starts.

        ``close`` is then to be called before the lease is given back: MLflow allows one writer.
        """
        self._lease = lease

    def sweep_started(self, sweep: str, studies: Sequence[StudyPlan]) -> None:
        """The background thread starts, and opens the experiment."""
        self._sweep = sweep
        self._budgets = {plan.key: plan.budget for plan in studies}
        self._thread.start()

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None:
        """The trial's run is there and RUNNING."""
        self._note(_Update(proposal, started=True))

    def reported(self, proposal: Proposal, report: Report) -> None:
        """One point of the trial's curve."""
        self._note(_Update(proposal, reports={report.epoch: report}))

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        """The trial's decision, metrics and files."""
        self._note(_Update(proposal, decision=decision))

    def sweep_ended(self, state: Literal["finished", "stopped"]) -> None:
        """No run is left RUNNING, once ``close`` is called."""
        self._state = state

    def close(self, grace_s: float = 15.0) -> TrackingSummary:
        """Write what is left, and say what could not be written.

        Args:
            grace_s: How long to go on trying where MLflow cannot be reached. As long as updates are being taken it is
                not counted.
        """
        with self._changed:
            if not self._closing and self._pause_s > _FIRST_WAIT_S:
                # The last attempt has failed: the time counts from now on.
                self._deadline = time.monotonic() + grace_s
            self._closing, self._grace_s = True, grace_s
            self._changed.notify_all()
        if self._thread.ident is None:
            return TrackingSummary(0, 0, "")
        self._thread.join()
        pending = len(self._waiting) + (not self._ended)
        return TrackingSummary(pending, self._refused, self._error if pending or self._refused else "")

    def _note(self, update: _Update) -> None:
        with self._changed:
            there = self._waiting.setdefault((update.proposal.study, update.proposal.number), update)
            if there is not update:
                there.add(update)
            self._changed.notify_all()

    def _put_back(self, update: _Update) -> None:
        """Behind all others: where only this one fails it holds up none of them."""
        key = (update.proposal.study, update.proposal.number)
        with self._changed:
            if (newer := self._waiting.pop(key, None)) is not None:
                update.add(newer)
            self._waiting[key] = update

    def _run(self) -> None:
        try:
            client = (
                mlflow_client(self._target) if self._lease is None else mlflow_client(self._target, self._lease.check)
            )
            writer = SweepWriter(client, self._target, self._sweep, self._store)
        except Exception as error:
            self._error = one_line(error)
            return
        if self._lease is not None and self._lease.taken_over:
            writer.doubt()
        self._reached = self._insist(writer, lambda: writer.open(self._budgets))
        while (update := self._take()) is not None:
            self._write(writer, update)
        # A server that was never there, and may keep every request waiting, is not asked once more.
        self._ended = self._reached and not self._lost and self._insist(writer, lambda: writer.close(self._state))

    def _take(self) -> _Update | None:
        """What was noted first; None when nothing is left, or no time, or it is another's to write."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing or self._lost)
            if not self._waiting or self._late():
                return None
            return self._waiting.pop(next(iter(self._waiting)))

    def _write(self, writer: SweepWriter, update: _Update) -> None:
        try:
            update.write(writer)
        except Exception as error:
            # Whatever is wrong with tracking, the trials go on.
            if self._failed(writer, error) or self._lost:
                self._put_back(update)
            elif not update.refused:
                # What is believed of the server may be wrong: a run that somebody has deleted takes no update.
                update.refused = True
                self._put_back(update)
            else:
                self._refused += 1
        else:
            self._reached = True
            self._pause_s, self._deadline = _FIRST_WAIT_S, None

    def _insist(self, writer: SweepWriter, call: Callable[[], object]) -> bool:
        """Call until it succeeds; False: MLflow refuses it, or there is no time left."""
        while True:
            try:
                call()
            except Exception as error:
                if not self._failed(writer, error) or self._late():
                    return False
            else:
                return True

    def _failed(self, writer: SweepWriter, error: Exception) -> bool:
        """Note a failure, and pause where the server is away; whether the same request may yet succeed."""
        self._error = one_line(error)
        self._lost |= isinstance(error, LeaseLost)
        writer.doubt()
        if not is_passing(error):
            logger.debug("MLflow refused an update", exc_info=error)
            writer.forget()
            return False
        logger.debug("MLflow cannot be reached: %s", self._error)
        with self._changed:
            if self._closing:
                now = time.monotonic()
                self._deadline = self._deadline or now + self._grace_s
                # Nobody has anything more to tell: only time can end this.
                self._changed.wait(min(self._pause_s, max(0.0, self._deadline - now)))
            else:
                self._changed.wait_for(lambda: self._closing, timeout=self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_WAIT_S)
        return True

    def _late(self) -> bool:
        """Whether nothing more is to be tried."""
        if self._lost:
            return True
        return self._closing and self._deadline is not None and time.monotonic() >= self._deadline
