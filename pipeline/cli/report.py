"""``sept report``: the result of a sweep as a page, a text, numbers and a picture."""

from __future__ import annotations

import json
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import say, working
from pipeline.cli.options import DEFAULT_ROOT, JsonOption, RootOption, root_option
from pipeline.text import plural

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.reports import ReportFiles, SweepTable
    from pipeline.store import Lease, TrialStore
    from pipeline.tracking import TrackingTarget

__all__ = ["report", "show_report", "track_report"]

_MOST_CHOSEN = 60
"""More chosen configurations than this are only in the report."""
_MOST_SPACES = 6


def report(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    root: RootOption = DEFAULT_ROOT,
    latex: Annotated[bool, typer.Option("--latex", help="Also write the table for a paper, as table.tex.")] = False,
    in_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the result of a sweep and write it: report.html, report.md, results.json and a picture."""
    from rich.console import Console

    import pipeline

    if as_json:
        table, files = pipeline.report(sweep, root, latex=latex)
        typer.echo(json.dumps(table.to_json(), indent=1))
    else:
        _, files = show_report(Console(), root, sweep, latex)
    if in_browser:
        _open(root, sweep, files)


def _open(root: str, sweep: str, files: ReportFiles) -> None:
    """Open the page in the browser; a copy of it if the results are in a bucket."""
    import tempfile
    import webbrowser
    from pathlib import Path

    from rich.console import Console

    from pipeline.store import open_files

    store = open_files(root)
    page = store.local_path(files.page)
    if page is None:
        page = Path(tempfile.mkdtemp(prefix="sept-report-")) / f"{sweep}.html"
        page.write_bytes(store.read(files.page))
    if not webbrowser.open(page.absolute().as_uri()):
        say(Console(stderr=True), f"No browser was found; open the page yourself: {page.absolute()}")


def show_report(console: Console, root: str, sweep: str, latex: bool = False) -> tuple[bool, ReportFiles]:
    """Write a sweep's report and show it.

    Returns:
        Whether every study has a finished trial and no result is missing; and the files of the report.

    Raises:
        InputError: The store has no sweep of this name.
        SeptError: No trial of it has finished yet.
    """
    with working(f"Writing the report of {sweep}"):
        from pipeline.reports import (
            chosen_lines,
            chosen_title,
            gain_lines,
            legend,
            render_sheet,
            render_table,
            write_report,
        )
        from pipeline.reports.axes import axis_sheets
        from pipeline.reports.conclusion import headline_of
        from pipeline.reports.missing_results import missing_lines
        from pipeline.store import TrialStore, open_files

        store = TrialStore(open_files(root))
        table, files = write_report(store, sweep, latex=latex)
    say(console)
    if table.all_gains:
        say(console, f"{headline_of(table)}\n")
    if not table.axes:
        console.print(render_table(table))
    sheets = axis_sheets(table)
    for at, sheet in enumerate(sheets):
        if at or not table.axes:
            say(console)
        console.print(render_sheet(sheet))
    if sheets:
        say(console)
    for line in legend(table):
        say(console, line)
    if chosen := chosen_lines(table):
        say(console, f"\n{chosen_title(table)}")
        for line in chosen if len(chosen) <= _MOST_CHOSEN else [f"{len(chosen)} configurations, see the report"]:
            say(console, f"  {line}")
    if gains := gain_lines(table):
        say(console, f"\nSEPT against its baseline, points on test clips{table.warning and f'; {table.warning}'}")
        for line in gains:
            say(console, f"  {line}")
    _say_spaces(console, store, table)
    say(console)
    failed = sum(row.trials["failed"] for row in table.studies)
    if failed:
        command = f"sept sweep status {quote(sweep)}{root_option(root)}"
        say(console, f"{plural(failed, 'trial')} failed; see {command} for the reasons")
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


def _say_spaces(console: Console, store: TrialStore, table: SweepTable) -> None:
    """What the measured prompt spaces say, a sentence each; of a sweep with many studies only the report has it."""
    from pipeline.reports.space_pairs import space_pairs, stored_spaces
    from pipeline.reports.space_section import space_sentence

    pairs = space_pairs(table)
    spaces = stored_spaces(store, pairs) if len(pairs) <= _MOST_SPACES else []
    sentences = [space_sentence(pair, space) for pair, space in zip(pairs, spaces, strict=False) if space is not None]
    if any(sentences):
        say(console, "\nWhat SEPT did to the prompt space (fewer violated margins: nearer to hand-written prompts)")
    for sentence in filter(None, sentences):
        say(console, f"  {sentence}")


def track_report(store: TrialStore, sweep: str, files: ReportFiles, target: TrackingTarget, lease: Lease) -> None:
    """Write the report and the prompt spaces of a sweep into MLflow.

    The caller holds the lease of the sweep, because MLflow allows one writer.

    Raises:
        Exception: Raised by MLflow if it cannot be reached.
    """
    from pipeline.reports import collect
    from pipeline.reports.space_files import space_metrics, space_pictures
    from pipeline.reports.space_pairs import space_pairs, stored_spaces
    from pipeline.tracking import log_report, log_space, mlflow_client

    client = mlflow_client(target, lease.check)
    log_report(client, sweep, {key.rsplit("/", 1)[1]: store.files.read(key) for key in files.shown})
    pairs = space_pairs(collect(store, sweep))
    for pair, space in zip(pairs, stored_spaces(store, pairs), strict=True):
        if space is None:
            continue
        pictures = {f"space_{name}": data for name, data in space_pictures(pair, space).items()}
        for use, view in zip(pair.trials, space.views[1:], strict=True):
            log_space(client, sweep, use.study, use.number, space_metrics(view), pictures)
