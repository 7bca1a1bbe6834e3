"""``sept embed``: turns audio clips into embeddings."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import DEFAULT_ROOT, GpusOption, StoreOption

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from pipeline.embed import EmbedSummary
    from sept_core.audio.noise import Noise

__all__ = ["embed"]

# Seconds between two lines of progress if there is no terminal for a bar.
_LINE_EVERY_S = 30.0
_SNR = "20,10,0"


def embed(
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Names; sept data list shows them.")],
    audio: Annotated[
        str,
        typer.Option(
            "--audio",
            metavar="PLACE",
            help="Folder, zip, or s3:// address of either: as its authors publish it, PALM's copy, or as prepared. "
            "For several datasets, a place that contains a folder with the name of each.",
        ),
    ],
    encoder: Annotated[str, typer.Option("--encoder", help="Name of the encoder.")] = "mini",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", help="Its weights: a local path, an s3:// address, or hub:OWNER/NAME to download them."
        ),
    ] = None,
    text_model: Annotated[
        str | None,
        typer.Option(
            "--text-model", help="Folder of its tokenizer, if it is not next to the weights; given like --weights."
        ),
    ] = None,
    root: StoreOption = DEFAULT_ROOT,
    address: Annotated[
        str,
        typer.Option(
            "--address", help="Ray to run on: local (started for more than a few hundred clips), auto, or HOST:PORT."
        ),
    ] = "local",
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, help="Number of encoding processes; by default one per GPU.")
    ] = None,
    gpus: GpusOption = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            help="Clips encoded at once; by default 4 on CPUs, and on GPUs as many as the smallest has room for.",
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out clips that cannot be used; errors.parquet lists them.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Make existing embeddings again.")] = False,
    noise: Annotated[
        str | None,
        typer.Option(
            "--noise",
            metavar="KIND,...",
            help="Add noise to the clips: babble, rain or white, or several. For tests alone: sept robust reads these "
            "embeddings, no sweep does.",
        ),
    ] = None,
    snr: Annotated[
        str | None,
        typer.Option("--snr", metavar="DB,...", help=f"With --noise: signal-to-noise ratios in dB; {_SNR} by default."),
    ] = None,
) -> None:
    """Decode and encode datasets once; sweeps read the embeddings. After an interruption the same command resumes."""
    noises = _noises(noise, snr)
    from rich.console import Console

    from pipeline.cli.console import working

    with working("Looking at the clips"):
        from pipeline.embed import embed as run
        from pipeline.spec import EncoderFiles
        from pipeline.store import check_writable

        check_writable(root)
    console = Console()
    _end_as_interrupted()
    with _Progress(console) as progress:
        summaries = run(
            datasets,
            audio,
            EncoderFiles(name=encoder, weights=weights, text_model=text_model),
            root,
            progress.tell,
            address=address,
            concurrency=concurrency,
            gpus=gpus,
            batch_size=batch_size,
            skip_bad=skip_bad,
            force=force,
            noises=noises,
            started=_end_as_interrupted,
        )
    for summary in summaries:
        _show(console, summary)


def _noises(kinds: str | None, levels: str | None) -> list[Noise]:
    """All kinds at all levels, each once.

    Raises:
        InputError: There is no such kind or level, or levels are given without a kind.
    """
    from sept_core.audio.noise import Noise
    from sept_core.errors import InputError

    if kinds is None:
        if levels is not None:
            raise InputError("--snr alone does nothing", fix="also give --noise white")
        return []
    try:
        ratios = [float(level) for level in (levels or _SNR).split(",")]
    except ValueError:
        raise InputError(f"--snr {levels} is not a list of numbers", fix=f"write --snr {_SNR}") from None
    return list(dict.fromkeys(Noise(kind.strip(), ratio) for kind in kinds.split(",") for ratio in ratios))


def _end_as_interrupted() -> None:
    """Handle SIGTERM like Ctrl-C: complete parts are kept, and the exit code says that the same command resumes."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, interrupt)


def _show(console: Console, summary: EmbedSummary) -> None:
    from pipeline.cli.console import say
    from pipeline.text import plural

    name = f"{summary.dataset} with {summary.noise}" if summary.noise else summary.dataset
    if summary.made:
        rate = f"{summary.seconds:.1f} s ({summary.clips_per_second:.0f} clips/s)"
        before = f", {summary.found} of them before" if summary.found else ""
        say(console, f"{name}: {summary.clips} clips embedded with {summary.encoder} in {rate}{before}")
    else:
        say(
            console,
            f"{name}: the embeddings of these {summary.clips} clips exist already; --force makes them again",
        )
    for line in summary.notes:
        say(console, f"note: {line}")
    for line in summary.warnings:
        say(console, f"warning: {line}")
    if summary.silent:
        clips = f"{plural(summary.silent, 'clip')} of {summary.clips + summary.skipped}"
        say(console, f"warning: {clips} left out, since they have no sound as published; errors.parquet lists them")
    if summary.skipped > summary.silent:
        say(console, f"{plural(summary.skipped - summary.silent, 'clip')} left out; errors.parquet gives the reasons")
    say(console, summary.where)


class _Progress:
    """A bar for each data set on a terminal, else a line from time to time."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._console = console
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._said = time.monotonic()

    def __enter__(self) -> _Progress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tell(self, dataset: str, done: int, total: int) -> None:
        """Show how many clips of a data set are done."""
        from pipeline.cli.console import say

        now = time.monotonic()
        began, first = self._began.setdefault(dataset, (now, done))
        rate = (done - first) / (now - began) if now > began else 0.0
        shown = f"{rate:.0f} clips/s" if rate else ""
        if dataset not in self._tasks:
            self._tasks[dataset] = self._bars.add_task(dataset, total=total, rate="")
        self._bars.update(self._tasks[dataset], completed=done, rate=shown)
        if not self._console.is_terminal and now - self._said > _LINE_EVERY_S:
            self._said = now
            left = f", {(total - done) / rate / 60:.0f} min left" if rate else ""
            say(self._console, f"{dataset}: {done} of {total} clips ({shown}{left})")
