"""Asks the launch that runs a sweep to stop, from any machine that can reach the store."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from pipeline.spec.known_sweep import known_sweep
from pipeline.store import Lease, TrialStore
from pipeline.store.launch_messages import Noticeboard, StopRequest
from pipeline.store.processes import Holder

__all__ = ["StopAsked", "StopEnd", "ask_to_stop", "wait_for_stop"]

StopEnd = Literal["released", "relaunched", "lost", "waiting"]

_POLL_S = 0.5


@dataclass(frozen=True)
class StopAsked:
    """The result of asking a launch to stop.

    Attributes:
        holder: The driver that holds the lease: it runs the sweep, or it ran it last and has not released the lease.
        alive: Whether this driver is alive.
        request: The stop request, which may have been made earlier by somebody else; None if the driver is gone.
    """

    holder: Holder
    alive: bool
    request: StopRequest | None


def ask_to_stop(store: TrialStore, sweep: str) -> StopAsked | None:
    """Ask the driver of a sweep to stop gracefully; returns None if the sweep does not run.

    The request is for the launch that holds the lease now: it does not affect later launches. A driver on another
    machine that has not renewed its lease for long is asked too, because it may come back.

    Raises:
        InputError: The store has no sweep of this name.
    """
    known_sweep(store, sweep)
    lease = Lease(store.files, sweep)
    holder = lease.holder()
    if holder is None:
        return None
    gone = holder.gone()
    request = None if gone else Noticeboard(store.files, sweep).ask_to_stop(holder.token)
    return StopAsked(holder, lease.alive(holder), request)


def wait_for_stop(store: TrialStore, sweep: str, holder: Holder, wait_s: float) -> StopEnd:
    """Wait until a launch has released its lease.

    Args:
        store: The store.
        sweep: Name of the sweep.
        holder: The launch.
        wait_s: Longest time to wait.

    Returns:
        ``released``; ``relaunched``: another launch holds it now; ``lost``: the driver was killed or no longer renews
        its lease; ``waiting``: the launch still runs, and the request remains.
    """
    lease, board = Lease(store.files, sweep), Noticeboard(store.files, sweep)
    deadline = time.monotonic() + wait_s
    while True:
        now = lease.holder()
        if now is None or now.token != holder.token:
            # The request may have been written after the launch last looked for it.
            board.drop_stop(holder.token)
            return "released" if now is None else "relaunched"
        if not lease.alive(now):
            return "lost"
        left = deadline - time.monotonic()
        if left <= 0:
            return "waiting"
        time.sleep(min(_POLL_S, left))
