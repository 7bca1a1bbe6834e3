"""Exchange between a launch and other processes that watch it, through the noticeboard in the store.

    with Lease(files, sweep) as lease, Publisher(Noticeboard(files, sweep), lease.token, lease.check) as publisher:
        ...  # an observer of the sweep; the driver calls `heard` at every message of a worker

The search reads nothing of this, and a failure of it does not stop the search.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.search.observer import StudyPlan, SweepState
from pipeline.store.launch_messages import LaunchProgress, Noticeboard, TrialProgress
from pipeline.store.records import Decision, Proposal
from sept_core.errors import SeptError
from sept_core.results import Report, TrialResult, now_ms

__all__ = ["Publisher"]

logger = logging.getLogger(__name__)


class Publisher:
    """Publishes the progress of running trials, and receives requests to stop the launch.

    A ``SweepObserver`` and a context manager. Its calls only store values in memory: its own thread reads and writes
    the store, so that a slow store delays nothing.

    Args:
        board: The noticeboard of the sweep.
        token: The launch's lease.
        guard: Called before every write; raises if this launch must not write any more.
        every_s: Seconds between two reads of the store, and at least between two writes.
    """

    def __init__(self, board: Noticeboard, token: str, guard: Callable[[], None], every_s: float = 2.0) -> None:
        self.workers = 0  # number of parallel trials, as soon as it is known
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
        """The trial's worker has sent a message, with its curve so far."""
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
        """A worker has started, perhaps replacing a lost one."""
        key, now = (proposal.study, proposal.number), now_ms()
        with self._turn:
            self._trials[key] = TrialProgress(*key, now, now, resumed_epoch, None)

    def reported(self, proposal: Proposal, report: Report) -> None:
        """Nothing to do: `heard` is called more often."""

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        """The trial is not running any more."""
        with self._turn:
            self._trials.pop((proposal.study, proposal.number), None)

    def sweep_ended(self, state: SweepState) -> None:
        """Nothing to do: the context manager ends."""

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
    """Ignore a failure of the store: the next attempt, or another process, will succeed."""
    try:
        call()
    except SeptError as error:
        logger.debug("%s", error)
