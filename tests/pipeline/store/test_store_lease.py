"""The lease of a sweep, with real processes: one holder, dead ones make way, a lost lease is noticed.

All of it once on a folder and once on a bucket.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.store import Files, Lease, LeaseHeld, LeaseLost, StoreError
from pipeline.store.processes import process_started
from sept_core.errors import InputError

REPOSITORY = Path(__file__).parents[3]

HOLD = """
import sys, time
from pipeline.store import Lease, open_files
with Lease(open_files(sys.argv[1]), "s", expiry_s=float(sys.argv[2]), heartbeat_s=0.05) as lease:
    print(lease.fence, flush=True)
    sys.stdin.readline()
"""

RACE = """
import sys
from pipeline.store import Lease, LeaseHeld, open_files
files = open_files(sys.argv[1])
files.exists("warm")
lease = Lease(files, "s", expiry_s=float(sys.argv[2]), heartbeat_s=0.05)
print("ready", flush=True)
sys.stdin.readline()
try:
    lease.acquire()
except LeaseHeld:
    print("held", flush=True)
else:
    print(lease.fence, flush=True)
sys.stdin.readline()
"""

# Takes the lease as often as it can get it, and makes sure that nobody else is inside.
TAKE_TURNS = """
import sys, time
from pipeline.store import Lease, LeaseHeld, open_files
files = open_files(sys.argv[1])
files.exists("warm")
print("ready", flush=True)
sys.stdin.readline()
taken = 0
while taken < 4:
    try:
        with Lease(files, "s") as lease:
            inside = files.create("inside", b"")
            files.write(f"taken/{lease.fence:04d}", str(inside).encode())
            time.sleep(0.01)
            files.delete("inside")
            taken += 1
    except LeaseHeld:
        time.sleep(0.005)
"""


class Processes:
    """Starts processes and ends every one of them with the test."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(self, code: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def holder(self, root: str, expiry_s: float = 60.0) -> tuple[subprocess.Popen[str], int]:
        """A process that holds the lease, and its fencing number."""
        process = self.start(HOLD, root, expiry_s)
        return process, int(self.line(process))

    def race(self, root: str, count: int, expiry_s: float = 60.0) -> list[str]:
        """What processes come to that ask for the lease at the same moment: ``held``, or their fencing number."""
        racers = [self.start(RACE, root, expiry_s) for _ in range(count)]
        self.let_go(racers)
        return [self.line(racer) for racer in racers]

    def let_go(self, racers: list[subprocess.Popen[str]]) -> None:
        """Wait until all are ready, then start them together."""
        assert [self.line(racer) for racer in racers] == ["ready"] * len(racers)
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("\n")
            racer.stdin.flush()

    @staticmethod
    def line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    @staticmethod
    def finish(process: subprocess.Popen[str]) -> int:
        process.communicate("\n", timeout=30)
        return process.returncode


@pytest.fixture
def processes() -> Iterator[Processes]:
    running = Processes()
    yield running
    for process in running.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(what: object, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():  # type: ignore[operator]
            return True
        time.sleep(0.01)
    return False


class TestOneHolder:
    def test_a_free_lease_is_taken_and_released(self, files: Files) -> None:
        with Lease(files, "s") as lease:
            assert lease.fence == 1
            assert not lease.lost
            lease.check()
            holder = lease.holder()
            assert holder is not None
            assert holder.pid == os.getpid()
        assert lease.holder() is None
        assert lease.fence == 0

    def test_a_second_process_is_refused_with_who_and_since_when(
        self, files: Files, root: str, processes: Processes
    ) -> None:
        process, _ = processes.holder(root)
        with pytest.raises(LeaseHeld) as refusal:
            Lease(files, "s").acquire()
        line = str(refusal.value)
        assert isinstance(refusal.value, InputError)
        assert "\n" not in line
        assert f"process {process.pid} on {os.uname().nodename} since {time.strftime('%Y-')}" in line
        assert processes.finish(process) == 0
        with Lease(files, "s") as lease:
            assert lease.fence == 2

    def test_a_second_lease_of_the_same_process_is_refused_too(self, files: Files) -> None:
        with Lease(files, "s"), pytest.raises(LeaseHeld, match=f"process {os.getpid()} "):
            Lease(files, "s").acquire()

    def test_sweeps_do_not_block_each_other(self, files: Files) -> None:
        with Lease(files, "a") as first, Lease(files, "b") as second:
            first.check()
            second.check()

    def test_of_racing_processes_exactly_one_gets_it(self, root: str, processes: Processes) -> None:
        assert sorted(processes.race(root, 6)) == ["1"] + ["held"] * 5

    def test_of_processes_racing_for_a_dead_holders_lease_exactly_one_gets_it(
        self, root: str, processes: Processes
    ) -> None:
        dead, _ = processes.holder(root)
        dead.kill()
        assert sorted(processes.race(root, 5)) == ["2"] + ["held"] * 4

    def test_of_processes_racing_for_an_expired_lease_exactly_one_gets_it(
        self, files: Files, root: str, processes: Processes
    ) -> None:
        with Lease(files, "s"):
            held = json.loads(files.read("sweeps/s/lease.json"))
        elsewhere = {
            **held,
            "host": "spot-7",
            "machine": "spot-7 boot",
            "fence": 7,
            "released_ms": 0,
        }
        files.write("sweeps/s/lease.json", json.dumps(elsewhere).encode())
        assert sorted(processes.race(root, 5, expiry_s=2.0)) == ["8"] + ["held"] * 4

    def test_drivers_that_take_turns_are_never_two_and_every_turn_has_a_number_of_its_own(
        self, files: Files, root: str, processes: Processes
    ) -> None:
        drivers = [processes.start(TAKE_TURNS, root) for _ in range(3)]
        processes.let_go(drivers)
        assert [driver.wait(60) for driver in drivers] == [0] * 3
        turns = files.read_many(files.list("taken"))
        assert list(turns) == [f"taken/{fence:04d}" for fence in range(1, 13)]
        assert set(turns.values()) == {b"True"}

    def test_the_fencing_number_grows_over_releases_and_take_overs(
        self, files: Files, root: str, processes: Processes
    ) -> None:
        fences = []
        for _ in range(3):
            with Lease(files, "s") as lease:
                fences.append(lease.fence)
            process, fence = processes.holder(root)
            fences.append(fence)
            process.kill()
            process.wait()
        assert fences == [1, 2, 3, 4, 5, 6]

    def test_the_file_of_a_released_lease_stays_and_carries_the_fencing_number_on(self, files: Files) -> None:
        for fence in (1, 2, 3):
            with Lease(files, "s"):
                pass
            left = json.loads(files.read("sweeps/s/lease.json"))
            assert left["fence"] == fence
            assert left["released_ms"] >= left["since_ms"]

    def test_the_same_object_can_be_acquired_again(self, files: Files) -> None:
        lease = Lease(files, "s")
        for fence in (1, 2):
            with lease:
                assert lease.fence == fence
                lease.check()


class TestDeadHolders:
    def test_a_killed_holder_of_this_machine_is_replaced_at_once(
        self, files: Files, root: str, processes: Processes
    ) -> None:
        process, _ = processes.holder(root)
        process.kill()
        # Not waited for: until its parent looks, a killed process is a zombie that still has its id.
        assert wait_until(lambda: process_started(process.pid) is None)
        assert files.exists("sweeps/s/lease.json")
        with Lease(files, "s") as lease:
            lease.check()

    def test_a_reused_process_id_is_not_mistaken_for_the_holder(self, files: Files) -> None:
        with Lease(files, "s"):
            held = json.loads(files.read("sweeps/s/lease.json"))
        files.write("sweeps/s/lease.json", json.dumps({**held, "process_started": "1"}).encode())
        with Lease(files, "s") as lease:
            lease.check()

    def test_a_process_that_this_user_may_not_see_is_not_taken_for_dead(
        self, files: Files, root: str, processes: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def forbidden(*_: int) -> None:
            raise PermissionError

        process, _ = processes.holder(root)
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.store.processes.process_started", lambda pid: None)
            patch.setattr(os, "kill", forbidden)
            holder = Lease(files, "s").holder()
            assert holder is not None
            assert not holder.gone()
        process.kill()
        process.wait()
        assert holder.gone()

    def test_a_holder_on_another_machine_is_replaced_once_it_was_silent_for_the_expiry(self, files: Files) -> None:
        with Lease(files, "s"):
            held = json.loads(files.read("sweeps/s/lease.json"))
        # A process id that means nothing here says nothing about the other machine.
        elsewhere = {**held, "host": "spot-7", "machine": "spot-7 boot", "pid": 999_999_999, "fence": 41}
        for days in (-1000, 0, 1000):
            renewed = {**elsewhere, "renewed_ms": held["renewed_ms"] + days * 86_400_000, "released_ms": 0}
            files.write("sweeps/s/lease.json", json.dumps(renewed).encode())
            began = time.monotonic()
            with Lease(files, "s", expiry_s=0.4) as lease:
                assert lease.fence == 42
                assert 0.4 < time.monotonic() - began < 10

    def test_a_holder_on_another_machine_that_renews_is_respected_whatever_its_clock_says(
        self, files: Files, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Lease(files, "s"):
            held = json.loads(files.read("sweeps/s/lease.json"))
        # Its clock stands still, years from now.
        elsewhere = {**held, "host": "spot-7", "machine": "spot-7 boot", "renewed_ms": 4 * 10**12, "released_ms": 0}
        looks = itertools.count()

        def renew(_: float) -> None:
            elsewhere["renewals"] = next(looks) // 4
            files.write("sweeps/s/lease.json", json.dumps(elsewhere).encode())

        renew(0)
        monkeypatch.setattr("pipeline.store.lease._pause", renew)
        with pytest.raises(LeaseHeld, match=r"on spot-7 .*last sign of life 0 s ago"):
            Lease(files, "s").acquire()

    def test_a_damaged_lease_file_does_not_block_for_ever(self, files: Files) -> None:
        for content in (b"", b"{", b"[]", b'{"pid": 1}', b"\xff"):
            files.write("sweeps/s/lease.json", content)
            with Lease(files, "s") as lease:
                lease.check()


class TestLoss:
    def test_the_heartbeat_keeps_the_lease_past_its_expiry(self, files: Files) -> None:
        with Lease(files, "s", expiry_s=2.0, heartbeat_s=0.05) as lease:
            time.sleep(2.3)
            lease.check()
            with pytest.raises(LeaseHeld):
                Lease(files, "s", expiry_s=2.0).acquire()

    def test_a_suspended_holder_is_replaced_and_notices_when_it_wakes(
        self, files: Files, root: str, processes: Processes
    ) -> None:
        code = (
            HOLD
            + """
    try:
        lease.check()
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    print(lease.lost, flush=True)
"""
        )
        process = processes.start(code, root, 0.5)
        assert processes.line(process) == "1"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.7)
        with Lease(files, "s", expiry_s=0.5, heartbeat_s=0.05) as lease:
            assert lease.fence == 2
            os.kill(process.pid, signal.SIGCONT)
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            line = processes.line(process)
            assert line.startswith("LeaseLost")
            assert f"taken over by process {os.getpid()}" in line
            assert processes.line(process) == "True"
            process.wait(30)
            # Leaving, the former holder took nothing away from the new one.
            lease.check()
            assert files.exists("sweeps/s/lease.json")

    def test_a_renewal_that_came_through_though_it_failed_costs_nothing(
        self, files: Files, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replace = files.replace

        def write_and_fail(key: str, expected: bytes | None, data: bytes) -> bool:
            replace(key, expected, data)
            raise StoreError("the answer was lost")

        with Lease(files, "s", expiry_s=1.0, heartbeat_s=60) as lease:
            before = files.read("sweeps/s/lease.json")
            with monkeypatch.context() as patch:
                patch.setattr(files, "replace", write_and_fail)
                time.sleep(0.6)
                lease.check()
            assert files.read("sweeps/s/lease.json") != before
            lease.check()
            assert not lease.lost
            with pytest.raises(LeaseHeld):
                Lease(files, "s", expiry_s=1.0).acquire()
        assert lease.holder() is None

    def test_a_lease_taken_over_is_noticed_by_the_heartbeat(self, files: Files) -> None:
        with Lease(files, "s", heartbeat_s=0.02) as lease:
            held = json.loads(files.read("sweeps/s/lease.json"))
            # The heartbeat in between may put the own lease back once; what stands at the end is the thief's.
            thief = json.dumps({**held, "token": "thief", "pid": 4711, "host": "spot-7"}).encode()
            assert wait_until(lambda: files.write("sweeps/s/lease.json", thief) or lease.lost)
            with pytest.raises(LeaseLost, match="taken over by process 4711 on spot-7"):
                lease.check()
        assert files.read("sweeps/s/lease.json") == thief

    def test_a_removed_lease_is_noticed(self, files: Files) -> None:
        with Lease(files, "s", heartbeat_s=0.02) as lease:
            assert wait_until(lambda: files.delete("sweeps/s/lease.json") or lease.lost)
            with pytest.raises(LeaseLost, match="was removed"):
                lease.check()

    def test_check_asks_by_itself_when_the_heartbeat_is_late(self, files: Files) -> None:
        with Lease(files, "s", expiry_s=0.2, heartbeat_s=60) as lease:
            time.sleep(0.3)
            lease.check()
            files.delete("sweeps/s/lease.json")
            time.sleep(0.3)
            with pytest.raises(LeaseLost):
                lease.check()

    def test_a_store_that_fails_past_the_expiry_stops_the_holder_until_it_is_seen_that_nobody_took_over(
        self, files: Files, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Lease(files, "s", expiry_s=0.5, heartbeat_s=0.02) as lease:
            with monkeypatch.context() as patch:
                patch.setattr(files, "replace", broken)
                time.sleep(0.1)
                lease.check()
                time.sleep(0.6)
                with pytest.raises(StoreError, match="Input/output error"):
                    lease.check()
            lease.check()
            with pytest.raises(LeaseHeld):
                Lease(files, "s").acquire()

    def test_a_lease_taken_over_while_the_store_failed_is_lost_when_it_is_back(
        self, files: Files, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Lease(files, "s", expiry_s=0.5, heartbeat_s=60) as lease, monkeypatch.context() as patch:
            held = json.loads(files.read("sweeps/s/lease.json"))
            files.write("sweeps/s/lease.json", json.dumps({**held, "token": "other", "pid": 4711}).encode())
            patch.setattr(files, "replace", broken)
            time.sleep(0.6)
            with pytest.raises(StoreError, match="Input/output error"):
                lease.check()
            patch.undo()
            with pytest.raises(LeaseLost, match="taken over by process 4711"):
                lease.check()

    def test_without_the_lease_nothing_passes(self, files: Files) -> None:
        with pytest.raises(LeaseLost, match="without its lease"):
            Lease(files, "s").check()


def broken(*_: object) -> None:
    raise StoreError("Input/output error")


class TestProcessStarted:
    def test_the_own_process_has_one_start_and_a_missing_one_none(self) -> None:
        assert process_started(os.getpid()) == process_started(os.getpid()) is not None
        assert process_started(2**22 + 12345) is None

    def test_processes_started_apart_differ(self, processes: Processes) -> None:
        first = processes.start("import sys; sys.stdin.readline()")
        time.sleep(0.05)
        second = processes.start("import sys; sys.stdin.readline()")
        assert process_started(first.pid) != process_started(second.pid)
