"""``sept predict``: rank class names for clips with an exported prompt."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.errors import EXIT_INPUT
from pipeline.cli.options import DEFAULT_ROOT, JsonOption, MlflowOption, RootOption
from sept_core.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.prompts import Ranked
    from sept_core.prediction import Predictor
    from sept_core.prompt import Prompt

__all__ = ["predict"]

_SHOWN = 5
_LISTED = 30
_NO_AUDIO = "the name is not that of an audio file"


def predict(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP...", help="Audio files, or folders of them.")],
    prompt: Annotated[
        str,
        typer.Option(
            "--prompt",
            metavar="PLACE",
            help="An exported prompt: a folder, s3://..., models:/NAME/VERSION or runs:/RUN/NAME.",
        ),
    ],
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Any names, separated by commas; default: the classes of the prompt's dataset."),
    ] = None,
    classes_file: Annotated[
        Path | None, typer.Option("--classes-file", metavar="FILE", help="A text file with one name per line.")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, help=f"Names to keep of each ranking; {_SHOWN} are shown by default."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write a .csv or .parquet file: a row per clip and class."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="The encoder's weights: a local path, an s3:// address, or hub:OWNER/NAME.",
        ),
    ] = None,
    text_model: Annotated[
        str | None, typer.Option("--text-model", help="Folder of its tokenizer, if it is not next to the weights.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Clips encoded together.")] = 32,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out clips that cannot be used.")] = False,
    root: RootOption = DEFAULT_ROOT,
    mlflow: MlflowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rank class names for clips, with probabilities. The names may be new to the training."""
    from pipeline.cli.console import wide_console, working

    with working("Loading the prompt and its encoder"):
        from pipeline.prompts import Ranked, check_output, fetch_prompt, find_clips, rank_clips, write_rows

        if out is not None:
            check_output(out)
        names = _names(classes, classes_file)
        found, others = find_clips(clips)
        learned = fetch_prompt(prompt, _tracking_uri(prompt, root, mlflow))
        names = names or list(learned.classes)
        predictor = _predictor(learned, weights, text_model)
    console = wide_console()
    kept = top if top is not None or out is not None else _SHOWN
    ranked: list[Ranked] = []
    written = False
    with _progress(len(found)) as advance:

        def each() -> Iterator[Ranked]:
            for one in rank_clips(predictor, found, names, None if as_json and top is None else kept, batch_size):
                advance()
                # With --out, rankings go to the file and are not kept in memory.
                if out is None or as_json or one.fault:
                    ranked.append(one)
                yield one

        if out is not None:
            written = write_rows(out, each())
        else:
            for _ in each():
                pass
    bad = [one for one in ranked if one.fault]
    if as_json:
        left_out = [Ranked(str(file), (), _NO_AUDIO) for file in others]
        typer.echo(json.dumps([_plain(one) for one in [*ranked, *left_out]], indent=1))
    else:
        if out is None:
            _show(console, ranked, top or _SHOWN)
        if written and out is not None:
            _say_written(console, out, len(found) - len(bad))
    _tell(f"{len(bad)} of {len(found)} clips cannot be used:", [f"{one.clip}: {one.fault}" for one in bad])
    _tell(f"Left out, because the name is not that of an audio file ({len(others)}):", [str(file) for file in others])
    if out is not None and not written:
        _say_not_written(out)
    if len(bad) == len(found) or (bad and not skip_bad):
        raise typer.Exit(EXIT_INPUT)


def _names(classes: str | None, file: Path | None) -> list[str]:
    """The given names; empty if there are none."""
    if classes is not None and file is not None:
        raise InputError("class names are given twice", fix="give --classes or --classes-file, not both")
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise InputError(f"cannot be read ({reason})", where=str(file), fix="give a text file") from error
        names, where = [line.strip() for line in lines if line.strip()], str(file)
    elif classes is not None:
        names, where = [name.strip() for name in classes.split(",") if name.strip()], "--classes"
    else:
        return []
    from sept_core.classnames import check_names

    try:
        check_names(names)
    except InputError as error:
        raise InputError(error.what, where=where, fix=error.fix) from error
    return names


def _tracking_uri(prompt: str, root: str, mlflow: str | None) -> str | None:
    """The address of MLflow, for a prompt in it: the given one, or the one in the environment, or the database in the
    results folder.
    """
    from pipeline.prompts import MLFLOW_PLACES

    if not prompt.startswith(MLFLOW_PLACES):
        return None
    from pipeline.tracking import default_target

    target = default_target(root, mlflow or os.environ.get("MLFLOW_TRACKING_URI") or None)
    if target.database is not None and not target.database.is_file():
        # A request would create it.
        fix = "give MLflow's address with --mlflow, or its results folder with --root"
        raise InputError("no MLflow database", where=str(target.database), fix=fix)
    return target.uri


def _predictor(prompt: Prompt, weights: str | None, text_model: str | None) -> Predictor:
    import torch

    from pipeline.store.fetch import fetch
    from sept_core.encoders import load_encoder
    from sept_core.prediction import Predictor

    encoder = load_encoder(str(prompt.card["encoder"]["name"]), weights, text_model, fetch)
    if torch.cuda.is_available():
        encoder.text.to("cuda")
    return Predictor(prompt, encoder)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], object]]:
    """A progress bar on the standard error, if that is a terminal and there is more than one clip."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal or total < 2) as bars:
        task = bars.add_task("Ranking", total=total)
        yield lambda: bars.advance(task)


def _show(console: Console, ranked: list[Ranked], shown: int) -> None:
    from rich.markup import escape

    from pipeline.cli.console import plain_table

    good = [one for one in ranked if not one.fault]
    if not good:
        return
    table = plain_table()
    table.add_column("clip", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("probability", justify="right")
    for one in good:
        for rank, (name, probability) in enumerate(one.ranking[:shown]):
            table.add_row(escape(one.clip) if rank == 0 else "", escape(name), f"{probability:.3f}")
    console.print(table)


def _say_written(console: Console, out: Path, clips: int) -> None:
    from pipeline.cli.console import say
    from pipeline.text import plural

    say(console, f"{plural(clips, 'clip')} ranked in {out}")


def _say_not_written(out: Path) -> None:
    from rich.console import Console

    from pipeline.cli.console import say

    say(Console(stderr=True), f"{out} is not written" + (": the existing file stays" if out.exists() else ""))


def _tell(heading: str, lines: list[str]) -> None:
    """Write a list to the standard error, if it is not empty."""
    from rich.console import Console

    from pipeline.cli.console import say

    if not lines:
        return
    console = Console(stderr=True)
    say(console, heading)
    for line in lines[:_LISTED]:
        say(console, f"  {line}")
    if len(lines) > _LISTED:
        say(console, f"  and {len(lines) - _LISTED} more; --json lists all")


def _plain(one: Ranked) -> dict[str, object]:
    ranking: object = [{"class": name, "probability": probability} for name, probability in one.ranking]
    return {"clip": one.clip, "ranking": ranking} | ({"fault": one.fault} if one.fault else {})
