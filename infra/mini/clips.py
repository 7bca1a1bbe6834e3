"""The clips of the pretraining: those that it may use, and those for the final evaluation only.

ESC-10's fold 1 and three speakers of FSDD are for training. Sweeps draw from and test on all other clips: only
``evaluate.py`` calls ``unheard_clips``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import Progress
from torch import Tensor

from infra.mini.synthesis import RECIPES, synthesise
from infra.mini.vocabulary import DIGITS, ESC10
from sept_core.audio.waveform import load_clip
from sept_core.encoders.mini.audio import MiniAudioTower
from sept_core.errors import InputError

__all__ = [
    "SEEN_FOLDS",
    "SEEN_SPEAKERS",
    "Clip",
    "Clips",
    "real_clips",
    "spectrograms",
    "synthetic_clips",
    "unheard_clips",
]

SEEN_FOLDS = ("1",)
SEEN_SPEAKERS = ("george", "jackson", "lucas")


@dataclass(frozen=True)
class Clip:
    """A recording.

    Attributes:
        kind: ``esc10`` or ``fsdd``.
        label: Class name.
        fold: Fold of ESC-10, speaker of FSDD.
        source: Recording that it was cut from; takes of one source are never on both sides of a split.
        path: The file.
    """

    kind: str
    label: str
    fold: str
    source: str
    path: Path


@dataclass(frozen=True)
class Clips:
    """Clips ready to train on.

    Attributes:
        power: Mel power ``[clips, mels, frames]``.
        labels: Class name of each clip.
        kinds: ``esc10``, ``fsdd``, ``spoken`` (synthesised digits) or ``synthetic`` (other synthesised sounds).
    """

    power: Tensor
    labels: tuple[str, ...]
    kinds: tuple[str, ...]

    def __add__(self, other: Clips) -> Clips:
        return Clips(torch.cat([self.power, other.power]), self.labels + other.labels, self.kinds + other.kinds)

    def where(self, mask: Sequence[bool]) -> Clips:
        """The clips for which ``mask`` holds, in order."""
        rows = [row for row, keep in enumerate(mask) if keep]
        return Clips(self.power[rows], tuple(self.labels[row] for row in rows), tuple(self.kinds[row] for row in rows))


def _esc10(folder: Path) -> list[Clip]:
    # "001 - Dog bark/1-100032-A.ogg": fold, Freesound id, take.
    clips = []
    for path in sorted(folder.glob("*/[1-5]-*-*.ogg")):
        label = path.parent.name.split(" - ", 1)[-1].lower()
        fold, source, _ = path.stem.split("-", 2)
        if label in ESC10:
            clips.append(Clip("esc10", label, fold, source, path))
    if not clips:
        raise InputError("no clips of ESC-10", where=str(folder), fix="give its folder of class folders as --esc10")
    return clips


def _fsdd(folder: Path) -> list[Clip]:
    # "recordings/7_jackson_32.wav": digit, speaker, take.
    clips = []
    for path in sorted(folder.glob("recordings/[0-9]_*_*.wav")):
        digit, speaker, _ = path.stem.split("_", 2)
        clips.append(Clip("fsdd", DIGITS[int(digit)], speaker, path.stem, path))
    if not clips:
        raise InputError("no clips of FSDD", where=str(folder), fix="give the folder above recordings/ as --fsdd")
    return clips


def real_clips(esc10: Path, fsdd: Path) -> list[Clip]:
    """The recordings that the pretraining may use.

    Raises:
        InputError: A folder holds no clips of its dataset.
    """
    return [clip for clip in _esc10(esc10) if clip.fold in SEEN_FOLDS] + [
        clip for clip in _fsdd(fsdd) if clip.fold in SEEN_SPEAKERS
    ]


def unheard_clips(esc10: Path, fsdd: Path) -> list[Clip]:
    """The recordings that the pretraining does not use.

    Raises:
        InputError: A folder holds no clips of its dataset.
    """
    return [clip for clip in _esc10(esc10) if clip.fold not in SEEN_FOLDS] + [
        clip for clip in _fsdd(fsdd) if clip.fold not in SEEN_SPEAKERS
    ]


def spectrograms(clips: Sequence[Clip], tower: MiniAudioTower, *, progress: Progress) -> Clips:
    """Decode ``clips`` and compute their mel power with the tower's preprocessing."""
    power = [
        _power(tower, load_clip(clip.path, tower.sample_rate))
        for clip in progress.track(clips, description="decode clips")
    ]
    return Clips(torch.stack(power), tuple(clip.label for clip in clips), tuple(clip.kind for clip in clips))


def synthetic_clips(per_class: int, tower: MiniAudioTower, *, progress: Progress) -> Clips:
    """``per_class`` synthesised clips of every recipe; three times as many of the classes of ESC-10 and FSDD."""
    power, labels = [], []
    for name in progress.track(list(RECIPES), description="synthesise"):
        for seed in range(per_class * (3 if name in (*ESC10, *DIGITS) else 1)):
            power.append(_power(tower, synthesise(name, seed)))
            labels.append(name)
    kinds = tuple("spoken" if label in DIGITS else "synthetic" for label in labels)
    return Clips(torch.stack(power), tuple(labels), kinds)


def _power(tower: MiniAudioTower, waveform: Tensor) -> Tensor:
    with torch.no_grad():
        return tower.spectrogram(tower.prepare(waveform).unsqueeze(0))[0]
