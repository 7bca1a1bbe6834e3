"""``sept sweep``: launch (and resume) a sweep, and tell how far it is."""

from __future__ import annotations

import json
from shlex import quote
from typing import Annotated, Any

import typer

from pipeline.cli.options import DEFAULT_ROOT, JsonOption, MlflowOption, RootOption, WorkersOption, rest, root_option

__all__ = ["app"]

app = typer.Typer(help="Launch a sweep, or see how far it is.", no_args_is_help=True)


@app.command()
def launch(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A sweep's YAML, or the name of one that ships.")],
    root: RootOption = DEFAULT_ROOT,
    workers: WorkersOption = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Trials of each study; may be raised.")] = None,
    mlflow: MlflowOption = None,
) -> None:
    """Run a sweep to its end. The same command resumes it, with what is done kept."""
    from pipeline.cli.launching import run_sweep

    overrides: dict[str, Any] = {}
    if workers is not None:
        overrides["resources.workers"] = workers
    if trials is not None:
        overrides["trials"] = trials
    command = f"sept sweep launch {quote(file)}{root_option(root)}"
    command += f" --trials {trials}" if trials is not None else ""
    command += rest(workers, mlflow)
    run_sweep(file, root, command=command, overrides=overrides, mlflow=mlflow)


@app.command()
def status(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    root: RootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Tell how far a sweep is, from its store alone."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from pipeline.cli.showing import say
    from pipeline.status import sweep_status
    from pipeline.store import TrialStore, open_files

    found = sweep_status(TrialStore(open_files(root)), sweep)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
        return
    console = Console()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("study", no_wrap=True)
    for name in ("finished", "pruned", "failed", "begun", "budget", "best val"):
        table.add_column(name, justify="right")
    for study in found.studies:
        best = "" if study.best_objective is None else f"{study.best_objective:.1f}"
        counts = (study.finished, study.pruned, study.failed, study.begun, study.budget)
        table.add_row(study.key, *map(str, counts), best)
    console.print(table)
    say(console)
    say(console, f"{found.ended} of {found.budget} trials ended; {found.running or 'nobody runs it at the moment'}")
    for line in found.failures:
        say(console, line)
