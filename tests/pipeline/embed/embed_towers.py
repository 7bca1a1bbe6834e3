"""Encoders that embed in milliseconds; loaded in other processes by `load`."""

from __future__ import annotations

import os
import signal
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.spec import EncoderFiles
from sept_core.encoders import AudioTower, Encoder, Preparation

RATE = 8000
WINDOW = 800


class NoiseTower(AudioTower):
    """A random projection whose last digits depend on the batch, as those of real encoders do."""

    dim = 16
    sample_rate = RATE
    seconds = WINDOW / RATE

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(WINDOW, self.dim, generator=generator), requires_grad=False)
        self.scale = scale

    def preparation(self) -> Preparation:
        return to_window

    def forward(self, windows: Tensor) -> Tensor:
        return F.normalize(windows @ self.weight + 1e-9 * len(windows), dim=1) * self.scale


class DeadlyTower(NoiseTower):
    """Ends its process, as a crash or the kernel's want of memory does."""

    def forward(self, windows: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return windows


def to_window(waveform: Tensor) -> Tensor:
    return F.pad(waveform, (0, max(0, WINDOW - len(waveform))))[:WINDOW]


def load(files: EncoderFiles) -> Encoder:
    name = files.name
    tower = DeadlyTower() if name == "deadly" else NoiseTower(2.0 if name == "broken" else 1.0)
    fingerprint = {"broken": "b", "deadly": "d"}.get(name, "a") * 16
    return Encoder(name, text=cast(Any, None), load_audio=lambda: tower, logit_scale=10.0, fingerprint=fingerprint)
