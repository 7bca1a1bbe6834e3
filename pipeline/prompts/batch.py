"""Ranks many clips with one prompt: threads decode ahead, the process encodes, and faults are reported per clip."""

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
    """A clip and its ranking.

    Attributes:
        clip: Path of the clip.
        ranking: Class names with their probabilities, most likely first; empty for a clip that cannot be used.
        fault: Why the clip cannot be used; empty if it can.
    """

    clip: str
    ranking: tuple[tuple[str, float], ...]
    fault: str = ""


def find_clips(places: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Find audio files: the given files, and all audio files in the given folders at any depth.

    Returns:
        The clips; and the other files in the folders (names that are not of audio files), without hidden files.

    Raises:
        InputError: A file or folder does not exist, or a folder has no audio.
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
        top: Number of names to keep of each ranking; None for all.
        batch_size: Number of clips that are encoded together.

    Raises:
        InputError: The names are invalid, or this machine cannot decode audio at all.
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
                    # Equal probabilities stay in the order of the names.
                    ranking = sorted(zip(names, next(rows), strict=True), key=lambda one: -one[1])
                    yield Ranked(str(clip), tuple(ranking[:top]))
                else:
                    yield Ranked(str(clip), (), window)


def _decoded(
    predictor: Predictor, batches: Sequence[Sequence[Path]]
) -> Generator[tuple[Sequence[Path], list[Tensor | str]], None, None]:
    """Every batch with a window or an error message per clip; the next batch is decoded in the meantime."""
    from sept_core.audio.waveform import load_clip

    tower = predictor.audio_tower()
    prepare, rate = tower.preparation(), tower.sample_rate

    def decode(clip: Path) -> Tensor | str:
        try:
            return prepare(load_clip(clip, rate))
        except InputError as error:
            # An error without a file is about this machine, and applies to all clips.
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
