"""``sept best``: the result of each search, the best configuration of each study, and how to use it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import DEFAULT_ROOT, JsonOption, RootOption, root_option
from sept_core.errors import InputError, SeptError
from sept_core.protocol_facts import protocol_of

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.reports.rows import Chosen, ForUse

__all__ = ["best"]


def best(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    only: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY]", help="Only this study, such as ESC10.coop; the same as --study."),
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", help="Only this study, such as ESC10.mini.base-to-new.coop or ESC10.coop.")
    ] = None,
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Show the result of each search on test clips, and the best configuration of each study.

    The result is the row of the report's table: for each test fold, the trial that is best on the held-out clips of
    this fold. It estimates the procedure. The best configuration is the trial that is best over all folds, which
    export uses. With several folds its own test accuracies are too good, because held-out clips of one fold are test
    clips of another.
    """
    from pipeline.cli.console import class_option, note, page_console, say, working

    if only is not None and study not in (None, only):
        raise InputError(f"two studies: '{only}' and --study '{study}'", fix="give one of them, or neither for all")
    study = study or only
    with working(f"Reading the results of {sweep}"):
        from pipeline.reports.collect import collect
        from pipeline.reports.find_row import pick_row, pick_uses, short_key
        from pipeline.reports.missing_results import missing_lines, partial_lines
        from pipeline.reports.rows import OVER_ALL_FOLDS
        from pipeline.spec.known_sweep import known_sweep
        from pipeline.store import TrialStore, open_files

        store = TrialStore(open_files(root))
        known_sweep(store, sweep, study)
        table = collect(store, sweep)
        rows = table.studies if study is None else (pick_row(table, study),)
        of = {row.study: row for row in rows}
        uses = pick_uses(table, study)
    gone = SeptError("the result of the configuration for use is gone; launch the sweep again")
    if as_json and not uses:
        raise gone
    if as_json:
        typer.echo(json.dumps([_plain(use, of[use.row]) for use in uses], indent=1))
        return
    console = page_console()
    cautious = any(use.caution for use in uses)
    if not uses or any(use.caution or use.study != use.row for use in uses):
        note(console, "Estimate of the procedure: test accuracy of the trial chosen for each test fold")
        _show_rows(console, rows)
    lacking = partial_lines(table, rows) + missing_lines(table, None if study is None else rows[0].study)
    if not uses:
        for line in lacking:
            note(console, line)
        raise gone
    if cautious:
        note(console, "\nFor use: the trial of each study that is best over all folds, which export uses")
    elif any(use.study != use.row for use in uses):
        note(console, "\nFor use: the best trial of each study (one per test fold), which export uses")
    _show_uses(console, uses)
    if cautious:
        note(console, f"*: {OVER_ALL_FOLDS}")
    if any(row.selection == "paper" for row in rows):
        note(console, "val: on the TEST clips, which chose the trial; the other accuracies: on the same clips")
        note(console, table.warning)
    else:
        note(console, "val: on held-out training clips, which chose the trial; the other accuracies: on test clips")
    if any("all" in row.estimate for row in rows):
        note(console, "all: base and new test clips, each ranked among all names")
    for line in dict.fromkeys(line for row in rows for line in row.warnings):
        note(console, f"data: {line}")
    for line in lacking:
        note(console, line)
    # The example names the study with the best validation; a person may well want another.
    first = max(uses, key=lambda use: _own(use)["val"])
    result = store.read_result(first.study, first.signature)
    names = [name for group in (result.classnames if result else {}).values() for name in group]
    note(console, "\nExport a prompt and use it:")
    say(console, f"  sept export {quote(sweep)} {quote(short_key(first.study))} --to my-prompt{root_option(root)}")
    say(console, f"  sept predict clip.wav --prompt my-prompt {class_option(names, first.method)}")


def _plain(use: ForUse, row: Chosen) -> dict[str, Any]:
    """The best configuration of a study with its estimate, as plain values."""
    from pipeline.reports.rows import warning_of

    names = ("study", "dataset", "encoder", "method", "selection", "number", "signature", "params")
    plain = {name: getattr(use, name) for name in names} | {"trials": row.trials}
    plain |= {"estimate": row.estimate, "own_accuracy": _own(use)}
    plain["chosen_by_fold"] = [
        {"folds": list(folds)} | {name: getattr(one, name) for name in ("study", "number", "signature", "params")}
        for one, folds in row.merged
    ]
    plain |= {"own_accuracy_is": use.caution} if use.caution else {}
    plain |= {"data_warnings": list(row.warnings)} if row.warnings else {}
    return plain | {"warning": warning} if (warning := warning_of(use.selection)) else plain


def _own(use: ForUse) -> dict[str, float]:
    """The accuracies of the trial itself, with the same names."""
    protocol = protocol_of(use.row.split(".")[2])
    names = (name for name in (*protocol.compared, "all") if name in use.test)
    return {"val": use.validation[protocol.objective]} | {name: use.test[name] for name in names}


def _show_rows(console: Console, rows: Sequence[Chosen]) -> None:
    from rich.markup import escape

    from pipeline.cli.console import plain_table
    from pipeline.reports.find_row import short_key

    table = plain_table()
    table.add_column("study", overflow="fold")
    names = list(dict.fromkeys(name for row in rows for name in row.estimate))
    for name in names:
        table.add_column({"h": "H"}.get(name, name), justify="right")
    table.add_column("chosen for test folds", overflow="fold")
    for row in rows:
        chosen = ", ".join(f"#{choice.number} ({' '.join(folds)})" for choice, folds in row.merged)
        if len(row.merged) == 1:
            chosen = f"#{row.choices[0].number}"
        numbers = row.estimate
        cells = (f"{numbers[name]:.1f}" if name in numbers else "-" for name in names)
        table.add_row(escape(short_key(row.study)), *cells, chosen)
    console.print(table)


def _show_uses(console: Console, uses: Sequence[ForUse]) -> None:
    from rich.markup import escape

    from pipeline.cli.console import plain_table
    from pipeline.reports.find_row import short_key
    from pipeline.text import short

    table = plain_table()
    table.add_column("study", overflow="fold")
    table.add_column("trial", justify="right")
    names = list(dict.fromkeys(name for use in uses for name in _own(use)))
    for name in names:
        table.add_column({"h": "H"}.get(name, name), justify="right")
    table.add_column("hyper-parameters", overflow="fold")
    table.add_column("signature", no_wrap=True)
    for use in uses:
        searched = " ".join(f"{name}={short(value)}" for name, value in use.params.items()) or "-"
        numbers, mark = _own(use), "*" if use.caution else ""
        marked = (f"{numbers[name]:.1f}{mark if name != 'val' else ''}" if name in numbers else "-" for name in names)
        # The beginning of a signature names the trial in other commands.
        table.add_row(escape(short_key(use.study)), f"#{use.number}", *marked, escape(searched), use.signature[:8])
    console.print(table)
