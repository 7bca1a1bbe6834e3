"""Tracks a running sweep: takes its events in the thread of the driver and writes them to MLflow in another."""

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
        pending: Trials not completely in MLflow because it could not be reached, and one for the sweep itself.
        refused: Trials that MLflow refused at least in part.
        error: The last failure, in one line; empty if everything was written.
    """

    pending: int
    refused: int
    error: str

    @property
    def complete(self) -> bool:
        """Whether everything is in MLflow."""
        return not self.pending and not self.refused


@dataclass
class _Update:
    """What is still to be written of a trial."""

    proposal: Proposal
    started: bool = False
    reports: dict[int, Report] = field(default_factory=dict)
    decision: Decision | None = None
    refused: bool = False

    def add(self, newer: _Update) -> None:
        """Add newer events; a decision includes the whole curve, and replaces all events before it."""
        self.started |= newer.started
        self.reports |= newer.reports
        self.decision = newer.decision or self.decision
        if self.decision is not None:
            self.reports = {}

    def write(self, writer: SweepWriter) -> None:
        """Write it."""
        if self.decision is not None:
            writer.end(self.proposal, self.decision)
            return
        if self.started:
            writer.start(self.proposal)
        if self.reports:
            writer.report(self.proposal, [self.reports[epoch] for epoch in sorted(self.reports)])


class MlflowTracker:
    """A ``SweepObserver`` that projects a sweep into MLflow without delaying it.

    Calls only record what has changed, and one background thread writes it. If the server is away, the thread tries
    again with growing pauses as long as the sweep runs, and ``close`` returns what is left (``sept track sync`` writes
    that later). Only the latest state of a trial is kept meanwhile: the curve of a running trial, the decision of an
    ended one, which the driver has in memory anyway. So an outage of any length costs a few hundred bytes per trial,
    and catching up takes fewer requests than were missed.

    Args:
        target: Where the records are stored.
        store: For results and learned contexts of ended trials.
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
        """Write only while this lease is held; to be called before the sweep starts.

        ``close`` has to be called before the lease is released, because MLflow allows one writer.
        """
        self._lease = lease

    def sweep_started(self, sweep: str, studies: Sequence[StudyPlan]) -> None:
        """Start the background thread, which opens the experiment."""
        self._sweep = sweep
        self._budgets = {plan.key: plan.budget for plan in studies}
        self._thread.start()

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None:
        """Its run will be there and RUNNING."""
        self._note(_Update(proposal, started=True))

    def reported(self, proposal: Proposal, report: Report) -> None:
        """One more point of its curve."""
        self._note(_Update(proposal, reports={report.epoch: report}))

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        """Its decision, metrics and files."""
        self._note(_Update(proposal, decision=decision))

    def sweep_ended(self, state: Literal["finished", "stopped"]) -> None:
        """After ``close`` no run will be RUNNING."""
        self._state = state

    def close(self, grace_s: float = 15.0) -> TrackingSummary:
        """Write what is left, and return what could not be written.

        Args:
            grace_s: How long to keep trying if MLflow cannot be reached. Time in which it accepts updates does not
                count.
        """
        with self._changed:
            if not self._closing and self._pause_s > _FIRST_WAIT_S:
                # The last attempt failed, so the grace period begins now.
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
        """Put an update at the end of the queue: if only this one fails, it does not delay the others."""
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
        # A server that never answered is not asked again: every request may take until its time-out.
        self._ended = self._reached and not self._lost and self._insist(writer, lambda: writer.close(self._state))

    def _take(self) -> _Update | None:
        """The oldest update; None if nothing is left, time is up, or the lease is lost."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing or self._lost)
            if not self._waiting or self._late():
                return None
            return self._waiting.pop(next(iter(self._waiting)))

    def _write(self, writer: SweepWriter, update: _Update) -> None:
        try:
            update.write(writer)
        except Exception as error:
            # Whatever fails in tracking, the trials continue.
            if self._failed(writer, error) or self._lost:
                self._put_back(update)
            elif not update.refused:
                # What is known of the server may be wrong, for example if somebody has deleted the run.
                update.refused = True
                self._put_back(update)
            else:
                self._refused += 1
        else:
            self._reached = True
            self._pause_s, self._deadline = _FIRST_WAIT_S, None

    def _insist(self, writer: SweepWriter, call: Callable[[], object]) -> bool:
        """Call until it succeeds; returns False if MLflow refuses it or time is up."""
        while True:
            try:
                call()
            except Exception as error:
                if not self._failed(writer, error) or self._late():
                    return False
            else:
                return True

    def _failed(self, writer: SweepWriter, error: Exception) -> bool:
        """Record a failure, and wait if the server is away; returns whether the same request may succeed later."""
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
                # No more events will come, so only the deadline ends the wait.
                self._changed.wait(min(self._pause_s, max(0.0, self._deadline - now)))
            else:
                self._changed.wait_for(lambda: self._closing, timeout=self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_WAIT_S)
        return True

    def _late(self) -> bool:
        """Whether to give up."""
        if self._lost:
            return True
        return self._closing and self._deadline is not None and time.monotonic() >= self._deadline
