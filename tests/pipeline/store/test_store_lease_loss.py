"""A lost lease is noticed, and one that is not lost survives a failing store. Once on a folder, once on a bucket."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from lease_processes import HOLD, Processes, wait_until

from pipeline.store import Files, Lease, LeaseHeld, LeaseLost, StoreError


def broken(*_: object) -> None:
    raise StoreError("Input/output error")


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
        assert processes.line(process) == "holds"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.7)
        with Lease(files, "s", expiry_s=0.5, heartbeat_s=0.05) as lease:
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
