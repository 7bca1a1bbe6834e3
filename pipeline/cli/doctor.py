"""``sept doctor``: what works, what does not, and the command that fixes it."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.errors import EXIT_FAILED
from pipeline.cli.options import DEFAULT_ROOT, JsonOption, MlflowOption, RootOption

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.doctor import Check

__all__ = ["doctor"]


def doctor(
    root: RootOption = DEFAULT_ROOT,
    address: Annotated[str, typer.Option("--address", help="Ray to run on: local, auto or HOST:PORT.")] = "local",
    mlflow: MlflowOption = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Name of the encoder; by default the sweep's, or mini.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Its weights: a local path, an s3:// address, or hub:OWNER/NAME.")
    ] = None,
    text_model: Annotated[
        str | None, typer.Option("--text-model", help="Folder of its tokenizer; given like --weights.")
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec", metavar="SWEEP", help="Check what this sweep needs: a YAML file, or the name of one that ships."
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", metavar="URL", envvar="OPENAI_BASE_URL", help="Server of a language model."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check everything that a sweep needs; each problem comes with the command that fixes it."""
    from rich.console import Console

    console = Console(stderr=as_json)
    found = []
    with console.status("Checking") if console.is_terminal else nullcontext():
        from pipeline.doctor import Wanted, examine, wanted_by

        files, datasets = wanted_by(spec, root, encoder)
        given = {"weights": weights or files.weights, "text_model": text_model or files.text_model}
        wanted = Wanted(root, address, mlflow, files.model_copy(update=given), datasets, base_url)
        for check in examine(wanted):
            found.append(check)
            if not as_json:
                _show(console, check)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in found], indent=1))
    else:
        _sum_up(console, found)
    if any(check.status == "red" for check in found):
        raise typer.Exit(EXIT_FAILED)


def _show(console: Console, check: Check) -> None:
    from rich.text import Text

    # The word too, for people who cannot see the colours.
    line = Text.assemble((f"{check.status:<7}", f"bold {check.status}"), f"{check.name}: {check.said}")
    console.print(line, soft_wrap=True, highlight=False)
    if check.fix and check.status != "green":
        console.print(Text(f"       -> {check.fix}"), soft_wrap=True, highlight=False)


def _sum_up(console: Console, found: list[Check]) -> None:
    from pipeline.cli.console import say

    counts = {status: sum(check.status == status for check in found) for status in ("green", "yellow", "red")}
    say(console, "\n" + ", ".join(f"{count} {status}" for status, count in counts.items()))
