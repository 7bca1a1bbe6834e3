"""Cross-validation of the audio tower's settings on the clips of the pretraining.

    python -m infra.mini.crossvalidate --esc10 DIR --fsdd DIR [--splits 0 1 2] [--steps 500]

Split k holds out speaker k of the three and a third of the sources of ESC-10's fold 1 (takes of one source stay
together). ESC-10's other folds and the other speakers are not read.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress

from infra.mini.audio import AudioTraining, draw_prompts, train_audio
from infra.mini.clips import (
    SEEN_SPEAKERS,
    Clip,
    real_clips,
    spectrograms,
    synthetic_clips,
)
from infra.mini.evaluate import TASKS
from infra.mini.vocabulary import DIGITS, ESC10, read_vocabulary
from sept_core.encoders.mini.audio import MiniAudioConfig, MiniAudioTower
from sept_core.encoders.mini.loading import WEIGHTS
from sept_core.encoders.mini.text import MiniTextTower
from sept_core.errors import InputError

__all__ = ["cross_validate", "split_of"]


def split_of(clips: Sequence[Clip]) -> list[int]:
    """The split 0, 1 or 2 that holds each clip out: by speaker, and by source within a class of ESC-10."""
    takes: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        if clip.kind == "esc10":
            takes[clip.label].append(clip.source)
    split = {speaker: index for index, speaker in enumerate(SEEN_SPEAKERS)}
    for sources in takes.values():
        # The sources with the most takes first, so that the splits have about the same size.
        ordered = sorted(set(sources), key=lambda source: (-sources.count(source), source))
        split |= {source: rank % 3 for rank, source in enumerate(ordered)}
    return [split[clip.source if clip.kind == "esc10" else clip.fold] for clip in clips]


def cross_validate(
    esc10: Path, fsdd: Path, splits: Sequence[int], settings: AudioTraining, synthetic: int, *, progress: Progress
) -> dict[str, float]:
    """Zero-shot accuracy in percent on the held-out clips of ``splits`` together, by dataset.

    The text tower is the shipped one; it was trained without audio.
    """
    text = MiniTextTower.from_folder(WEIGHTS)
    clips = real_clips(esc10, fsdd)
    config = MiniAudioConfig()
    ear = MiniAudioTower(config)
    real = spectrograms(clips, ear, progress=progress)
    extra = synthetic_clips(synthetic, ear, progress=progress)
    prompts = draw_prompts(text, read_vocabulary(), tuple(dict.fromkeys((*ESC10, *DIGITS, *extra.labels))))
    right: dict[str, list[bool]] = {dataset: [] for dataset in TASKS}
    for split in splits:
        held = [own == split for own in split_of(clips)]
        torch.manual_seed(split)
        generator = torch.Generator().manual_seed(split)
        heard = real.where([not out for out in held]) + extra
        tower, _ = train_audio(heard, prompts, config, settings, generator=generator, progress=progress)
        for dataset, (template, names) in TASKS.items():
            unheard = real.where([out and clip.kind == dataset for out, clip in zip(held, clips, strict=True)])
            texts = F.normalize(text.encode([template.format(name) for name in names]), dim=1)
            chosen = (tower.encode(unheard.power) @ texts.T).argmax(dim=1).tolist()
            right[dataset] += [names[index] == label for index, label in zip(chosen, unheard.labels, strict=True)]
    return {dataset: round(100 * sum(hits) / len(hits), 1) for dataset, hits in right.items()}


def main() -> int:
    """Print the held-out accuracies."""
    parser = argparse.ArgumentParser(prog="python -m infra.mini.crossvalidate")
    parser.add_argument("--esc10", type=Path, required=True, help="ESC-10's folder of class folders")
    parser.add_argument("--fsdd", type=Path, required=True, help="FSDD's folder (above recordings/)")
    parser.add_argument("--splits", type=int, nargs="+", choices=(0, 1, 2), default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=AudioTraining.steps, help="optimisation steps of each training")
    parser.add_argument("--synthetic", type=int, default=14, help="synthesised clips a recipe")
    arguments = parser.parse_args()
    console = Console()
    torch.set_num_threads(1)
    settings = replace(AudioTraining(), steps=arguments.steps)
    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            accuracies = cross_validate(
                arguments.esc10,
                arguments.fsdd,
                arguments.splits,
                settings,
                arguments.synthetic,
                progress=progress,
            )
    except InputError as error:
        console.print(str(error), style="red", soft_wrap=True, markup=False)
        return 2
    console.print(f"splits {arguments.splits}, {arguments.steps} steps: {accuracies}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
