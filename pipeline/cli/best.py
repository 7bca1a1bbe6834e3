"""``sept best``: the best trial of each study, and what to type to use it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import DEFAULT_ROOT, JsonOption, RootOption, root_option
from sept_core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.report.rows import Chosen

__all__ = ["best"]


def best(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    only: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY]", help="Only this study, such as ESC10.coop; --study says the same."),
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", help="Only this study, such as ESC10.mini.base-to-new.coop or ESC10.coop.")
    ] = None,
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Show each study's best trial, chosen on held-out clips, with its hyper-parameters and its test accuracy."""
    from pipeline.cli.showing import say, wide_console
    from pipeline.prompts import pick_study
    from pipeline.report import collect
    from pipeline.store import TrialStore, open_files
    from pipeline.sweeps import known_sweep

    if only is not None and study not in (None, only):
        raise InputError(f"two studies: '{only}' and --study '{study}'", mend="give one of them, or neither for all")
    study = study or only
    store = TrialStore(open_files(root))
    known_sweep(store, sweep, study)
    table = collect(store, sweep)
    chosen = table.studies if study is None else (pick_study(table, study),)
    if as_json:
        typer.echo(json.dumps([_plain(row) for row in chosen], indent=1))
        return
    console = wide_console()
    _show(console, chosen)
    if any(row.selection == "paper" for row in chosen):
        say(console, "val: on the TEST clips themselves, which chose the trial, as the other accuracies")
        say(console, table.warning)
    else:
        say(console, "val: on held-out training clips, which chose the trial; the other accuracies: on test clips")
    for line in dict.fromkeys(line for row in chosen for line in row.warnings):
        say(console, f"data: {line}")
    for name in table.without if study is None else ():
        say(console, f"{name}: no finished trial")
    # Of all, the one that looks best by what chose it; a person may well want another.
    first = max(chosen, key=lambda row: _numbers(row)["val"]).study
    say(console, "\nTake a prompt out of the sweep, and use it:")
    say(console, f"  sept export {quote(sweep)} {quote(first)} --to my-prompt{root_option(root)}")
    say(console, '  sept predict clip.wav --prompt my-prompt --classes "dog bark, siren, my new class"')


def _plain(row: Chosen) -> dict[str, Any]:
    """A study's best trial as plain values."""
    from pipeline.report.rows import warning_of

    names = ("study", "dataset", "encoder", "method", "selection", "number", "signature", "params", "trials")
    told = {name: getattr(row, name) for name in names} | {"accuracy": _numbers(row)}
    told |= {"data_warnings": list(row.warnings)} if row.warnings else {}
    return told | {"warning": warning} if (warning := warning_of(row.selection)) else told


def _numbers(row: Chosen) -> dict[str, float]:
    from pipeline.report import Row, TransferRow

    if isinstance(row, Row):
        return {"val": row.validation.h, "base": row.test.base, "new": row.test.new, "h": row.test.h}
    assert isinstance(row, TransferRow)
    return {"val": row.validation, "source": row.source.accuracy, "targets": row.mean}


def _show(console: Console, chosen: Sequence[Chosen]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from pipeline.sweeps import short

    accuracies = list(_numbers(chosen[0]))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("study", overflow="fold")
    table.add_column("trial", justify="right")
    for name in accuracies:
        table.add_column({"h": "H"}.get(name, name), justify="right")
    table.add_column("hyper-parameters", overflow="fold")
    table.add_column("signature", no_wrap=True)
    for row in chosen:
        searched = " ".join(f"{name}={short(value)}" for name, value in row.params.items()) or "-"
        numbers = (f"{value:.1f}" for value in _numbers(row).values())
        table.add_row(escape(row.study), f"#{row.number}", *numbers, escape(searched), row.signature)
    console.print(table)
