"""``sept sweep stop``: ask a sweep to stop, wait, and show what happened."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pipeline.cli.console import say
from pipeline.cli.options import root_option
from pipeline.text import ago
from sept_core.errors import SeptError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.store import TrialStore
    from pipeline.store.processes import Holder
    from pipeline.watch.stopping import StopEnd

__all__ = ["stop_sweep"]


def stop_sweep(sweep: str, root: str, wait_s: float) -> None:
    """Ask the driver of a sweep to stop, and wait until it has stopped.

    Args:
        sweep: Name of the sweep.
        root: Folder or s3:// address of all results.
        wait_s: Longest time to wait; 0: do not wait.

    Raises:
        InputError: The store has no sweep of this name.
        SeptError: It has not stopped within this time.
    """
    from rich.console import Console

    from pipeline.store import TrialStore, open_files
    from pipeline.watch.stopping import ask_to_stop, wait_for_stop
    from sept_core.results import now_ms

    console, store = Console(), TrialStore(open_files(root))
    asked = ask_to_stop(store, sweep)
    if asked is None:
        say(console, f"{sweep} does not run: there is nothing to stop")
        return
    holder = asked.holder
    if not asked.alive:
        seen = f"its driver on {holder.host} was last seen {ago((now_ms() - holder.renewed_ms) / 1000)} ago"
        more = "there is nothing to stop" if asked.request is None else "if it comes back, it will stop"
        say(console, f"{sweep} does not run: {seen}; {more}")
        return
    say(console, f"asked process {holder.pid} on {holder.host} to stop {sweep}")
    if not wait_s:
        say(console, "its trials continue to their next checkpoint; 'sept sweep status' shows when it has stopped")
        return
    say(console, f"waiting up to {ago(wait_s)} until its trials have reached their next checkpoint")
    began = time.monotonic()
    end = wait_for_stop(store, sweep, holder, wait_s)
    if end == "waiting":
        raise SeptError(
            f"{sweep} has not stopped within {ago(wait_s)}; the request remains: wait longer with the same command, or "
            f"see sept sweep status {sweep}{root_option(root)}"
        )
    _say_end(console, store, sweep, end, holder, time.monotonic() - began)


def _say_end(console: Console, store: TrialStore, sweep: str, end: StopEnd, holder: Holder, seconds: float) -> None:
    from pipeline.watch.status import sweep_status

    found = sweep_status(store, sweep)
    counts = f"{found.ended} of {found.budget} trials ended"
    if end == "lost":
        say(console, f"its driver on {holder.host} is gone; no finished step is lost: {counts}")
    elif end == "relaunched":
        say(console, f"that launch has ended, and {sweep} has been launched again since: {counts}")
    elif found.state == "finished":
        say(console, f"{sweep} finished after {ago(seconds)}: {counts}")
    else:
        say(console, f"{sweep} stopped after {ago(seconds)}: {counts}; launch it again to continue")
