"""A sweep's report on the terminal, and in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pipeline.report import ReportFiles
    from pipeline.store import Lease, TrialStore
    from pipeline.tracking import TrackingTarget

__all__ = ["plain_table", "plural", "say", "show_report", "track_report", "wide_console"]

_WIDE = 1000


def plural(count: int, one: str, many: str = "") -> str:
    """Such as ``1 study`` and ``6 studies``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def plain_table() -> Table:
    """A table with a line under its head and no other, as all commands show them."""
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def say(console: Console, line: str = "") -> None:
    """A line as it is: no markup, no colours of rich's own, and paths never broken."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def wide_console() -> Console:
    """The standard output; where it is a file or a pipe, so wide that nothing is cut."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)


def show_report(console: Console, root: str, sweep: str, latex: bool = False) -> tuple[bool, ReportFiles]:
    """Write a sweep's report and show it.

    Returns:
        Whether every study has a finished trial and all results that are shown, and where the report lies.

    Raises:
        InputError: The store has no sweep of this name.
        SeptError: No trial of it has finished yet.
    """
    from pipeline.cli.planning import accuracy_lines
    from pipeline.plan import estimate_accuracy
    from pipeline.report import chosen_lines, chosen_title, gain_lines, legend, render_table, write_report
    from pipeline.report.gaps import missing_lines
    from pipeline.store import TrialStore, open_files

    store = TrialStore(open_files(root))
    table, files = write_report(store, sweep, latex=latex)
    say(console)
    console.print(render_table(table))
    for line in legend(table):
        say(console, line)
    if chosen := chosen_lines(table):
        say(console, f"\n{chosen_title(table)}")
        for line in chosen:
            say(console, f"  {line}")
    if gains := gain_lines(table):
        say(console, f"\nSEPT against its baseline, points on test clips{table.warning and f'; {table.warning}'}")
        for line in gains:
            say(console, f"  {line}")
    say(console)
    accuracy = estimate_accuracy(store, sweep)
    for line in accuracy_lines(accuracy, every=False) if accuracy else ():
        say(console, line)
    failed = sum(row.trials["failed"] for row in table.studies)
    if failed:
        say(console, f"{plural(failed, 'trial')} failed; sept sweep status {sweep} tells why")
    for line in missing_lines(table):
        say(console, line)
    paper = [("LaTeX", files.latex)] if files.latex else []
    for title, key in (
        ("Report", files.page),
        ("Table", files.table),
        *paper,
        ("Plot", files.picture),
        ("Trials", "trials"),
    ):
        say(console, f"{title:<7} {store.files.address(key)}")
    return not table.without and not table.lost, files


def track_report(store: TrialStore, sweep: str, files: ReportFiles, target: TrackingTarget, lease: Lease) -> None:
    """Put a sweep's report into MLflow. The caller holds the sweep's lease: MLflow allows one writer.

    Raises:
        Exception: What MLflow raises where it cannot be reached.
    """
    from pipeline.tracking import connect, log_report

    log_report(
        connect(target, lease.check), sweep, {key.rsplit("/", 1)[1]: store.files.read(key) for key in files.shown}
    )
