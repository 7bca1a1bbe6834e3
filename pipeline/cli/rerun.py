"""``sept rerun``: one trial of a sweep trained again, and compared with its stored result."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.errors import EXIT_FAILED
from pipeline.cli.options import DEFAULT_ROOT, JsonOption, RootOption

if TYPE_CHECKING:
    from pipeline.search.again import Rerun
    from sept_core.results import Report, TrialConfig

__all__ = ["rerun"]


def rerun(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    signature: Annotated[str, typer.Argument(help="The trial's signature, or the beginning of it; reports name it.")],
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Train one trial of a sweep again, without a search, and compare it with its stored result. Writes nothing."""
    from rich.console import Console

    from pipeline.cli.showing import say
    from pipeline.search.again import rerun as train
    from pipeline.store import TrialStore, open_files

    console = Console()

    def progress(report: Report, config: TrialConfig) -> None:
        if not as_json and config.epochs:
            measured = "on TEST clips" if config.selection == "paper" else "validation"
            say(console, f"epoch {report.epoch} of {config.epochs}: {measured} {report.objective:.2f}")

    outcome = train(TrialStore(open_files(root)), root, sweep, signature, progress=progress)
    if as_json:
        typer.echo(json.dumps(_plain(outcome), indent=1))
    else:
        for line in _lines(outcome):
            say(console, line)
    if outcome.differing:
        raise typer.Exit(EXIT_FAILED)


def _plain(outcome: Rerun) -> dict[str, Any]:
    from pipeline.report.rows import warning_of

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
    from pipeline.report import method_title
    from pipeline.report.rows import warning_of

    result, stored = outcome.result, outcome.stored
    shown = ("base", "new", "h", "all", "source", "targets")
    names = [name for name in shown if name in result.test and name in stored.test]
    lines = [f"{result.config.dataset}, {method_title(result.config.method)}, {result.signature}, on test clips"]
    lines += [f"  {name:<8}{result.test[name]:8.3f}   stored {stored.test[name]:8.3f}" for name in names]
    if warning := warning_of(result.config.selection):
        lines.append(f"  {warning}")
    lines += [f"  data: {line}" for line in result.warnings]
    if not outcome.differing:
        return [*lines, "The same to the last digit: validation, test, every replica, confusion matrices, curve."]
    differ = f"Not the same: {', '.join(outcome.differing)}; test metrics differ by up to {outcome.largest:.2g} points."
    here = f"computed here with {outcome.here}; the sweep's trials may have had others"
    return [*lines, differ, *(f"  {difference}" for difference in (*outcome.elsewhere, here))]
