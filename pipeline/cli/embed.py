"""``sept embed``: audio clips to embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import DEFAULT_ROOT, RootOption

__all__ = ["embed"]


def embed(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset; sept data list shows them.")],
    audio: Annotated[
        Path,
        typer.Option("--audio", help="Its folder: as its authors ship it, PALM's copy, or the one that was prepared."),
    ],
    encoder: Annotated[str, typer.Option("--encoder", help="Name of the encoder.")] = "mini",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", help="Its weights: a local path, an s3:// address, or hub:OWNER/NAME to download them."
        ),
    ] = None,
    text_model: Annotated[
        str | None, typer.Option("--text-model", help="Folder of its tokenizer, likewise, if not beside the weights.")
    ] = None,
    root: RootOption = DEFAULT_ROOT,
    force: Annotated[bool, typer.Option("--force", help="Make them again where they are there already.")] = False,
) -> None:
    """Decode and encode a dataset's clips once; sweeps read the embeddings."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from pipeline.cli.showing import say
    from pipeline.embed import embed as run

    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Embedding clips", total=None)
        summary = run(
            dataset,
            audio,
            encoder,
            root,
            lambda done, total: progress.update(task, completed=done, total=total),
            weights=weights,
            text_model=text_model,
            force=force,
        )
    if summary.made:
        rate = f"{summary.seconds:.1f} s ({summary.clips_per_second:.0f} clips/s)"
        say(console, f"{summary.dataset}: {summary.clips} clips embedded with {summary.encoder} in {rate}")
    else:
        say(
            console,
            f"{summary.dataset}: the embeddings of these {summary.clips} clips are there; --force makes them anew",
        )
    say(console, summary.where)
