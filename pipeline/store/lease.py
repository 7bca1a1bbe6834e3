"""The lease of a sweep: one driver at a time, and a dead one does not stand in the way.

    with Lease(files, "quickstart") as lease:
        ...
        lease.check()   # before a write that matters

``lease.json`` says who holds it; a daemon thread renews it. Whoever comes second is refused with one line, unless the
holder is gone: at once when it ran on this machine and its process no longer exists, else when it has not renewed for
``expiry_s``. Every holder gets a higher fencing number than all before it, also after a release.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import TracebackType

from pipeline.store.files import Files, StoreError
from pipeline.store.processes import Holder, machine_identity, process_started
from pipeline.store.trials import sweep_key
from sept_core.errors import InputError, SeptError

__all__ = ["Lease", "LeaseHeld", "LeaseLost"]

logger = logging.getLogger(__name__)

TURN_TIMEOUT_S = 20.0


class LeaseHeld(InputError):  # noqa: N818 (it names a state, like BlockingIO)
    """Another driver runs this sweep; says who and since when."""


class LeaseLost(SeptError):  # noqa: N818
    """This driver's lease was taken over, or could not be renewed in time; it must stop writing."""


class Lease:
    """The right to drive a sweep; a context manager that acquires on entry and releases on exit.

    Methods may be called from any thread. A lease object can be acquired again after its release.

    Args:
        files: The store; it must be a local folder, for competing processes take turns by a lock on a file in it.
        sweep: Name of the sweep.
        expiry_s: Seconds without renewal after which anyone may take over. Machines that share the folder must agree
            on the time to well within this.
        heartbeat_s: Seconds between two renewals.
    """

    def __init__(self, files: Files, sweep: str, *, expiry_s: float = 60.0, heartbeat_s: float = 5.0) -> None:
        self.sweep = sweep
        self.expiry_s = expiry_s
        self.heartbeat_s = heartbeat_s
        self._files = files
        self._key = sweep_key(sweep, "lease.json")
        local = files.local_path(self._key)
        if local is None:
            raise InputError("a sweep needs a local results folder", where=repr(files), mend="give a folder")
        # Hidden, so that the store does not list it, and never removed: a lock on a removed file protects nothing.
        self._lock_path = Path(local).with_name(".lease.lock")
        self._held: Holder | None = None
        self._lost = ""
        self._renewed = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def fence(self) -> int:
        """The fencing number of the lease held; 0 when none is."""
        return self._held.fence if self._held else 0

    @property
    def lost(self) -> bool:
        """Whether the lease was held and is known to be lost."""
        return bool(self._lost)

    def holder(self) -> Holder | None:
        """Who holds the lease at the moment, alive or not; None when nobody does."""
        try:
            return Holder.from_json(json.loads(self._files.read(self._key)))
        except FileNotFoundError:
            return None
        except ValueError as error:
            logger.warning("damaged '%s' treated as absent: %s", self._key, error)
            return None

    def acquire(self) -> Lease:
        """Take the lease and start renewing it.

        Raises:
            LeaseHeld: Another driver holds it and is alive.
        """
        if self._held is not None:
            raise RuntimeError("this lease is already held by this object")
        with self._turn() as lock:
            current = self.holder()
            if current is not None and self._alive(current):
                raise self._refusal(current)
            if current is not None:
                logger.info("taking over sweep '%s' from process %d on %s", self.sweep, current.pid, current.host)
            fence = max(_last_fence(lock), current.fence if current else 0) + 1
            _set_last_fence(lock, fence)
            now = _now_ms()
            pid = os.getpid()
            holder = Holder(
                host=platform.node(),
                machine=machine_identity(),
                pid=pid,
                process_started=process_started(pid) or "",
                token=secrets.token_hex(8),
                fence=fence,
                since_ms=now,
                renewed_ms=now,
            )
            self._publish(holder)
        self._lost = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(self._stop,), name="lease", daemon=True)
        self._thread.start()
        return self

    def check(self) -> None:
        """Return if the lease is still this driver's; renews it when the heartbeat is late.

        Raises:
            LeaseLost: It is not, or it was never acquired.
        """
        if self._held is None and not self._lost:
            raise LeaseLost(f"sweep '{self.sweep}' is driven without its lease")
        # A process that was suspended must look before it goes on: others may have had time to take over.
        if not self._lost and _clock() - self._renewed > self.expiry_s / 2:
            self._renew()
        if self._lost:
            raise LeaseLost(self._lost)

    def release(self) -> None:
        """Give the lease back, so that the next driver need not wait. Does nothing when it is not held."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None
        if self._held is None:
            return
        with self._turn():
            current = self.holder()
            if current is not None and current.token == self._held.token:
                self._files.delete(self._key)
            self._held = None

    def __enter__(self) -> Lease:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _publish(self, holder: Holder) -> None:
        content = json.dumps(asdict(holder), sort_keys=True, indent=1) + "\n"
        self._files.write(self._key, content.encode())
        self._held = holder
        self._renewed = _clock()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(self.heartbeat_s):
            self._renew()
            if self._lost:
                logger.error("%s", self._lost)
                return

    def _renew(self) -> None:
        try:
            with self._turn():
                # Read under the lock: the other thread of this process may have renewed or released meanwhile.
                held = self._held
                if held is None or self._lost:
                    return
                current = self.holder()
                if current is None:
                    self._lost = f"the lease of sweep '{self.sweep}' was removed; this driver must stop"
                elif current.token != held.token:
                    self._lost = (
                        f"the lease of sweep '{self.sweep}' was taken over by process {current.pid} on {current.host} "
                        f"at {_local_time(current.since_ms)}; this driver must stop"
                    )
                else:
                    self._publish(Holder(**{**asdict(held), "renewed_ms": _now_ms()}))
        except (OSError, StoreError) as error:
            # A passing failure of the disk costs nothing; after the expiry others may rightly take over.
            if _clock() - self._renewed > self.expiry_s:
                self._lost = f"the lease of sweep '{self.sweep}' could not be renewed: {error}; this driver must stop"

    def _alive(self, holder: Holder) -> bool:
        return not holder.gone() and _now_ms() - holder.renewed_ms <= self.expiry_s * 1000

    def _refusal(self, holder: Holder) -> LeaseHeld:
        age = max(0, _now_ms() - holder.renewed_ms) // 1000
        return LeaseHeld(
            f"sweep '{self.sweep}' is being run by process {holder.pid} on {holder.host} since "
            f"{_local_time(holder.since_ms)} (last sign of life {age} s ago)",
            mend=f"wait for it or stop it; if that machine is gone, try again in {self.expiry_s:.0f} s",
        )

    @contextmanager
    def _turn(self) -> Iterator[int]:
        """Hold the file lock: among the processes and threads that see this folder only one is inside."""
        try:
            self._lock_path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StoreError(f"cannot lock {self._lock_path}: {error.strerror}") from error
        try:
            _flock(descriptor, self._lock_path)
            yield descriptor
        finally:
            # Closing alone would leave the lock to a child forked meanwhile.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _flock(descriptor: int, path: Path) -> None:
    """Lock, but not for ever: turns take milliseconds, unless a process was suspended in the middle of its own."""
    deadline = _clock() + TURN_TIMEOUT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _clock() > deadline:
                raise StoreError(f"{path} has been locked by another process for {TURN_TIMEOUT_S:.0f} s") from None
            time.sleep(0.01)
        except OSError as error:
            raise StoreError(f"cannot lock {path}: {error.strerror}") from error


def _last_fence(lock: int) -> int:
    text = os.pread(lock, 64, 0)
    return int(text) if text.strip().isdigit() else 0


def _set_last_fence(lock: int, fence: int) -> None:
    os.pwrite(lock, f"{fence}\n".encode(), 0)
    os.fsync(lock)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _clock() -> float:
    """Seconds that also pass while the machine sleeps, where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _local_time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
