"""``sept compare``: what differs between trials, and by how much on the clips that they share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.console import note, page_console, plain_table, say, working
from pipeline.cli.options import DEFAULT_ROOT, JsonOption, RootOption

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.reports.compare import Comparison

__all__ = ["compare"]


def compare(
    trials: Annotated[
        list[str],
        typer.Argument(
            metavar="A B ...",
            help="SWEEP/STUDY/NUMBER, such as quickstart/ESC10.coop/3; SWEEP/STUDY for its best configuration; or the "
            "beginning of a signature. SWEEP/ may be left out if only one trial is meant without it.",
        ),
    ],
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Compare trials of one or several sweeps with the first one: only what differs, on validation clips.

    Differences are paired over the replicas (test fold and seed) that both have. The interval allows for folds that
    share clips: of trials that do not differ, at most 5 % of comparisons show a difference.
    """
    with working("Reading the trials"):
        import pipeline

        found = pipeline.compare(trials, root)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        _show(page_console(), found)


def _show(console: Console, found: Comparison) -> None:
    from pipeline.reports.find_row import short_key

    names = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(found.trials)]
    for name, one in zip(names, found.trials, strict=True):
        say(console, f"{name}  {one.sweep}/{short_key(one.study)}/{one.number}  {one.signature[:8]}")
    say(console)
    if found.differing:
        _differing(console, names, found)
    _validation(console, names, found)
    for name, pair in zip(names[1:], found.paired, strict=True):
        if pair.interval is None:
            note(console, f"{name}: {pair.reason}")
            continue
        said = f"{'higher' if pair.interval[0] > 0 else 'lower'} than A" if pair.differs else "no difference shown"
        folds = f"{pair.replicas} shared replicas of {pair.folds} test folds"
        note(console, f"{name}: {said} ({folds})")
    if found.warning:
        note(console, found.warning)
    note(
        console,
        f"On {'test' if found.warning else 'validation'} clips, in percent; differences and their 95 % interval (for "
        "all comparisons together) over shared replicas. The best of many trials is partly best by chance, which this "
        "does not correct for.",
    )


def _differing(console: Console, names: str, found: Comparison) -> None:
    from rich.markup import escape

    table = plain_table()
    table.add_column("differs", no_wrap=True)
    for name in names:
        table.add_column(name, overflow="fold")
    for name, values in found.differing.items():
        table.add_row(name, *(escape(_short(value)) for value in values))
    console.print(table)
    say(console)


def _short(value: Any) -> str:
    from pipeline.text import short

    if isinstance(value, list):
        return " ".join(map(str, value))
    return "-" if value is None else short(value)


def _validation(console: Console, names: str, found: Comparison) -> None:
    table = plain_table()
    table.add_column("trial")
    metrics = list(dict.fromkeys(name for one in found.trials for name in one.validation))
    titles = {name: "H" if name == "h" else name for name in metrics}
    for name in metrics:
        table.add_column(titles[name], justify="right")
    headline = next(iter(metrics))
    for name in metrics:
        table.add_column(f"{titles[name]} - A" + (" (interval)" if name == headline else ""), justify="right")
    for name, one, pair in zip(names, found.trials, (None, *found.paired), strict=True):
        cells = [f"{one.validation[metric]:.1f}" if metric in one.validation else "-" for metric in metrics]
        if pair is not None:
            gains = {metric: f"{value:+.1f}" for metric, value in pair.differences.items()}
            if pair.interval is not None:
                gains[headline] += f" ({pair.interval[0]:+.1f} to {pair.interval[1]:+.1f})"
            cells += [gains.get(metric, "-") for metric in metrics]
        table.add_row(name, *cells)
    console.print(table)
    say(console)
