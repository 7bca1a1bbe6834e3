"""The identity of a process, which tells a dead holder of a lease from one that is only slow.

Why not `psutil.Process.create_time`: it adds the boot time by the wall clock, so that a process seems to be another one
after the clock is set, and a live holder would lose its lease. What Linux states, ticks since the boot, never changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, TypeAdapter

from sept_core.checked_json import time_ms

__all__ = ["Holder", "TimeMs", "machine_identity", "mark_gone", "own_mark", "process_started"]

TimeMs = Annotated[int, AfterValidator(time_ms)]
"""A time that a document states, in milliseconds since 1970."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        host: Name of the machine, to show.
        machine: Identity of the machine's process table (boot and process namespace), to compare.
        pid: Process id there.
        process_started: Start time of the process as its machine states it, so that a reused id is not mistaken for it.
        token: Random; tells two leases of one process apart.
        since_ms: When the lease was taken, milliseconds since 1970.
        renewed_ms: When it was last renewed.
        released_ms: When it was released; 0 while it is held.
        renewals: How often it was renewed: no two states of a held lease are equal, whatever the clocks say.
        fence: Not used; earlier releases take a lease without it for damaged.
    """

    host: str
    machine: str
    pid: int
    process_started: str
    token: str
    since_ms: TimeMs
    renewed_ms: TimeMs
    released_ms: TimeMs = 0
    renewals: int = 0
    fence: int = 0

    @classmethod
    def from_json(cls, content: bytes) -> Holder:
        """Read a holder; what else its document has is ignored.

        Raises:
            ValueError: Damaged.
        """
        return _HOLDER.validate_json(content)

    def to_json(self) -> bytes:
        """The holder's document."""
        return (json.dumps(asdict(self), sort_keys=True, indent=1) + "\n").encode()

    @property
    def here(self) -> bool:
        """Whether the holder's process is, or was, one of this machine."""
        return self.machine == machine_identity()

    def gone(self) -> bool:
        """Whether this machine knows that the holder's process no longer exists."""
        return self.here and _ended(self.pid, lambda started: started == self.process_started)


_HOLDER = TypeAdapter(Holder)


@cache
def own_mark(pid: int) -> str:
    """A mark that no other process has, made of letters, digits and ``-``, for the process with this id."""
    return f"{_short(machine_identity())}-{pid}-{_short(process_started(pid) or '')}"


def mark_gone(mark: str) -> bool:
    """Whether this machine knows that the process of an `own_mark` no longer exists."""
    machine, pid, began = mark.split("-") if mark.count("-") == 2 else ("", "", "")
    if machine != _short(machine_identity()) or not pid.isdecimal():
        return False
    return _ended(int(pid), lambda started: _short(started) == began)


def _ended(pid: int, same: Callable[[str], bool]) -> bool:
    """Whether this machine's process with this id, and with a start that is the ``same``, no longer exists."""
    started = process_started(pid)
    if started is not None:
        return not same(started)
    try:
        os.kill(pid, 0)
    except PermissionError:
        # It exists, but this user may not look at it (a /proc mounted with hidepid).
        return False
    except ProcessLookupError:
        return True
    # It takes signals but no longer runs: a zombie.
    return True


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def process_started(pid: int) -> str | None:
    """When a process of this machine started, in the machine's own units; None when there is no such process.

    A zombie counts as gone: it will never write again, but keeps its id until its parent looks.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except ProcessLookupError:
        return None
    else:
        return None if fields[0] in {"Z", "X"} else fields[19]
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = shown.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


@cache
def machine_identity() -> str:
    """What must be equal for process ids to mean the same process: name, boot, and process namespace (containers)."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)
