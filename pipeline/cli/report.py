"""``sept report``: a sweep's result as a page, a text, numbers and a picture."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pipeline.cli.options import DEFAULT_ROOT, JsonOption, RootOption

__all__ = ["report"]


def report(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    root: RootOption = DEFAULT_ROOT,
    latex: Annotated[bool, typer.Option("--latex", help="Write the table for a paper too, as table.tex.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a sweep's result so far and write it: report.html, report.md, results.json and a picture."""
    from rich.console import Console

    from pipeline.cli.showing import show_report
    from pipeline.report import write_report
    from pipeline.store import TrialStore, open_files

    if as_json:
        table, _ = write_report(TrialStore(open_files(root)), sweep, latex=latex)
        typer.echo(json.dumps(table.to_json(), indent=1))
        return
    show_report(Console(), root, sweep, latex)
