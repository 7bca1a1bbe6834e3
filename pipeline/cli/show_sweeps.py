"""``sept sweep list``: the sweeps of a root, one line each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from pipeline.cli.console import note, page_console, plain_table, say, working
from pipeline.cli.options import root_option

if TYPE_CHECKING:
    from pipeline.watch.status import SweepStatus

__all__ = ["list_sweeps"]


def list_sweeps(root: str, as_json: bool) -> None:
    """Show name, state, progress, best validation and age of every sweep, the one with the newest trial first."""
    found: list[SweepStatus] = []
    unreadable: dict[str, str] = {}
    with working("Reading the sweeps"):
        import pipeline
        from sept_core.errors import InputError
        from sept_core.results import now_ms

        for sweep in pipeline.sweeps(root):
            try:
                found.append(pipeline.status(sweep, root))
            except InputError as error:
                unreadable[sweep] = str(error)
    found.sort(key=lambda one: -(one.last_ms or one.began_ms or 0))
    if as_json:
        broken = [{"sweep": sweep, "error": reason} for sweep, reason in unreadable.items()]
        typer.echo(json.dumps([_plain(one) for one in found] + broken, indent=1))
        return
    console = page_console()
    if not found and not unreadable:
        say(console, f"no sweep in {root} yet; start one: sept quickstart{root_option(root)}")
        return
    table = plain_table()
    table.add_column("sweep", overflow="fold")
    table.add_column("state", no_wrap=True)
    for name in ("trials", "best val", "age", "last trial"):
        table.add_column(name, justify="left" if name == "best val" else "right", no_wrap=name != "best val")
    for one in found:
        table.add_row(*_cells(one, now_ms()))
    console.print(table)
    for reason in unreadable.values():
        note(console, f"cannot be read: {reason}")


def _best(status: SweepStatus) -> tuple[float, str] | None:
    """The best validation of a sweep, and its study as a person types it."""
    from pipeline.reports.find_row import short_key

    values = [(one.best_objective, short_key(one.key)) for one in status.studies if one.best_objective is not None]
    return max(values, default=None)


def _plain(status: SweepStatus) -> dict[str, Any]:
    best = _best(status)
    return {
        "sweep": status.sweep,
        "state": status.state,
        "ended": status.ended,
        "budget": status.budget,
        "selection": status.selection,
        "best": best and best[0],
        "best_study": best and best[1],
        "began_ms": status.began_ms,
        "last_ms": status.last_ms,
    }


def _cells(status: SweepStatus, now: int) -> tuple[str, ...]:
    from rich.markup import escape

    from pipeline.text import ago

    best = _best(status)
    # With selection: paper, validation is on test clips.
    mark = " (TEST)" if status.selection == "paper" else ""
    shown = "-" if best is None else f"{escape(best[1])} {best[0]:.1f}{mark}"
    ages = ("-" if at is None else ago(max(0, now - at) / 1000) for at in (status.began_ms, status.last_ms))
    return status.sweep, status.state, f"{status.ended}/{status.budget}", shown, *ages
