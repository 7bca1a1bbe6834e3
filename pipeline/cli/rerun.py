"""``sept rerun``: train trials of a sweep again and compare them with their stored results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.errors import EXIT_FAILED
from pipeline.cli.options import DEFAULT_ROOT, JsonOption, RootOption
from pipeline.text import plural

if TYPE_CHECKING:
    from pipeline.reports.rerun import Rerun
    from sept_core.results import Report
    from sept_core.trial_config import TrialConfig

__all__ = ["rerun"]


def rerun(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    signature: Annotated[
        str,
        typer.Argument(
            metavar="SIGNATURE|STUDY",
            help="Signature of a trial or the beginning of it, as in reports. Or a row of the table, such as "
            "ESC10.coop: all trials behind it, and the one for use. With selection: strict a row has the trials of "
            "all its test folds, and the study of one fold, such as ESC10.coop.fold-3, has those of this fold alone.",
        ),
    ],
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Train a trial of a sweep again, without a search, and compare it with its stored result. Writes nothing."""
    from rich.console import Console

    from pipeline.cli.console import say, working

    console = Console()
    with working(f"Looking for {signature}"):
        from pipeline.reports.rerun import meant_trials
        from pipeline.reports.rerun import rerun as train
        from pipeline.store import TrialStore, open_files

        store = TrialStore(open_files(root))
        meant = meant_trials(store, sweep, signature)
    if not as_json:
        say(console, f"Running {plural(len(meant), 'trial')} again")

    def progress(report: Report, config: TrialConfig) -> None:
        if not as_json and config.epochs:
            measured = "on TEST clips" if config.selection == "paper" else "validation"
            say(console, f"epoch {report.epoch} of {config.epochs}: {measured} {report.objective:.2f}")

    outcomes = []
    for one in meant:
        outcomes.append(train(store, root, sweep, one, progress=progress))
        for line in _lines(outcomes[-1]) if not as_json else ():
            say(console, line)
    if as_json:
        plain = [_plain(outcome) for outcome in outcomes]
        typer.echo(json.dumps(plain[0] if len(plain) == 1 else plain, indent=1))
    if any(outcome.differing for outcome in outcomes):
        raise typer.Exit(EXIT_FAILED)


def _plain(outcome: Rerun) -> dict[str, Any]:
    from pipeline.reports.rows import warning_of

    return {
        "equal": not outcome.differing,
        "differing": outcome.differing,
        "largest": outcome.largest,
        "elsewhere": outcome.elsewhere,
        "here": outcome.here,
        "warning": warning_of(outcome.result.config.selection),
        "result": outcome.result.to_json(),
    }


def _lines(outcome: Rerun) -> list[str]:
    from pipeline.reports import method_title
    from pipeline.reports.rows import warning_of

    result, stored = outcome.result, outcome.stored
    shown = ("base", "new", "h", "all", "accuracy", "source", "targets")
    names = [name for name in shown if name in result.test and name in stored.test]
    lines = [f"{result.config.dataset}, {method_title(result.config.method)}, {result.signature}, on test clips"]
    lines += [f"  {name:<8}{result.test[name]:8.3f}   stored {stored.test[name]:8.3f}" for name in names]
    if warning := warning_of(result.config.selection):
        lines.append(f"  {warning}")
    lines += [f"  data: {line}" for line in result.warnings]
    if not outcome.differing:
        clips = "which test clips were right, " if stored.tested else ""
        same = f"The same to the last digit: validation, test, every replica, confusion matrices, {clips}curve."
        return [*lines, same]
    differ = f"Not the same: {', '.join(outcome.differing)}; test metrics differ by up to {outcome.largest:.2g} points."
    here = f"computed here with {outcome.here}; the trials of the sweep may have used others"
    return [*lines, differ, *(f"  {difference}" for difference in (*outcome.elsewhere, here))]
