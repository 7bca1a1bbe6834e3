"""The tracker that a sweep runs with: takes its events in the driver's thread, writes them to MLflow in another."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from pipeline.tracking.client import TrackingTarget, connect, is_passing, one_line
from pipeline.tracking.writer import SweepWriter
from sept_core.results import Report, TrialResult

if TYPE_CHECKING:
    from pipeline.search.observer import StudyPlan
    from pipeline.store import Member, TrialStore, Verdict

__all__ = ["MlflowTracker", "TrackingSummary"]

logger = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0

Event = Callable[[SweepWriter], None]


@dataclass(frozen=True)
class TrackingSummary:
    """How tracking ended.

    Attributes:
        pending: Updates that MLflow has not taken: the server was away.
        refused: Updates that MLflow would never take.
        error: The last failure, in one line; empty where there was none left over.
    """

    pending: int
    refused: int
    error: str

    @property
    def complete(self) -> bool:
        """Whether MLflow shows all there is."""
        return not self.pending and not self.refused


class MlflowTracker:
    """A ``SweepObserver`` that projects a sweep into MLflow without ever holding it up.

    Calls only append to a queue. One background thread writes; where the server is away it tries again with growing
    pauses for as long as the sweep runs, and ``close`` tells what is left (``sept track sync`` writes that later).

    Args:
        target: Where MLflow's records go.
        store: Gives the learned context of finished trials.
    """

    def __init__(self, target: TrackingTarget, store: TrialStore) -> None:
        self._target = target
        self._store = store
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._grace_s = 0.0
        self._given_up = False
        self._refused = 0
        self._error = ""
        self._sweep = ""
        self._thread = threading.Thread(target=self._run, name="sept-mlflow", daemon=True)

    def sweep_started(self, sweep: str, studies: Sequence[StudyPlan]) -> None:
        """Open the experiment and start the background thread."""
        self._sweep = sweep
        budgets = {plan.key: plan.budget for plan in studies}
        self._put(lambda writer: _opened(writer, budgets))
        self._thread.start()

    def member_started(self, member: Member, resumed_epoch: int) -> None:
        """The member's run is there and RUNNING."""
        self._put(lambda writer: writer.start(member))

    def reported(self, member: Member, report: Report) -> None:
        """One point of the member's curve."""
        self._put(lambda writer: writer.report(member, report))

    def member_ended(self, member: Member, verdict: Verdict, result: TrialResult | None) -> None:
        """The member's verdict, metrics and files."""
        context = partial(self._store.read_checkpoint, member.config)
        self._put(lambda writer: writer.end(member, verdict, result, context))

    def sweep_ended(self, state: Literal["finished", "stopped"]) -> None:
        """No run is left RUNNING."""
        self._put(lambda writer: writer.close(state))

    @property
    def pending(self) -> int:
        """Updates not yet written."""
        return len(self._events)

    def close(self, grace_s: float = 15.0) -> TrackingSummary:
        """Write what is left, and say what could not be written.

        Args:
            grace_s: How long to go on trying where MLflow cannot be reached. As long as updates are being taken it is
                not counted.
        """
        with self._changed:
            self._closing, self._grace_s = True, grace_s
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        pending = len(self._events)
        return TrackingSummary(pending, self._refused, self._error if pending or self._refused else "")

    def _put(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            writer = SweepWriter(connect(self._target), self._target, self._sweep)
        except Exception as error:
            self._error = one_line(error)
            return
        while (event := self._next()) is not None:
            if not self._write(writer, event):
                return
            self._events.popleft()

    def _next(self) -> Event | None:
        with self._changed:
            while not self._events and not self._closing:
                self._changed.wait()
            return self._events[0] if self._events else None

    def _write(self, writer: SweepWriter, event: Event) -> bool:
        """Write one event, however long the server is away; False: closing, and it stayed away."""
        wait, deadline = _FIRST_WAIT_S, None
        while True:
            try:
                event(writer)
            except Exception as error:
                # Whatever is wrong with tracking, the trials go on.
                self._error = one_line(error)
                writer.forget()
                if not is_passing(error):
                    logger.debug("MLflow refused an update", exc_info=error)
                    self._refused += 1
                    return True
                logger.debug("MLflow cannot be reached: %s", self._error)
            else:
                return True
            now = time.monotonic()
            with self._changed:
                if self._closing:
                    deadline = deadline or now + self._grace_s
                    if now >= deadline:
                        return False
                    self._changed.wait(min(wait, deadline - now))
                else:
                    self._changed.wait_for(lambda: self._closing, timeout=wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)


def _opened(writer: SweepWriter, budgets: dict[str, int]) -> None:
    writer.open(budgets)
