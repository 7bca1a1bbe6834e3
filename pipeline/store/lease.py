"""The lease of a sweep: one driver at a time, and a dead one does not block the next.

    with Lease(files, "quickstart") as lease:
        ...
        lease.check()   # before a write that matters

``lease.json`` names the holder; a daemon thread renews it. A second driver is refused with one line, unless the holder
is gone: at once if it ran on this machine and its process no longer exists, otherwise once the second driver has seen
no renewal for ``expiry_s``. Times in the file are only shown, never compared across machines: a clock may be wrong or
jump; the sign of life is that the file changes. The file is only ever replaced, and only if it still has exactly the
bytes that were read: of several drivers that take over one wins, and a holder that was suspended notices. After a
release the file stays, marked as released.

A holder that has lost the lease without noticing (it was suspended between its check and its write) does no harm
either: a driver creates trials, decisions and failures only where there are none, and replaces the spec only if it is
the one that it has read. MLflow has no such conditions: there a check precedes every request, and a driver that has
taken over looks at the end for what a late request of its predecessor may have left.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from types import TracebackType

from pipeline.store.open_store import Files, StoreError, root_option_of
from pipeline.store.processes import Holder, machine_identity, process_started
from pipeline.store.trials import sweep_key
from pipeline.text import one_line
from sept_core.errors import InputError, SeptError

__all__ = ["Lease", "LeaseHeld", "LeaseLost"]

logger = logging.getLogger(__name__)

# A lease changes this often during one attempt to take it only if some other program writes the file.
_ATTEMPTS = 20


class LeaseHeld(InputError):  # noqa: N818 (it names a state, like BlockingIO)
    """Another driver runs this sweep; the message states which one and since when."""


class LeaseLost(SeptError):  # noqa: N818
    """This driver's lease was taken over; it must stop writing."""


class Lease:
    """The right to drive a sweep; a context manager that acquires on entry and releases on exit.

    Methods may be called from any thread. A lease object can be acquired again after its release.

    Args:
        files: The store.
        sweep: Name of the sweep.
        expiry_s: Seconds for which a driver must have seen no renewal before it may take the lease over.
        heartbeat_s: Seconds between two renewals.
        give_up: Whether to stop waiting for another holder's sign of life.
    """

    def __init__(
        self,
        files: Files,
        sweep: str,
        *,
        expiry_s: float = 60.0,
        heartbeat_s: float = 5.0,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self.sweep = sweep
        self.expiry_s = expiry_s
        self.heartbeat_s = heartbeat_s
        self._files = files
        self._give_up = give_up
        self._key = sweep_key(sweep, "lease.json")
        self._held: Holder | None = None
        self._written = b""  # the bytes of ``_held`` in the store
        self._turn = threading.Lock()
        self._lost = ""
        self._renewed = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        # The holder that `alive` saw last, since when, and whether it had seen another state before.
        self._seen: tuple[Holder, float, bool] | None = None
        self._taken_over = False

    @property
    def token(self) -> str:
        """Identifies the lease held; empty if none is held."""
        return self._held.token if self._held else ""

    @property
    def taken_over(self) -> bool:
        """Whether the last holder had not released it: a request of its own may still arrive."""
        return self._taken_over

    @property
    def lost(self) -> bool:
        """Whether the lease was held and is known to be lost."""
        return bool(self._lost)

    def holder(self) -> Holder | None:
        """Who holds the lease at the moment, alive or not; None if nobody does."""
        last = self._parse(self._read())
        return None if last is None or last.released_ms else last

    def alive(self, holder: Holder) -> bool:
        """Whether a holder seems to be alive, for display; it does not wait, so `acquire` may find otherwise.

        Repeated calls learn from what changes in between. At the first call a process that exists on this machine
        counts as alive, and one elsewhere does if the time of its last renewal is near the time here.
        """
        if holder.gone():
            return False
        if self._seen is None or self._seen[0] != holder:
            self._seen = (holder, _clock(), self._seen is not None)
        _, since, renewed = self._seen
        if _clock() - since > self.expiry_s:
            return False
        return renewed or holder.here or abs(_now_ms() - holder.renewed_ms) <= self.expiry_s * 1000

    def acquire(self) -> Lease:
        """Take the lease and start renewing it.

        A holder whose process cannot be examined, or exists but has not renewed for long, is watched until it renews,
        for at most ``expiry_s``.

        Raises:
            LeaseHeld: Another driver holds it and is alive.
        """
        if self._held is not None:
            raise RuntimeError("this lease is already held by this object")
        for _ in range(_ATTEMPTS):
            found = self._read()
            last = self._parse(found)
            self._taken_over = last is not None and not last.released_ms
            if found is not None and last is not None and not last.released_ms:
                if not last.gone() and not self._silent(found, last):
                    continue
                logger.info("taking over sweep '%s' from process %d on %s", self.sweep, last.pid, last.host)
            if self._publish(found, _new_holder()):
                break
        else:
            raise StoreError(f"'{self._key}' is being written by something else; no lease can be taken")
        self._lost = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(self._stop,), name="lease", daemon=True)
        self._thread.start()
        return self

    def check(self) -> None:
        """Return if this driver still holds the lease; renews it if the heartbeat is late.

        Raises:
            LeaseLost: It does not, or never acquired it.
            StoreError: It was not renewed in time, and cannot be renewed now.
        """
        if self._held is None and not self._lost:
            raise LeaseLost(f"sweep '{self.sweep}' is driven without its lease")
        # A process that was suspended must check before it continues: others may have taken over.
        if not self._lost and _clock() - self._renewed > self.expiry_s / 2:
            failure = self._renew()
            # After the expiry others may take over: nothing is written before it is clear that none has.
            if not self._lost and _clock() - self._renewed > self.expiry_s:
                raise failure or StoreError(f"the lease of sweep '{self.sweep}' was not renewed; run the command again")
        if self._lost:
            raise LeaseLost(self._lost)

    def release(self) -> None:
        """Release the lease, so that the next driver need not wait. Does nothing if it is not held."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None
        if self._held is None:
            return
        try:
            self._rewrite(released=True)
        except StoreError as error:
            logger.warning("the lease of sweep '%s' was not released and will expire: %s", self.sweep, error)
        self._held = None

    def __enter__(self) -> Lease:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _silent(self, found: bytes, holder: Holder) -> bool:
        """Whether the holder's lease stays unchanged for ``expiry_s``; False if it was released meanwhile.

        Raises:
            LeaseHeld: It was renewed, or its process exists and renewed it not long ago.
            KeyboardInterrupt: ``give_up`` asked to stop.
        """
        if holder.here and 0 <= _now_ms() - holder.renewed_ms <= self.expiry_s * 1000:
            raise self._refusal(holder, (_now_ms() - holder.renewed_ms) // 1000)
        logger.warning(
            "process %d on %s has the lease of sweep '%s'; waiting up to %.0f s for a sign of life from it",
            *(holder.pid, holder.host, self.sweep, self.expiry_s),
        )
        began = _clock()
        while not holder.gone():
            if self._give_up():
                raise KeyboardInterrupt
            _pause(min(1.0, self.expiry_s / 20))
            # Taken before the read: only the time before it was watched.
            watched_s = _clock() - began
            now = self._read()
            if now != found:
                current = self._parse(now)
                if current is None or current.released_ms or current.gone():
                    return False
                raise self._refusal(current)
            if watched_s > self.expiry_s:
                break
        return True

    def _read(self) -> bytes | None:
        try:
            return self._files.read(self._key)
        except FileNotFoundError:
            return None

    def _parse(self, content: bytes | None) -> Holder | None:
        if content is None:
            return None
        try:
            return Holder.from_json(content)
        except ValueError as error:
            logger.warning("damaged '%s' counts as absent: %s", self._key, one_line(error))
            return None

    def _publish(self, expected: bytes | None, holder: Holder) -> bool:
        """Write ``holder`` in place of exactly what was read; returns whether that was still there."""
        content = holder.to_json()
        # Taken before the write, which may be slow: others count from the time in it.
        began = _clock()
        if not self._files.replace(self._key, expected, content):
            return False
        self._held, self._written, self._renewed = holder, content, began
        return True

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(self.heartbeat_s):
            self._renew()
            if self._lost:
                logger.error("%s", self._lost)
                return

    def _renew(self) -> StoreError | None:
        """Renew the lease, or notice that it is lost; returns the error if neither was possible now."""
        # One thread at a time: the other one may have renewed meanwhile.
        with self._turn:
            if self._held is None or self._lost:
                return None
            try:
                self._rewrite()
            except StoreError as error:
                return error
        return None

    def _rewrite(self, released: bool = False) -> None:
        """Renew or release this driver's lease in the store, or notice that another driver has it."""
        for _ in range(2):
            if self._held is None:
                return
            now = _now_ms()
            changed = replace(
                self._held, renewed_ms=now, released_ms=now if released else 0, renewals=self._held.renewals + 1
            )
            if self._publish(self._written, changed):
                return
            found = self._read()
            current = self._parse(found)
            if current is None or current.token != self._held.token:
                self._lost = f"the lease of sweep '{self.sweep}' {_fate(current)}; this driver must stop"
                return
            # A change that the store reported as failed has succeeded after all: this one replaces it.
            self._written = found or b""
        raise StoreError(f"'{self._key}' keeps changing")

    def _refusal(self, holder: Holder, age_s: int = 0) -> LeaseHeld:
        return LeaseHeld(
            f"sweep '{self.sweep}' is being run by process {holder.pid} on {holder.host} since "
            f"{_local_time(holder.since_ms)} (last sign of life {age_s} s ago)",
            fix=f"wait for it, or stop it (sept sweep stop {self.sweep}{root_option_of(self._files)})",
        )


def _new_holder() -> Holder:
    """This process as the holder, from now on."""
    now, pid = _now_ms(), os.getpid()
    return Holder(
        host=platform.node(),
        machine=machine_identity(),
        pid=pid,
        process_started=process_started(pid) or "",
        token=secrets.token_hex(8),
        since_ms=now,
        renewed_ms=now,
    )


def _fate(holder: Holder | None) -> str:
    if holder is None:
        return "was removed"
    return f"was taken over by process {holder.pid} on {holder.host} at {_local_time(holder.since_ms)}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _clock() -> float:
    """Seconds that also pass while the machine sleeps, if the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _local_time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
