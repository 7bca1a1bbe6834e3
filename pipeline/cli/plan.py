"""``sept sweep plan``: what a sweep would run, what is missing for it, and how long it takes."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pipeline.cli.errors import EXIT_INPUT
from pipeline.cli.options import DEFAULT_ROOT, JsonOption, RootOption, WorkersOption

__all__ = ["plan"]


def plan(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME",
            help="YAML file of a sweep, or the name of an included sweep or of a launched one.",
        ),
    ],
    root: RootOption = DEFAULT_ROOT,
    workers: WorkersOption = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=0, help="Number of GPUs to plan for; default: those of this machine.")
    ] = None,
    price: Annotated[
        float | None,
        typer.Option("--price", min=0, help="Price of a GPU-hour, or of a worker-hour if no trial uses a GPU."),
    ] = None,
    calibrate: Annotated[
        float,
        typer.Option(
            "--calibrate",
            metavar="SECONDS",
            min=0,
            help="About how long to time each study without earlier trials; 0: not at all.",
        ),
    ] = 3.0,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Trials of each study, as for launch.")] = None,
    fork: Annotated[str | None, typer.Option("--fork", metavar="NAME", help="Another name, as for launch.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a sweep would run, what is missing, and how long it takes, without running or writing anything.

    The exit code is 2 if something is missing.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from pipeline.cli.show_plan import show_plan

    given = {"resources.workers": workers, "trials": trials, "name": fork}
    overrides = {key: value for key, value in given.items() if value is not None}
    # With --json, only the JSON goes to the standard output.
    console = Console(stderr=as_json)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("Looking for results and inputs", total=None)
        from pipeline.plan.unprepared import load_sweep_to_plan

        # Errors in the file are reported before torch is imported.
        spec, unprepared = load_sweep_to_plan(file, root, overrides)
        from pipeline.plan.planning import plan_sweep

        found = plan_sweep(
            spec,
            root,
            unprepared=unprepared,
            gpus=gpus,
            calibrate_s=calibrate,
            progress=lambda done, total, name: progress.update(
                task, completed=done, total=total, description=f"Calibrating {name}"
            ),
        )
    if as_json:
        typer.echo(json.dumps(found.to_json(price), indent=1))
    else:
        show_plan(console, spec, found, price)
    if not found.runnable:
        raise typer.Exit(EXIT_INPUT)
