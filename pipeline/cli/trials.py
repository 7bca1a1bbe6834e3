"""``sept trials``: every trial of a sweep by its validation, as tables or as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.console import note, page_console, plain_table, say, working
from pipeline.cli.options import DEFAULT_ROOT, RootOption
from sept_core.errors import InputError
from sept_core.suggestions import known_words

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["trials"]

State = Literal["finished", "pruned", "failed", "unfinished"]

_VALUES = {"val": "objective", "base": "val_base", "new": "val_new"}


def trials(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    study: Annotated[
        str | None, typer.Argument(help="Only these studies: a dataset, a method, or a study such as ESC10.coop.")
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            "--sort",
            metavar="COLUMN",
            help="val (finished trials first, best first), number, base, new, seconds, or a hyper-parameter such as "
            "lr. Not a test accuracy, which chooses nothing.",
        ),
    ] = "number",
    state: Annotated[State | None, typer.Option("--state", help="Only trials in this state.")] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Write every column, with test accuracies, as CSV to the standard output.")
    ] = False,
    root: RootOption = DEFAULT_ROOT,
) -> None:
    """Show the trials of each study: number, state, validation, and the hyper-parameters that vary."""
    with working(f"Reading the trials of {sweep}"):
        import pipeline
        from pipeline.data.stored_spec import stored_spec
        from pipeline.reports.find_row import studies_named
        from pipeline.reports.rows import warning_of
        from pipeline.spec.known_sweep import known_sweep
        from pipeline.store import TrialStore, open_files

        store = TrialStore(open_files(root))
        spec = stored_spec(store, sweep, known_sweep(store, sweep, study))
        studies = studies_named(sweep, (one.key for one in spec.studies()), study)
        frame = pipeline.trials(sweep, root)
    params = [name for name in frame if name.startswith("params_")]
    # Whole numbers are floats where other studies lack the parameter.
    frame = frame.assign(**frame[params].convert_dtypes())
    frame = _sorted(frame[frame.study.isin(studies)], sort)
    shown = frame if state is None else frame[frame.state == state]
    if as_csv:
        typer.echo(shown.to_csv(index=False), nl=False)
        return
    # A column of one value says nothing.
    vary = {key: [name for name in params if rows[name].nunique() > 1] for key, rows in frame.groupby("study")}
    _show(shown, {key: vary.get(key, []) for key in studies}, warning_of(spec.selection))


def _sorted(frame: DataFrame, wanted: str) -> DataFrame:
    if wanted.startswith("test"):
        raise InputError(
            f"trials are not sorted by '{wanted}': that would choose one on test data",
            where="--sort",
            fix="use --sort val; --csv has the test accuracies",
        )
    column = next(
        (name for name in (_VALUES.get(wanted), wanted, f"params_{wanted}", f"val_{wanted}") if name in frame), None
    )
    if column is None:
        names = [*_VALUES, *(name.removeprefix("params_") for name in frame if not name.startswith("test_"))]
        raise InputError(f"no column '{wanted}'", where="--sort", fix=known_words(wanted, dict.fromkeys(names)))
    falling = column == "objective" or column.startswith("val_")
    # A pruned trial has the validation of a shorter training.
    last = frame.state != "finished" if falling else False
    order = ["_last", column, "study", "number"]
    frame = frame.assign(_last=last).sort_values(order, ascending=[True, not falling, True, True], kind="stable")
    return frame.drop(columns="_last")


def _show(frame: DataFrame, studies: dict[str, list[str]], warning: str) -> None:
    """A table for each study, with these hyper-parameters."""
    from rich.markup import escape

    from pipeline.reports.find_row import short_key
    from pipeline.text import short

    console = page_console()
    for key, params in studies.items():
        rows = frame[frame.study == key]
        if rows.empty:
            continue
        values = {name: column for name, column in _VALUES.items() if column in rows and rows[column].notna().any()}
        say(console, short_key(key))
        table = plain_table()
        table.add_column("trial", justify="right", no_wrap=True)
        table.add_column("state", no_wrap=True)
        for name in (*values, *(name.removeprefix("params_") for name in params)):
            table.add_column(name, justify="right", overflow="fold")
        for row in rows.to_dict("records"):
            cells = [f"{row[name]:.1f}" if row[name] == row[name] else "-" for name in values.values()]
            table.add_row(f"#{row['number']}", row["state"], *cells, *(escape(short(row[name])) for name in params))
        console.print(table)
        say(console)
    if frame.empty:
        say(console, "no such trial yet")
    if warning:
        note(console, warning)
    note(console, "val: validation at a trial's end, after a shorter training if it was pruned; --csv has all columns")
