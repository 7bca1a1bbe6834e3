"""The lease on machines whose clocks are wrong, jump and stand still: one holder at a time, and a dead one makes way.

Time is simulated: machines, clocks and heartbeats are the test's, the lease's rules are the real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store import Lease, LeaseHeld, LeaseLost, lease, processes
from pipeline.store.processes import Holder

EXPIRY_S, HEARTBEAT_S = 60.0, 5.0
MACHINES = 3


class Memory:
    """The methods of a store that a lease needs."""

    def __init__(self) -> None:
        self.content: bytes | None = None

    def address(self, key: str) -> str:
        return f"memory/{key}"

    def read(self, key: str) -> bytes:
        if self.content is None:
            raise FileNotFoundError(key)
        return self.content

    def replace(self, key: str, expected: bytes | None, data: bytes) -> bool:
        if self.content != expected:
            return False
        self.content = data
        return True


class Driver:
    """A process with a lease object, on one of the machines."""

    def __init__(self, number: int, machine: int, files: Memory) -> None:
        self.number, self.machine = number, machine
        self.lease = Lease(files, "s", expiry_s=EXPIRY_S, heartbeat_s=1e6)  # type: ignore[arg-type]
        self.exists, self.suspended, self.beaten = True, False, 0.0

    @property
    def holds(self) -> bool:
        """Whether it has the lease, as far as it knows."""
        return self.exists and self.lease.token != "" and not self.lease.lost

    @property
    def at_work(self) -> bool:
        """Whether it has the lease and renews it."""
        return self.holds and not self.suspended


class World:
    """Machines that share a store and nothing else."""

    def __init__(self, offsets: list[int], steps: list[tuple[int, int, int]]) -> None:
        self.files, self.now, self.current = Memory(), 1000.0, 0
        self.offsets = offsets
        self.steps = sorted(steps, reverse=True)  # (when, machine, seconds)
        self.drivers: list[Driver] = []

    @contextmanager
    def on(self, machine: int) -> Iterator[None]:
        before, self.current = self.current, machine
        try:
            yield
        finally:
            self.current = before

    def wall_ms(self) -> int:
        return int(1_700_000_000_000 + 1000 * (self.now + self.offsets[self.current]))

    def clock(self) -> float:
        return self.now + 100_000.0 * self.current  # another start of the count on each machine

    def gone(self, holder: Holder) -> bool:
        return holder.here and not self.drivers[holder.pid].exists

    def holder(self) -> Holder:
        now, driver = self.wall_ms(), self.drivers[-1]
        return Holder("host", f"m{self.current}", driver.number, "", f"token-{driver.number}", now, now)

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            while self.steps and self.steps[-1][0] <= self.now - 1000:
                _, machine, step = self.steps.pop()
                self.offsets[machine] += step
            for driver in self.drivers:
                if driver.at_work and self.now - driver.beaten >= HEARTBEAT_S:
                    driver.beaten = self.now
                    with self.on(driver.machine):
                        driver.lease._renew()

    def launch(self, machine: int) -> bool:
        """Whether a new driver gets the lease."""
        self.drivers.append(driver := Driver(len(self.drivers), machine, self.files))
        with self.on(machine):
            try:
                driver.lease.acquire()
            except LeaseHeld:
                driver.exists = False
                return False
        driver.beaten = self.now
        return True

    def passing(self) -> list[int]:
        """Drivers that would write now, if they were awake."""
        found = []
        for driver in self.drivers:
            if driver.at_work:
                with self.on(driver.machine):
                    try:
                        driver.lease.check()
                    except LeaseLost:
                        continue
                found.append(driver.number)
        return found


def enter(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a world the one that leases live in."""
    monkeypatch.setattr(lease, "_now_ms", world.wall_ms)
    monkeypatch.setattr(lease, "_clock", world.clock)
    monkeypatch.setattr(lease, "_pause", world.pass_time)
    monkeypatch.setattr(lease, "_new_holder", world.holder)
    monkeypatch.setattr(processes, "machine_identity", lambda: f"m{world.current}")
    monkeypatch.setattr(Holder, "gone", lambda holder: world.gone(holder))


days = st.sampled_from([0, 0, 1, -1, 59, 61, -61, 3600, -86_400, 10 * 86_400])
machines = st.integers(0, MACHINES - 1)
deeds = st.one_of(
    st.tuples(st.just("launch"), machines),
    st.tuples(st.sampled_from(["kill", "suspend", "wake"]), st.integers(0, 2)),
    st.tuples(st.just("pass"), st.sampled_from([1, 4, 29, 31, 61, 200])),
)


@settings(max_examples=150, deadline=None, database=None)
@given(
    offsets=st.lists(days, min_size=MACHINES, max_size=MACHINES),
    steps=st.lists(st.tuples(st.integers(0, 500), machines, days), max_size=5),
    todo=st.lists(deeds, min_size=2, max_size=12),
)
def test_a_driver_at_work_keeps_its_lease_and_a_dead_one_makes_way_whatever_the_clocks_say(
    offsets: list[int], steps: list[tuple[int, int, int]], todo: list[tuple[str, int]]
) -> None:
    world = World(offsets, steps)
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(world, monkeypatch)
        for what, which in (*todo, ("launch", 0)):
            holders = [driver for driver in world.drivers if driver.holds]
            if what == "launch":
                working = [driver for driver in holders if driver.at_work]
                began = world.now
                got = world.launch(which)
                if working:
                    assert not got
                    assert working[-1].at_work
                elif not holders:
                    assert got
                    assert world.now - began <= EXPIRY_S + 5
            elif what == "pass":
                world.pass_time(which)
            elif holders:
                one = holders[which % len(holders)]
                one.exists, one.suspended = what != "kill", what == "suspend"
            assert len(world.passing()) <= 1
