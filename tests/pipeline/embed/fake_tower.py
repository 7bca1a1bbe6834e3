"""An encoder that tells clips apart in microseconds, and counts what it is given."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from torch.nn.functional import normalize

from sept_core.encoders import AudioTower, Encoder, Preparation

REPOSITORY = Path(__file__).parents[3]
AUDIO = REPOSITORY.parent / "shared" / "audio"
RATE = 8000


class FakeTower(AudioTower):
    """Means of four quarters of the clip: a feature that tells clips apart, and counts what it is given."""

    dim = 4
    sample_rate = RATE
    seconds = 0.1

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.batches: list[int] = []
        self.prepared = 0
        self.lead = 0
        self.lock = threading.Lock()

    def preparation(self) -> Preparation:
        return self._window

    def _window(self, waveform: Tensor) -> Tensor:
        with self.lock:
            self.prepared += 1
            self.lead = max(self.lead, self.prepared - sum(self.batches))
        return waveform[:800]

    def forward(self, windows: Tensor) -> Tensor:
        self.batches.append(len(windows))
        return normalize(windows.reshape(len(windows), 4, -1).mean(dim=2) + 1e-3, dim=1) * self.scale


def make_encoder(tower: AudioTower) -> Encoder:
    # The text tower never takes part in embedding.
    return Encoder("fake", text=cast(Any, None), load_audio=lambda: tower, logit_scale=10.0, fingerprint="f" * 16)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
