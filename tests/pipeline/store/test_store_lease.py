"""The lease of a sweep, with real processes: one holder, and dead ones make way.

All of it once on a folder and once on a bucket.
"""

from __future__ import annotations

import itertools
import json
import os
import time

import pytest
from lease_processes import TAKE_TURNS, Processes, wait_until

from pipeline.store import Files, Lease, LeaseHeld
from pipeline.store.processes import process_started
from sept_core.errors import InputError


class TestOneHolder:
    def test_a_free_lease_is_taken_and_released(self, files: Files) -> None:
        with Lease(files, "s") as lease:
            assert lease.token
            assert not lease.lost
            lease.check()
            holder = lease.holder()
            assert holder is not None
            assert holder.pid == os.getpid()
        assert lease.holder() is None
        assert not lease.token

    def test_a_second_process_is_refused_with_who_and_since_when(
        self, files: Files, root: str, processes: Processes
    ) -> None:
        process = processes.holder(root)
        with pytest.raises(LeaseHeld) as refusal:
            Lease(files, "s").acquire()
        line = str(refusal.value)
        assert isinstance(refusal.value, InputError)
        assert "\n" not in line
        assert f"process {process.pid} on {os.uname().nodename} since {time.strftime('%Y-')}" in line
        assert processes.finish(process) == 0
        with Lease(files, "s") as lease:
            lease.check()

    def test_a_second_lease_of_the_same_process_is_refused_too(self, files: Files) -> None:
        with Lease(files, "s"), pytest.raises(LeaseHeld, match=f"process {os.getpid()} "):
            Lease(files, "s").acquire()

    def test_sweeps_do_not_block_each_other(self, files: Files) -> None:
        with Lease(files, "a") as first, Lease(files, "b") as second:
            first.check()
            second.check()

    def test_of_racing_processes_exactly_one_gets_it(self, root: str, processes: Processes) -> None:
        assert sorted(processes.race(root, 6)) == ["held"] * 5 + ["taken"]

    def test_of_processes_racing_for_a_dead_holders_lease_exactly_one_gets_it(
        self, root: str, processes: Processes
    ) -> None:
        dead = processes.holder(root)
        dead.kill()
        assert sorted(processes.race(root, 5)) == ["held"] * 4 + ["taken"]

    def test_of_processes_racing_for_an_expired_lease_exactly_one_gets_it(
        self, files: Files, root: str, processes: Processes
    ) -> None:
        with Lease(files, "s"):
            held = json.loads(files.read("sweeps/s/lease.json"))
        elsewhere = {
            **held,
            "host": "spot-7",
            "machine": "spot-7 boot",
            "released_ms": 0,
        }
        files.write("sweeps/s/lease.json", json.dumps(elsewhere).encode())
        assert sorted(processes.race(root, 5, expiry_s=2.0)) == ["held"] * 4 + ["taken"]

    def test_drivers_that_take_turns_are_never_two(self, files: Files, root: str, processes: Processes) -> None:
        drivers = [processes.start(TAKE_TURNS, root) for _ in range(3)]
        processes.let_go(drivers)
        assert [driver.wait(60) for driver in drivers] == [0] * 3
        turns = files.read_many(files.list("taken"))
        assert len(turns) == 12
        assert set(turns.values()) == {b"True"}

    def test_a_lease_stays_readable_to_earlier_releases_and_theirs_to_this_one(self, files: Files) -> None:
        with Lease(files, "s") as lease:
            held = json.loads(files.read("sweeps/s/lease.json"))
            assert held["fence"] == 0
            files.write("sweeps/s/lease.json", json.dumps({**held, "fence": 7}).encode())
            holder = lease.holder()
            assert holder is not None
            assert (holder.pid, holder.gone()) == (os.getpid(), False)
            with pytest.raises(LeaseHeld):
                Lease(files, "s").acquire()

    def test_the_file_of_a_released_lease_stays_and_says_so(self, files: Files) -> None:
        with Lease(files, "s"):
            pass
        left = json.loads(files.read("sweeps/s/lease.json"))
        assert left["released_ms"] >= left["since_ms"]

    def test_the_same_object_can_be_acquired_again(self, files: Files) -> None:
        lease = Lease(files, "s")
        for _ in range(2):
            with lease:
                lease.check()


class TestDeadHolders:
    def test_a_killed_holder_of_this_machine_is_replaced_at_once(
        self, files: Files, root: str, processes: Processes
    ) -> None:
        process = processes.holder(root)
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

        process = processes.holder(root)
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
        elsewhere = {**held, "host": "spot-7", "machine": "spot-7 boot", "pid": 999_999_999}
        for days in (-1000, 0, 1000):
            renewed = {**elsewhere, "renewed_ms": held["renewed_ms"] + days * 86_400_000, "released_ms": 0}
            files.write("sweeps/s/lease.json", json.dumps(renewed).encode())
            began = time.monotonic()
            with Lease(files, "s", expiry_s=0.4) as lease:
                lease.check()
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
        with Lease(files, "s"):
            held = json.loads(files.read("sweeps/s/lease.json")) | {"machine": "spot-7 boot"}
        never = [json.dumps({**held, "since_ms": when}).encode() for when in (10**18, -1, None, "soon", float("nan"))]
        for content in (b"", b"{", b"[]", b'{"pid": 1}', b"\xff", *never):
            files.write("sweeps/s/lease.json", content)
            with Lease(files, "s") as lease:
                lease.check()


class TestProcessStarted:
    def test_the_own_process_has_one_start_and_a_missing_one_none(self) -> None:
        assert process_started(os.getpid()) == process_started(os.getpid()) is not None
        assert process_started(2**22 + 12345) is None

    def test_processes_started_apart_differ(self, processes: Processes) -> None:
        first = processes.start("import sys; sys.stdin.readline()")
        time.sleep(0.05)
        second = processes.start("import sys; sys.stdin.readline()")
        assert process_started(first.pid) != process_started(second.pid)
