"""``sept robust``: how robust each method's chosen configuration is to noise."""

from __future__ import annotations

import json
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.errors import EXIT_FAILED
from pipeline.cli.options import DEFAULT_ROOT, JsonOption, RootOption, TextModelOption, WeightsOption, root_option

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.reports.noise_rows import NoisyRow

__all__ = ["robust"]


def robust(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Study, such as ESC10.coop+sept; without it, all rows.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure it again, even if the store has it.")] = False,
    weights: WeightsOption = None,
    text_model: TextModelOption = None,
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Measure each row's chosen trials on noisy test clips, which sept embed --noise makes.

    Nothing is chosen with it, and nothing is trained if the checkpoints are there. Then sept report shows it too.
    """
    from pipeline.cli.console import page_console, say, working
    from pipeline.reports import collect
    from pipeline.reports.find_row import pick_row
    from pipeline.reports.noise_rows import noisy_json, noisy_rows
    from pipeline.spec.known_sweep import known_sweep
    from pipeline.store import TrialStore, open_files

    store = TrialStore(open_files(root))
    known_sweep(store, sweep, study)
    table = collect(store, sweep)
    chosen = table.studies if study is None else (pick_row(table, study),)
    with working("Measuring the chosen trials on noisy clips"):
        from pipeline.prompts.measure_noise import measure_noise

        done = measure_noise(store, root, sweep, chosen, again=again, weights=weights, text_model=text_model)
    rows = [one for one in noisy_rows(store, chosen) if one.row.study not in done.refused]
    if as_json:
        reasons = [{"study": name, "not_measured": reason} for name, reason in done.refused.items()]
        typer.echo(json.dumps([*noisy_json(rows), *reasons], indent=1))
    else:
        console = page_console()
        if table.warning:
            say(console, table.warning)
        _show(console, rows)
        for reason in dict.fromkeys(done.refused.values()):
            names = [name for name, other in done.refused.items() if other == reason]
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            say(console, f"{names[0]}{more}: not measured: {reason}")
        if rows:
            say(console, f"In the report: sept report {quote(sweep)}{root_option(root)}")
    if not rows:
        raise typer.Exit(EXIT_FAILED)


def _show(console: Console, rows: list[NoisyRow]) -> None:
    from pipeline.cli.console import plain_table, say
    from pipeline.reports.noise_section import noise_sheets

    for sheet in noise_sheets(rows):
        say(console, sheet.title)
        table = plain_table()
        for name in sheet.columns:
            words = name in sheet.words
            table.add_column(name, justify="left" if words else "right", overflow="fold")
        for line in sheet.rows:
            table.add_row(*line)
        console.print(table)
        say(console)
