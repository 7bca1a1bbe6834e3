"""Which process is which: so that a dead holder of a lease is told from one that is only slow."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sept_core.documents import time_ms

__all__ = ["Holder", "machine_identity", "mark_gone", "own_mark", "process_started"]


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        host: Name of the machine, to show.
        machine: Identity of the machine's process table (boot and process namespace), to compare.
        pid: Process id there.
        process_started: Start time of the process as its machine tells it, so that a reused id is not mistaken for it.
        token: Random; tells two leases of one process apart.
        fence: Fencing number.
        since_ms: When the lease was taken, milliseconds since 1970.
        renewed_ms: When it was last renewed.
        released_ms: When it was given back; 0 while it is held.
        renewals: How often it was renewed: no two states of a held lease are equal, whatever the clocks say.
    """

    host: str
    machine: str
    pid: int
    process_started: str
    token: str
    fence: int
    since_ms: int
    renewed_ms: int
    released_ms: int = 0
    renewals: int = 0

    @classmethod
    def from_json(cls, data: Any) -> Holder:
        """Back from plain values.

        Raises:
            ValueError: Damaged.
        """
        try:
            return cls(
                host=str(data["host"]),
                machine=str(data["machine"]),
                pid=int(data["pid"]),
                process_started=str(data["process_started"]),
                token=str(data["token"]),
                fence=int(data["fence"]),
                since_ms=time_ms(data["since_ms"]),
                renewed_ms=time_ms(data["renewed_ms"]),
                released_ms=time_ms(data.get("released_ms", 0)),
                renewals=int(data.get("renewals", 0)),
            )
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a lease: {error}") from error

    @property
    def here(self) -> bool:
        """Whether the holder's process is, or was, one of this machine."""
        return self.machine == machine_identity()

    def gone(self) -> bool:
        """Whether this machine can tell that the holder's process exists no more."""
        return self.here and _ended(self.pid, lambda started: started == self.process_started)


@cache
def own_mark(pid: int) -> str:
    """What tells this process, whose id is ``pid``, from every other one, of letters, digits and ``-``."""
    return f"{_short(machine_identity())}-{pid}-{_short(process_started(pid) or '')}"


def mark_gone(mark: str) -> bool:
    """Whether this machine can tell that the process of an `own_mark` exists no more."""
    machine, pid, began = mark.split("-") if mark.count("-") == 2 else ("", "", "")
    if machine != _short(machine_identity()) or not pid.isdecimal():
        return False
    return _ended(int(pid), lambda started: _short(started) == began)


def _ended(pid: int, same: Callable[[str], bool]) -> bool:
    """Whether the process of this machine with this id, and a start that is the ``same``, exists no more."""
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
    # It takes signals and runs no more: a zombie.
    return True


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def process_started(pid: int) -> str | None:
    """When a process of this machine started, in its own units; None when there is no such process.

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
    """What must be equal for process ids to mean the same: name, boot, and process namespace (containers)."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)
