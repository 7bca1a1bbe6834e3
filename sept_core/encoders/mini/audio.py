"""The audio tower of ``mini``: log-mel spectrogram and a strided CNN, in plain torch.

Nothing here needs torchaudio: the mel filters are written out, and decoding is ``sept_core.audio.waveform``'s.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sept_core.encoders.base import AudioTower, Preparation
from sept_core.encoders.mini.weightfiles import read_weights

__all__ = ["MiniAudioConfig", "MiniAudioTower", "mel_filters"]


@dataclass(frozen=True)
class MiniAudioConfig:
    """Preprocessing and sizes of the audio tower.

    Attributes:
        sample_rate: Hz.
        seconds: Length of the window.
        fft: Samples of an analysis frame (Hann).
        hop: Samples between frames.
        mels: Mel bands between ``low_hz`` and ``sample_rate / 2``.
        low_hz: Lower edge of the lowest band.
        floor: Power, relative to the clip's mean, added before the logarithm.
        trim: Amplitude, relative to the clip's peak, below which its two ends count as silence.
        gap: Seconds of silence between the repetitions of a short clip.
        channels: Output channels of the strided convolutions.
        dim: Width of the joint space.
    """

    sample_rate: int = 16000
    seconds: float = 5.0
    fft: int = 512
    hop: int = 200
    mels: int = 64
    low_hz: float = 50.0
    floor: float = 1e-5
    trim: float = 1e-3
    gap: float = 0.1
    channels: tuple[int, ...] = (24, 48, 96, 192)
    dim: int = 256


def mel_filters(config: MiniAudioConfig) -> Tensor:
    """Triangular filters ``[mels, fft / 2 + 1]``, evenly spaced on the HTK mel scale, peaks at 1."""

    def mel(hertz: float) -> float:
        return 2595.0 * math.log10(1.0 + hertz / 700.0)

    edges = torch.linspace(mel(config.low_hz), mel(config.sample_rate / 2), config.mels + 2, dtype=torch.float64)
    edges = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    bins = torch.linspace(0, config.sample_rate / 2, config.fft // 2 + 1, dtype=torch.float64)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(min=0).float()


class MiniAudioTower(AudioTower):
    """Log-mel CNN with mean and max pooling over time and frequency.

    Args:
        config: Preprocessing and sizes.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: MiniAudioConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        self.sample_rate = config.sample_rate
        self.seconds = config.seconds
        self.register_buffer("window", torch.hann_window(config.fft), persistent=False)
        self.register_buffer("filters", mel_filters(config), persistent=False)
        # One mean and scale per mel band, as the bands of natural sounds differ in level by tens of decibels.
        self.norm = nn.BatchNorm1d(config.mels)
        widths = (2, *config.channels)
        self.convolutions = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
                )
                for before, after in pairwise(widths)
            )
        )
        self.projection = nn.Linear(2 * config.channels[-1], config.dim)

    @classmethod
    def from_folder(cls, folder: Path) -> MiniAudioTower:
        """Load ``config.json`` and ``audio.safetensors`` of ``folder``, frozen, in ``eval()``.

        Raises:
            InputError: The weights are missing or do not fit the configuration.
        """
        meta = json.loads((folder / "config.json").read_text(encoding="utf-8"))["audio"]
        tower = cls(MiniAudioConfig(**{**meta, "channels": tuple(meta["channels"])}))
        read_weights(tower, folder / "audio.safetensors")
        return tower

    def preparation(self) -> Preparation:
        """Trims silent ends, then crops or repeats."""
        return partial(_prepared, config=self.config)

    def spectrogram(self, windows: Tensor) -> Tensor:
        """Mel power ``[clips, mels, frames]`` of ``windows [clips, window]``."""
        frames = torch.stft(
            windows, self.config.fft, self.config.hop, window=self.window, return_complex=True, center=True
        )
        # Centred frames count one more than the window holds hops.
        return self.filters @ frames[..., :-1].abs().square()

    def encode(self, power: Tensor) -> Tensor:
        """Unit-norm features ``[clips, dim]`` of mel power ``[clips, mels, frames]``.

        The power is divided by the clip's mean, so that a feature does not depend on the recording's level. The CNN
        sees the log-mel image twice: as it is (the spectrum identifies rain or an engine), and without each band's mean
        over time (a spoken word must not depend on the voice and the microphone).
        """
        level = power.mean(dim=(1, 2), keepdim=True).clamp(min=1e-12)
        image = self.norm(torch.log10(power / level + self.config.floor))
        maps = self.convolutions(torch.stack([image, image - image.mean(dim=2, keepdim=True)], dim=1)).flatten(2)
        pooled = torch.cat([maps.mean(dim=2), maps.amax(dim=2)], dim=1)
        return F.normalize(self.projection(pooled), dim=1)

    def forward(self, windows: Tensor) -> Tensor:
        """Unit-norm features ``[clips, dim]`` of prepared windows ``[clips, window]``."""
        return self.encode(self.spectrogram(windows))


def _prepared(waveform: Tensor, config: MiniAudioConfig) -> Tensor:
    """Fit a clip ``[samples]`` to the window ``[window]``: trim silent ends, then crop or repeat.

    A longer clip is cropped at its centre. A shorter one is repeated, with a short gap, until the window is full:
    otherwise half a second of a spoken digit or a bark would be lost in silence when the features are averaged.
    A silent clip stays silent.
    """
    size = round(config.seconds * config.sample_rate)
    loud = (waveform.abs() > config.trim * waveform.abs().max()).nonzero()
    if len(loud) == 0:
        return waveform.new_zeros(size)
    clip = waveform[int(loud[0]) : int(loud[-1]) + 1]
    if len(clip) >= size:
        start = (len(clip) - size) // 2
        return clip[start : start + size].clone()
    # A fade of 5 ms at both ends avoids a click at the joint.
    ramp = torch.linspace(0, 1, min(len(clip) // 2, config.sample_rate // 200) + 1)[1:].to(clip)
    envelope = torch.ones_like(clip)
    envelope[: len(ramp)] = ramp
    envelope[len(clip) - len(ramp) :] = ramp.flip(0)
    period = F.pad(clip * envelope, (0, round(config.gap * config.sample_rate)))
    return period.repeat(math.ceil(size / len(period)))[:size]
