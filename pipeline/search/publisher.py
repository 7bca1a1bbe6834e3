"""What goes on between a launch and those who watch it from elsewhere; they meet at the store's noticeboard.

    with Lease(files, sweep) as lease, Publisher(Noticeboard(files, sweep), lease.token, lease.check) as publisher:
        ...  # an observer of the sweep, and told by the driver who was heard of

Nothing of this is read by the search, and no failure of it stops one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.search.observer import StudyPlan, SweepState
from pipeline.store.notices import LaunchProgress, Noticeboard, TrialProgress
from pipeline.store.records import Decision, Proposal
from sept_core.errors import SeptError
from sept_core.results import Report, TrialResult, now_ms

__all__ = ["Publisher"]

logger = logging.getLogger(__name__)


class Publisher:
    """Tells those who watch what is heard of the trials in flight, and hears that they want the launch to stop.

    A ``SweepObserver``, and a context manager. Its calls only note something down: a thread of its own reads and
    writes the store, so that a slow one holds up nothing.

    Args:
        board: Where notices hang.
        token: The launch's lease.
        guard: Called before every write; raises when this launch must not write any more.
        every_s: Seconds between two looks, and between two tellings at least.
    """

    def __init__(self, board: Noticeboard, token: str, guard: Callable[[], None], every_s: float = 2.0) -> None:
        self.workers = 0  # trials at a time, as soon as that is known
        self.stop_asked = False
        self._board = board
        self._token = token
        self._guard = guard
        self._every_s = every_s
        self._trials: dict[tuple[str, int], TrialProgress] = {}
        self._told = LaunchProgress(token, 0, ())
        self._turn = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._attend, name="publisher", daemon=True)

    def heard(self, proposal: Proposal, curve: Sequence[Report]) -> None:
        """The trial's worker has said something; its curve so far."""
        key = (proposal.study, proposal.number)
        now = now_ms()
        epoch = curve[-1].epoch if curve else 0
        best = max((report.objective for report in curve), default=None)
        with self._turn:
            before = self._trials.get(key) or TrialProgress(*key, now, now, 0, None)
            self._trials[key] = replace(before, heard_ms=now, epoch=epoch, best=best)

    def sweep_started(self, sweep: str, studies: Sequence[StudyPlan]) -> None:
        """Nothing to note."""

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None:
        """A worker has begun, perhaps in place of one that was lost."""
        key, now = (proposal.study, proposal.number), now_ms()
        with self._turn:
            self._trials[key] = TrialProgress(*key, now, now, resumed_epoch, None)

    def reported(self, proposal: Proposal, report: Report) -> None:
        """Nothing to note: `heard` is told more often."""

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        """The trial is not in flight any more."""
        with self._turn:
            self._trials.pop((proposal.study, proposal.number), None)

    def sweep_ended(self, state: SweepState) -> None:
        """Nothing to note: the end of the context is the end."""

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        _quietly(lambda: self._board.drop_stop(self._token))
        _quietly(self._take_down)

    def _attend(self) -> None:
        _quietly(self._tidy)
        while not self._closing.wait(self._every_s):
            _quietly(self._look)
            _quietly(self._tell)

    def _tidy(self) -> None:
        self._guard()
        self._board.drop_other_stops(self._token)

    def _look(self) -> None:
        request = None if self.stop_asked else self._board.stop_request(self._token)
        if request is not None:
            logger.warning("process %d on %s asks this sweep to stop", request.pid, request.host)
            self.stop_asked = True

    def _tell(self) -> None:
        with self._turn:
            progress = LaunchProgress(self._token, self.workers, tuple(self._trials.values()))
        if progress != self._told:
            self._guard()
            self._board.tell(progress)
            self._told = progress

    def _take_down(self) -> None:
        self._guard()
        self._board.take_down(self._token)


def _quietly(call: Callable[[], None]) -> None:
    """Leave it at that when the store cannot do it now: there is a next time, or somebody else sees to it."""
    try:
        call()
    except SeptError as error:
        logger.debug("%s", error)
