"""Many clips ranked by one prompt: threads decode ahead, the process encodes, and what is bad is told clip by clip."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.audio.source import is_hidden
from sept_core.audio.formats import AUDIO_SUFFIXES
from sept_core.classnames import check_names
from sept_core.errors import InputError
from sept_core.text import some

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.prediction import Predictor

__all__ = ["Ranked", "find_clips", "rank_clips"]


@dataclass(frozen=True)
class Ranked:
    """A clip and what was made of it.

    Attributes:
        clip: Its path.
        ranking: Class names with their probabilities, the likeliest first; empty for a clip that cannot be used.
        fault: Why it cannot be used; empty where it can.
    """

    clip: str
    ranking: tuple[tuple[str, float], ...]
    fault: str = ""


def find_clips(places: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The audio files that are meant: files as they are given, of folders all audio in them, at any depth.

    Returns:
        The clips, and the other files of the folders: those whose names are not of audio, without those that systems
        add by themselves.

    Raises:
        InputError: There is no such file or folder, or a folder without audio.
    """
    found: dict[Path, None] = {}
    others: dict[Path, None] = {}
    for place in places:
        if place.is_dir():
            files = [
                file
                for file in sorted(place.rglob("*"))
                if not is_hidden(file.relative_to(place).as_posix()) and file.is_file()
            ]
            inside = [file for file in files if file.suffix.lower() in AUDIO_SUFFIXES]
            if not inside:
                fix = f"name a folder with {', '.join(sorted(AUDIO_SUFFIXES))} files"
                there = f"; {some([str(file.relative_to(place)) for file in files])} there" if files else ""
                raise InputError(f"no audio in this folder{there}", where=str(place), fix=fix)
            found |= dict.fromkeys(inside)
            others |= dict.fromkeys(file for file in files if file not in found)
        elif place.is_file():
            found[place] = None
        else:
            raise InputError("no such file or folder", where=str(place), fix="check the path")
    return list(found), [file for file in others if file not in found]


def rank_clips(
    predictor: Predictor, clips: Sequence[Path], names: Sequence[str], top: int | None = None, batch_size: int = 32
) -> Iterator[Ranked]:
    """Rank class names for each clip, in the order of the clips.

    Args:
        predictor: The prompt.
        clips: Audio files.
        names: The class names.
        top: How many of each ranking are kept; None for all.
        batch_size: Clips that are encoded together.

    Raises:
        InputError: The names cannot be used, or it is this machine that cannot decode.
    """
    import torch

    check_names(names)
    batches = [clips[start : start + batch_size] for start in range(0, len(clips), batch_size)]
    with closing(_decoded(predictor, batches)) as decoded:
        for batch, windows in decoded:
            good = [window for window in windows if isinstance(window, torch.Tensor)]
            rows: Iterator[list[float]] = iter(())
            if good:
                probabilities = predictor.probabilities(predictor.encode(torch.stack(good)), names)
                rows = iter(probabilities.tolist())
            for clip, window in zip(batch, windows, strict=True):
                if isinstance(window, torch.Tensor):
                    # Of equals, the one that was named first.
                    ranking = sorted(zip(names, next(rows), strict=True), key=lambda one: -one[1])
                    yield Ranked(str(clip), tuple(ranking[:top]))
                else:
                    yield Ranked(str(clip), (), window)


def _decoded(
    predictor: Predictor, batches: Sequence[Sequence[Path]]
) -> Generator[tuple[Sequence[Path], list[Tensor | str]], None, None]:
    """Every batch with its windows, or what is wrong with a clip in place of one; the next is decoded meanwhile."""
    from sept_core.audio.waveform import load_clip

    tower = predictor.audio_tower()
    prepare, rate = tower.preparation(), tower.sample_rate

    def decode(clip: Path) -> Tensor | str:
        try:
            return prepare(load_clip(clip, rate))
        except InputError as error:
            # Without a file to blame it is about this machine, and stands for all clips.
            if not error.where:
                raise
            return error.what

    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")
    try:
        ahead = [pool.submit(decode, clip) for clip in batches[0]] if batches else []
        for index, batch in enumerate(batches):
            following = batches[index + 1] if index + 1 < len(batches) else ()
            waiting, ahead = ahead, [pool.submit(decode, clip) for clip in following]
            yield batch, [future.result() for future in waiting]
    finally:
        pool.shutdown(cancel_futures=True)
