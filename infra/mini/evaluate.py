"""The figures of the model card: zero-shot accuracy on clips that the pretraining did not use.

python -m infra.mini.evaluate --esc10 DIR --fsdd DIR [--weights DIR]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from infra.mini.clips import Clip, unheard_clips
from infra.mini.vocabulary import DIGITS, ESC10
from sept_core.audio.waveform import load_clip
from sept_core.encoders.mini.loading import WEIGHTS, load_mini
from sept_core.errors import InputError

__all__ = ["Figures", "zero_shot"]

# Each dataset's template of the benchmark, and its class names.
TASKS = {
    "esc10": ("This is a characteristic sound of {}.", ESC10),
    "fsdd": ("This is a recording of the spoken word {}.", DIGITS),
}


@dataclass(frozen=True)
class Figures:
    """Zero-shot accuracies of one dataset's unheard clips, in percent.

    Attributes:
        dataset: ``esc10`` or ``fsdd``.
        clips: Number of clips.
        all_classes: Argmax over all ten classes.
        base: Base clips over base names (the first half of the names in alphabetical order).
        new: New clips over new names.
        by_fold: ``all_classes`` within each fold or speaker.
        by_class: ``all_classes`` within each class.
    """

    dataset: str
    clips: int
    all_classes: float
    base: float
    new: float
    by_fold: dict[str, float]
    by_class: dict[str, float]


def zero_shot(esc10: Path, fsdd: Path, weights: Path = WEIGHTS, *, progress: Progress) -> list[Figures]:
    """Zero-shot accuracy of the encoder in ``weights`` on ESC-10's folds 2-5 and FSDD's three unheard speakers.

    Raises:
        InputError: A folder holds no clips of its dataset, or ``weights`` has no encoder.
    """
    encoder = load_mini(weights)
    tower = encoder.load_audio()
    clips = unheard_clips(esc10, fsdd)
    windows = [
        tower.prepare(load_clip(clip.path, tower.sample_rate))
        for clip in progress.track(clips, description="decode clips")
    ]
    with torch.no_grad():
        features = torch.cat([tower(part) for part in torch.stack(windows).split(64)])
    figures = []
    for dataset, (template, names) in TASKS.items():
        rows = [row for row, clip in enumerate(clips) if clip.kind == dataset]
        texts = F.normalize(encoder.text.encode([template.format(name) for name in names]), dim=1)
        figures.append(_figures(dataset, [clips[row] for row in rows], features[rows] @ texts.T, names))
    return figures


def _figures(dataset: str, clips: list[Clip], cosines: Tensor, names: tuple[str, ...]) -> Figures:
    labels = torch.tensor([names.index(clip.label) for clip in clips])
    right = cosines.argmax(dim=1) == labels
    half = (len(names) + 1) // 2
    order = sorted(range(len(names)), key=lambda index: names[index])

    def within(classes: list[int]) -> float:
        rows = torch.isin(labels, torch.tensor(classes))
        chosen = torch.tensor(classes)[cosines[rows][:, classes].argmax(dim=1)]
        return _percent(chosen == labels[rows])

    folds = sorted({clip.fold for clip in clips})
    return Figures(
        dataset=dataset,
        clips=len(clips),
        all_classes=_percent(right),
        base=within(order[:half]),
        new=within(order[half:]),
        by_fold={fold: _percent(right[torch.tensor([clip.fold == fold for clip in clips])]) for fold in folds},
        by_class={name: _percent(right[labels == index]) for index, name in enumerate(names)},
    )


def _percent(right: Tensor) -> float:
    return round(100 * right.float().mean().item(), 1)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m infra.mini.evaluate")
    parser.add_argument("--esc10", type=Path, required=True, help="ESC-10's folder of class folders")
    parser.add_argument("--fsdd", type=Path, required=True, help="FSDD's folder (above recordings/)")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the encoder (default: as shipped)")
    arguments = parser.parse_args()
    console = Console()
    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            figures = zero_shot(arguments.esc10, arguments.fsdd, arguments.weights, progress=progress)
    except InputError as error:
        console.print(str(error), style="red", soft_wrap=True, markup=False)
        return 2
    for figure in figures:
        console.print(
            f"{figure.dataset}: {figure.clips} unheard clips, ten classes {figure.all_classes} %, "
            f"base {figure.base} %, new {figure.new} %"
        )
        console.print(f"  by fold or speaker: {figure.by_fold}")
        console.print(f"  by class: {figure.by_class}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
