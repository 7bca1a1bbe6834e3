"""The lease of a sweep: one driver at a time, and a dead one does not stand in the way.

    with Lease(files, "quickstart") as lease:
        ...
        lease.check()   # before a write that matters

``lease.json`` says who holds it; a daemon thread renews it. Whoever comes second is refused with one line, unless the
holder is gone: at once when it ran on this machine and its process no longer exists, else when whoever asks has seen no
renewal for ``expiry_s``. Times in the file are only shown, never compared across machines: a clock may be wrong or
jump, and the file that changes is the sign of life. The file is only ever replaced, and only in place of exactly the
bytes that were judged: of several who take over one wins, and a holder that was away finds out. It stays after a
release and says so, so that every holder gets a higher fencing number than all before it.

What a holder writes when it has lost the lease without knowing (it was suspended between its look and its write) can
harm nothing either: a driver creates trials, decisions and failures where there are none, and replaces its spec only in
place of the one that it has read. MLflow knows no such conditions: there every request is preceded by a look, and who
has taken over from a driver looks at the end for what a request of that one may have left.
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

from pipeline.store.files import Files, StoreError
from pipeline.store.processes import Holder, machine_identity, process_started
from pipeline.store.trials import sweep_key
from pipeline.text import one_line
from sept_core.errors import InputError, SeptError

__all__ = ["Lease", "LeaseHeld", "LeaseLost"]

logger = logging.getLogger(__name__)

# A lease changes hands this often while somebody asks for it only where something else writes the file.
_ATTEMPTS = 20


class LeaseHeld(InputError):  # noqa: N818 (it names a state, like BlockingIO)
    """Another driver runs this sweep; says who and since when."""


class LeaseLost(SeptError):  # noqa: N818
    """This driver's lease was taken over; it must stop writing."""


class Lease:
    """The right to drive a sweep; a context manager that acquires on entry and releases on exit.

    Methods may be called from any thread. A lease object can be acquired again after its release.

    Args:
        files: The store.
        sweep: Name of the sweep.
        expiry_s: Seconds that somebody must have watched the lease without a renewal to take it over.
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
        # What `alive` saw last, since when, and whether it had seen something else before.
        self._seen: tuple[Holder, float, bool] | None = None
        self._taken_over = False

    @property
    def token(self) -> str:
        """What tells the lease held from every other one; empty when none is held."""
        return self._held.token if self._held else ""

    @property
    def taken_over(self) -> bool:
        """Whether the last holder had not given it back: something that it asked for may still be under way."""
        return self._taken_over

    @property
    def lost(self) -> bool:
        """Whether the lease was held and is known to be lost."""
        return bool(self._lost)

    def holder(self) -> Holder | None:
        """Who holds the lease at the moment, alive or not; None when nobody does."""
        last = self._parse(self._read())
        return None if last is None or last.released_ms else last

    def alive(self, holder: Holder) -> bool:
        """Whether a holder seems to be at work, to be shown; without waiting, so `acquire` may come to know better.

        Who asks again and again learns from what changes in between. At the first look a process that exists on this
        machine counts as alive, and one elsewhere if the time of its last renewal is near the time here.
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

        A holder whose process cannot be looked at, or exists and has not renewed for long, is watched: until it
        renews, at most ``expiry_s``.

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
        """Return if the lease is still this driver's; renews it when the heartbeat is late.

        Raises:
            LeaseLost: It is not, or it was never acquired.
            StoreError: It was not renewed in time, and cannot be now.
        """
        if self._held is None and not self._lost:
            raise LeaseLost(f"sweep '{self.sweep}' is driven without its lease")
        # A process that was suspended must look before it goes on: others may have had time to take over.
        if not self._lost and _clock() - self._renewed > self.expiry_s / 2:
            failure = self._renew()
            # After the expiry others may rightly take over: nothing is written before it is seen that none has.
            if not self._lost and _clock() - self._renewed > self.expiry_s:
                raise failure or StoreError(f"the lease of sweep '{self.sweep}' was not renewed; run the command again")
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
        try:
            self._rewrite(released=True)
        except StoreError as error:
            logger.warning("the lease of sweep '%s' was not given back and will expire: %s", self.sweep, error)
        self._held = None

    def __enter__(self) -> Lease:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _silent(self, found: bytes, holder: Holder) -> bool:
        """Whether the holder's lease stays as it was found for ``expiry_s``; False: look again, it was given back.

        Raises:
            LeaseHeld: It was renewed, or its process is there and renewed it not long ago.
            KeyboardInterrupt: It was given up.
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
            # Before the look: only what lies before it has been watched.
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
        """Write ``holder`` in place of exactly what was read; whether that was still there."""
        content = holder.to_json()
        # Before the write, which may take its time: others count from the time in it.
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
        """Renew the lease, or find out that it is lost; returns why neither could be done now."""
        # In turn: the other thread of this process may have renewed meanwhile.
        with self._turn:
            if self._held is None or self._lost:
                return None
            try:
                self._rewrite()
            except StoreError as error:
                return error
        return None

    def _rewrite(self, released: bool = False) -> None:
        """Renew the own lease in the store or give it back, or find out that it is not the own one any more."""
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
            # A change that failed by the store's account has come through after all: this one goes in its place.
            self._written = found or b""
        raise StoreError(f"'{self._key}' keeps changing")

    def _refusal(self, holder: Holder, age_s: int = 0) -> LeaseHeld:
        return LeaseHeld(
            f"sweep '{self.sweep}' is being run by process {holder.pid} on {holder.host} since "
            f"{_local_time(holder.since_ms)} (last sign of life {age_s} s ago)",
            fix=f"wait for it, or stop it (sept sweep stop {self.sweep})",
        )


def _new_holder() -> Holder:
    """This process, from now on."""
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
    """Seconds that also pass while the machine sleeps, where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _pause(seconds: float) -> None:
    time.sleep(seconds)


def _local_time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
