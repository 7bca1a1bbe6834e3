from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import synthetic_results as made

from pipeline.search.publisher import Publisher
from pipeline.store import Lease, TrialStore
from pipeline.store.launch_messages import Noticeboard
from pipeline.watch.stopping import ask_to_stop, wait_for_stop
from sept_core.errors import InputError

DIE = """
import os, sys
from pipeline.store import Lease, LocalFiles
Lease(LocalFiles(sys.argv[1]), sys.argv[2]).acquire()
print("held", flush=True)
sys.stdin.readline()
os._exit(9)
"""


@pytest.fixture
def filled(store: TrialStore) -> TrialStore:
    made.fill_store(store, [made.make_case("FSDD", "coop", 0)])
    return store


def lease_of(store: TrialStore) -> Lease:
    return Lease(store.files, made.SWEEP)


def stops(store: TrialStore) -> list[str]:
    return store.files.list(f"sweeps/{made.SWEEP}/stop")


class Launch(threading.Thread):
    """Holds the lease until it is asked to stop, or is through; as a launch does, without trials."""

    def __init__(self, store: TrialStore) -> None:
        super().__init__(daemon=True)
        self.store, self.token, self.stopped = store, "", False
        self.running, self.through = threading.Event(), threading.Event()

    def run(self) -> None:
        board = Noticeboard(self.store.files, made.SWEEP)
        with lease_of(self.store) as lease, Publisher(board, lease.token, lease.check, 0.01) as publisher:
            self.token = lease.token
            self.running.set()
            while not publisher.stop_asked and not self.through.wait(0.005):
                pass
            self.stopped = publisher.stop_asked


def test_a_launch_that_is_asked_gives_back_the_lease(filled: TrialStore) -> None:
    launch = Launch(filled)
    launch.start()
    assert launch.running.wait(10)
    asked = ask_to_stop(filled, made.SWEEP)
    assert asked is not None
    assert asked.alive
    assert wait_for_stop(filled, made.SWEEP, asked.holder, 10) == "released"
    launch.join(10)
    assert launch.stopped
    assert stops(filled) == []


def test_where_nobody_runs_the_sweep_nothing_is_asked(filled: TrialStore) -> None:
    assert ask_to_stop(filled, made.SWEEP) is None
    with lease_of(filled):
        pass
    assert ask_to_stop(filled, made.SWEEP) is None
    assert stops(filled) == []


def test_a_request_that_is_too_late_for_its_launch_stops_no_other(filled: TrialStore) -> None:
    first = lease_of(filled).acquire()
    holder = first.holder()
    assert holder is not None
    first.release()
    launch = Launch(filled)
    launch.start()
    assert launch.running.wait(10)
    # As of somebody who looked who runs it just before that ended.
    Noticeboard(filled.files, made.SWEEP).ask_to_stop(holder.token)
    assert wait_for_stop(filled, made.SWEEP, holder, 10) == "relaunched"
    assert stops(filled) == []
    time.sleep(0.1)
    assert launch.is_alive()
    assert not launch.stopped
    asked = ask_to_stop(filled, made.SWEEP)
    assert asked is not None
    assert wait_for_stop(filled, made.SWEEP, asked.holder, 10) == "released"


def test_stops_and_launches_at_the_same_time_all_come_to_an_end(filled: TrialStore) -> None:
    """Every launch that somebody was told to have asked has ended, and none has stopped that nobody asked."""
    ended: list[tuple[str, str]] = []

    def stop() -> None:
        while len(ended) < 12:
            asked = ask_to_stop(filled, made.SWEEP)
            if asked is not None:
                ended.append((asked.holder.token, wait_for_stop(filled, made.SWEEP, asked.holder, 20)))

    stoppers = [threading.Thread(target=stop, daemon=True) for _ in range(3)]
    for thread in stoppers:
        thread.start()
    launches: list[Launch] = []
    while any(thread.is_alive() for thread in stoppers):
        launches.append(Launch(filled))
        launches[-1].start()
        while launches[-1].is_alive():
            launches[-1].join(0.02)
            if not any(thread.is_alive() for thread in stoppers):
                launches[-1].through.set()
    assert {end for _, end in ended} <= {"released", "relaunched"}
    stopped = {launch.token for launch in launches if launch.stopped}
    assert stopped == {token for token, _ in ended}
    assert len(stopped) > 1
    assert stops(filled) == []


def test_a_driver_that_is_known_to_be_dead_is_not_asked(filled: TrialStore, tmp_path: Path) -> None:
    with _holding(tmp_path / "root") as process:
        asked = ask_to_stop(filled, made.SWEEP)
        assert asked is not None
        assert asked.alive
        assert wait_for_stop(filled, made.SWEEP, asked.holder, 0) == "waiting"
        assert len(stops(filled)) == 1
        process.communicate("die\n", timeout=20)
        assert wait_for_stop(filled, made.SWEEP, asked.holder, 0) == "lost"
    later = ask_to_stop(filled, made.SWEEP)
    assert later is not None
    assert (later.alive, later.request) == (False, None)


def _holding(root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DIE, str(root), made.SWEEP]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_an_unknown_sweep_is_refused(filled: TrialStore) -> None:
    with pytest.raises(InputError, match="did you mean 'synthetic'"):
        ask_to_stop(filled, "synthetik")
