from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import synthetic_results as made
from tiny_inputs import provide
from tiny_sweep import make_spec

from pipeline.search.driver import SweepDriver
from pipeline.search.publisher import Publisher
from pipeline.store import Lease, LeaseLost, LocalFiles, StoreError, TrialStore
from pipeline.store.launch_messages import LaunchProgress, Noticeboard

SWEEP = "tiny"
CASE = made.make_case("FSDD", "coop", 0)
PROPOSAL, CURVE = CASE.proposal, CASE.decision.curve


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(0.01)


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path)


@pytest.fixture
def board(files: LocalFiles) -> Noticeboard:
    return Noticeboard(files, SWEEP)


def test_it_tells_of_the_trials_in_flight_and_leaves_nothing_behind(files: LocalFiles, board: Noticeboard) -> None:
    def told() -> LaunchProgress:
        return board.progress(lease.token) or LaunchProgress("", 0, ())

    with Lease(files, SWEEP) as lease, Publisher(board, lease.token, lease.check, 0.01) as publisher:
        publisher.workers = 2
        publisher.trial_started(PROPOSAL, 0)
        until(lambda: bool(told().trials))
        (begun,) = told().trials
        assert (begun.study, begun.number, begun.epoch, begun.best) == (PROPOSAL.study, 0, 0, None)
        assert told().workers == 2
        time.sleep(0.05)
        publisher.heard(PROPOSAL, CURVE[:2])
        until(lambda: told().trials[0].epoch == CURVE[1].epoch)
        heard = told().trials[0]
        assert heard.best == max(report.objective for report in CURVE[:2])
        assert heard.begun_ms == begun.begun_ms
        assert heard.heard_ms >= begun.heard_ms + 50
        publisher.trial_ended(PROPOSAL, CASE.decision, CASE.result)
        until(lambda: not told().trials)
    assert files.list(f"sweeps/{SWEEP}") == [f"sweeps/{SWEEP}/lease.json"]


def test_a_trial_that_begins_again_is_younger(board: Noticeboard) -> None:
    token = "00000000000000aa"
    with Publisher(board, token, lambda: None, 0.01) as publisher:
        publisher.trial_started(PROPOSAL, 0)
        publisher.heard(PROPOSAL, CURVE[:1])
        until(lambda: (told := board.progress(token)) is not None and told.trials[0].best is not None)
        publisher.trial_started(PROPOSAL, CURVE[0].epoch)
        until(lambda: (told := board.progress(token)) is not None and told.trials[0].best is None)
        progress = board.progress(token)
    assert progress is not None
    assert progress.trials[0].epoch == CURVE[0].epoch
    assert progress.trials[0].begun_ms == progress.trials[0].heard_ms


def test_a_request_to_this_launch_is_heard_and_removed(
    files: LocalFiles, board: Noticeboard, caplog: pytest.LogCaptureFixture
) -> None:
    with Lease(files, SWEEP) as lease, Publisher(board, lease.token, lease.check, 0.01) as publisher:
        board.ask_to_stop(lease.token)
        until(lambda: publisher.stop_asked)
        time.sleep(0.05)
        assert "asks this sweep to stop" in caplog.text
        assert caplog.text.count("asks") == 1
        assert board.stop_request(lease.token) is not None
    assert files.list(f"sweeps/{SWEEP}/stop") == []


def test_a_request_to_an_earlier_launch_is_removed_and_stops_nothing(files: LocalFiles, board: Noticeboard) -> None:
    with Lease(files, SWEEP) as before:
        board.ask_to_stop(before.token)
        board.tell(LaunchProgress(before.token, 3, ()))
    with Lease(files, SWEEP) as lease, Publisher(board, lease.token, lease.check, 0.01) as publisher:
        until(lambda: not files.list(f"sweeps/{SWEEP}/stop"))
        assert board.progress(lease.token) is None
        time.sleep(0.05)
        assert not publisher.stop_asked


class Failing(LocalFiles):
    """A store that can do nothing at the moment."""

    failing = True

    def read(self, key: str) -> bytes:
        self._fail(key)
        return super().read(key)

    def write(self, key: str, data: bytes) -> None:
        self._fail(key)
        super().write(key, data)

    def _fail(self, key: str) -> None:
        if self.failing and not key.endswith("lease.json"):
            raise StoreError(f"cannot reach '{key}'")


def test_a_store_that_fails_for_a_while_holds_up_nothing(tmp_path: Path) -> None:
    files = Failing(tmp_path)
    board = Noticeboard(files, SWEEP)
    with Lease(files, SWEEP) as lease, Publisher(board, lease.token, lease.check, 0.01) as publisher:
        publisher.trial_started(PROPOSAL, 0)
        Noticeboard(LocalFiles(tmp_path), SWEEP).ask_to_stop(lease.token)
        time.sleep(0.1)
        assert not publisher.stop_asked
        files.failing = False
        until(lambda: publisher.stop_asked and board.progress(lease.token) is not None)


def test_a_driver_that_has_lost_its_lease_tells_and_removes_nothing(files: LocalFiles, board: Noticeboard) -> None:
    def lost() -> None:
        raise LeaseLost("taken over")

    theirs = LaunchProgress("00000000000000bb", 1, ())
    board.tell(theirs)
    board.ask_to_stop(theirs.token)
    with Publisher(board, "00000000000000aa", lost, 0.01) as publisher:
        publisher.trial_started(PROPOSAL, 0)
        time.sleep(0.1)
    assert board.progress(theirs.token) == theirs
    assert board.stop_request(theirs.token) is not None


def test_a_worker_that_says_nothing_new_is_heard_of_all_the_same(tmp_path: Path) -> None:
    # As in the second training of a nested selection, of which the search sees nothing.
    heard: list[tuple[int, int]] = []
    driver = SweepDriver(
        make_spec(),
        TrialStore(LocalFiles(tmp_path)),
        [],
        partial(provide, str(tmp_path)),
        heard=lambda proposal, curve: heard.append((proposal.number, len(curve))),
    )
    driver.replay()
    proposal = driver.ask()
    assert proposal is not None
    driver.begun(proposal, ())
    for _ in range(2):
        assert driver.reported(proposal, CURVE[:1])
    assert heard == [(0, 0), (0, 1), (0, 1)]
