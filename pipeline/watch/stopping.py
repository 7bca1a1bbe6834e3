"""Asking the launch that runs a sweep to stop, from any machine that sees the store."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from pipeline.spec.stored import known_sweep
from pipeline.store import Lease, TrialStore
from pipeline.store.notices import Noticeboard, StopRequest
from pipeline.store.processes import Holder

__all__ = ["StopAsked", "StopEnd", "ask_to_stop", "wait_for_stop"]

StopEnd = Literal["released", "relaunched", "lost", "waiting"]

_POLL_S = 0.5


@dataclass(frozen=True)
class StopAsked:
    """Whom a request to stop is for.

    Attributes:
        holder: Who runs the sweep; or has run it last, and has not given back its lease.
        alive: Whether it is there to obey.
        request: The request that stands, perhaps somebody else's before; None where there is nobody to obey.
    """

    holder: Holder
    alive: bool
    request: StopRequest | None


def ask_to_stop(store: TrialStore, sweep: str) -> StopAsked | None:
    """Ask whoever runs a sweep to stop gracefully; None where nobody does.

    The request is for the launch that holds the lease now and for no other: one that begins meanwhile is not touched
    by it. A driver that has not been heard of for long, on another machine, is asked too: perhaps it comes back.

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
    """Wait until a launch has given back its lease.

    Args:
        store: The store.
        sweep: Name of the sweep.
        holder: The launch.
        wait_s: How long at most.

    Returns:
        ``released``; ``relaunched``, somebody else holds it since; ``lost``, the driver was killed or has fallen
        silent; ``waiting``, it is still at work, and the request stands.
    """
    lease, board = Lease(store.files, sweep), Noticeboard(store.files, sweep)
    deadline = time.monotonic() + wait_s
    while True:
        now = lease.holder()
        if now is None or now.token != holder.token:
            # The request may have come after the launch's last look.
            board.drop_stop(holder.token)
            return "released" if now is None else "relaunched"
        if not lease.alive(now):
            return "lost"
        left = deadline - time.monotonic()
        if left <= 0:
            return "waiting"
        time.sleep(min(_POLL_S, left))
