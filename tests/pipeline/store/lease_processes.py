"""Processes that hold a lease, or race for it, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]

HOLD = """
import sys, time
from pipeline.store import Lease, open_files
with Lease(open_files(sys.argv[1]), "s", expiry_s=float(sys.argv[2]), heartbeat_s=0.05) as lease:
    print("holds", flush=True)
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
    print("taken", flush=True)
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
            files.write(f"taken/{lease.token}", str(inside).encode())
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

    def holder(self, root: str, expiry_s: float = 60.0) -> subprocess.Popen[str]:
        """A process that holds the lease."""
        process = self.start(HOLD, root, expiry_s)
        assert self.line(process) == "holds"
        return process

    def race(self, root: str, count: int, expiry_s: float = 60.0) -> list[str]:
        """What each of several processes that ask for the lease at the same moment reports: ``held`` or ``taken``."""
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


def wait_until(what: object, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():  # type: ignore[operator]
            return True
        time.sleep(0.01)
    return False
