"""The entry point of the command line with all its groups. Imports neither torch, Ray, MLflow nor pydantic."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pipeline.cli import (
    ablate,
    best,
    compare,
    data,
    data_init,
    doctor,
    embed,
    export,
    init,
    neighbors,
    predict,
    quickstart,
    report,
    rerun,
    robust,
    show,
    sweep,
    track,
    trials,
    ui,
)
from pipeline.cli.bypass_proxy import ask_loopback_directly
from pipeline.cli.errors import guarded, take_debug
from pipeline.cli.group import Group
from pipeline.cluster.liveness import ray_is_lost
from sept_core import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Group,
    name="sept",
    help="Semantically expanded prompt tuning (SEPT) of audio-language models: hyper-parameter sweeps from audio clips "
    "to a ranked result.",
    epilog="Exit codes: 0 done, 1 failed, 2 some input cannot be used, 3 stopped by `sept sweep stop`, "
    "75 interrupted (the same command resumes).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# In the order in which users need them, which is that of the help.
app.command("quickstart")(quickstart.quickstart)
app.command("doctor")(doctor.doctor)
app.command("init")(init.init)
data.app.command("init")(data_init.init)
app.add_typer(data.app, name="data")
app.command("neighbors")(neighbors.neighbors)
app.command("embed")(embed.embed)
app.add_typer(sweep.app, name="sweep")
app.command("ui")(ui.ui)
app.add_typer(track.app, name="track")
app.command("report")(report.report)
app.command("rerun")(rerun.rerun)
app.command("ablate")(ablate.ablate)
app.command("best")(best.best)
app.command("trials")(trials.trials)
app.command("compare")(compare.compare)
app.command("show")(show.show)
app.command("robust")(robust.robust)
app.command("export")(export.export)
app.command("predict")(predict.predict)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sept {__version__}")
        raise typer.Exit


@app.callback()
def _sept(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; at any position.")] = False,
) -> None:
    # Both act before this is called: --version in its callback, --debug in main().
    del version, debug


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    ask_loopback_directly()
    kept, debug = take_debug(sys.argv[1:] if arguments is None else arguments)
    code = guarded(lambda: app(kept, prog_name="sept"), debug)
    if ray_is_lost():
        # Ray's exit handlers would wait for processes that are gone, and change the exit code.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
