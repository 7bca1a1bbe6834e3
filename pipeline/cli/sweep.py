"""``sept sweep``: launch (and resume) a sweep, here or on a cluster, show its progress, and stop it."""

from __future__ import annotations

import json
from shlex import quote
from typing import Annotated

import typer

from pipeline.cli import plan
from pipeline.cli.group import Group
from pipeline.cli.options import (
    DEFAULT_ROOT,
    CpusOption,
    GpusOption,
    JsonOption,
    MlflowOption,
    RootOption,
    WorkersOption,
    rest,
    root_option,
)
from pipeline.text import fillable

__all__ = ["app"]

app = typer.Typer(cls=Group, help="Plan, launch, list, watch or stop sweeps.", no_args_is_help=True)
app.command("plan")(plan.plan)


@app.command()
def launch(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A sweep's YAML file, or the name of a sweep that ships.")
    ],
    root: RootOption = DEFAULT_ROOT,
    workers: WorkersOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Trials per study; may be increased later.")
    ] = None,
    mlflow: MlflowOption = None,
    address: Annotated[
        str, typer.Option("--address", help="'local' starts a Ray; auto and HOST:PORT use a running one.")
    ] = "local",
    fork: Annotated[
        str | None,
        typer.Option("--fork", metavar="NAME", help="Run it as another sweep; trials of both are run once."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed trials once more, after the cause is fixed.")
    ] = False,
) -> None:
    """Run a sweep to its end. The same command resumes it; finished work is kept."""
    from pipeline.cli.launching import run_sweep

    overrides, said = _laid_over(workers, cpus, gpus, trials, fork)
    command = f"sept sweep launch {quote(file)}{root_option(root)}{said}"
    command += f" --address {quote(address)}" if address != "local" else ""
    command += rest(workers, mlflow)
    run_sweep(
        file, root, command=command, overrides=overrides, mlflow=mlflow, address=address, retry_failed=retry_failed
    )


@app.command()
def submit(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A sweep's YAML file, or the name of a sweep that ships.")
    ],
    address: Annotated[
        str, typer.Option("--address", metavar="URL", help="http://HEAD:8265; auto for a Ray on this machine.")
    ],
    root: Annotated[
        str,
        typer.Option(
            "--root",
            metavar="FOLDER",
            envvar="SEPT_ROOT",
            help="s3:// address or absolute path, as the cluster sees it.",
        ),
    ] = DEFAULT_ROOT,
    workers: WorkersOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Trials per study; may be increased later.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option("--mlflow", metavar="URI", help="MLflow server, as the cluster sees it.")
    ] = None,
    fork: Annotated[
        str | None,
        typer.Option("--fork", metavar="NAME", help="Run it as another sweep; trials of both are run once."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed trials once more, after the cause is fixed.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit it without following it.")] = False,
) -> None:
    """Launch a sweep as a job of a running Ray cluster. The same command follows it again, or resumes it."""
    from pipeline.cli.submitting import submit_sweep

    overrides, said = _laid_over(workers, cpus, gpus, trials, fork)
    command = f"sept sweep submit {quote(file)} --address {quote(fillable(address))}{root_option(root)}{said}"
    command += rest(workers, mlflow)
    command += " --retry-failed" if retry_failed else ""
    submit_sweep(
        file,
        root,
        address=address,
        command=command,
        overrides=overrides,
        mlflow=mlflow,
        retry_failed=retry_failed,
        wait=not no_wait,
    )


@app.command("list")
def list_(root: RootOption = DEFAULT_ROOT, as_json: JsonOption = False) -> None:
    """List the sweeps: state, ended trials, best validation and its study, time since the first and the last trial."""
    from pipeline.cli.show_sweeps import list_sweeps

    list_sweeps(root, as_json)


@app.command()
def status(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    root: RootOption = DEFAULT_ROOT,
    watch: Annotated[
        bool, typer.Option("--watch", help="Repeat until the sweep ends, or Ctrl-C; wait for one that has not begun.")
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(
            "--every", metavar="SECONDS", min=0.1, help="With --watch: seconds between two updates; default 2."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the progress of a sweep from its store: on any machine, whether or not it is running."""
    from rich.console import Console

    import pipeline
    from pipeline.cli import show_status
    from pipeline.cli.console import working
    from sept_core.errors import InputError

    if every is not None and not watch:
        raise InputError("--every says how often to look again", fix="give --watch as well")
    if watch:
        with working(f"Looking for {sweep}"):
            from pipeline.store import TrialStore, open_files

        show_status.watch(TrialStore(open_files(root)), sweep, every or 2.0, as_json)
        return
    with working(f"Reading {sweep}"):
        found = pipeline.status(sweep, root)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        show_status.show(Console(), found)


@app.command()
def stop(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    root: RootOption = DEFAULT_ROOT,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait until it has stopped.")
    ] = 60.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Request the stop without waiting.")] = False,
) -> None:
    """Stop a sweep gracefully, on whatever machine it runs; launch it again to resume."""
    from pipeline.cli.stopping import stop_sweep

    stop_sweep(sweep, root, 0.0 if no_wait else wait)


def _laid_over(
    workers: int | None, cpus: int | None, gpus: int | None, trials: int | None, fork: str | None
) -> tuple[dict[str, int | str], str]:
    """The values that replace the file's, and the options that repeat them in a command, except the workers."""
    given = {
        "resources.workers": workers,
        "resources.cpus": cpus,
        "resources.gpus": gpus,
        "trials": trials,
        "name": fork,
    }
    said = f" --cpus {cpus}" if cpus is not None else ""
    said += f" --gpus {gpus}" if gpus is not None else ""
    said += f" --trials {trials}" if trials is not None else ""
    said += f" --fork {quote(fork)}" if fork is not None else ""
    return {key: value for key, value in given.items() if value is not None}, said
