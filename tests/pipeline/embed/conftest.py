"""Clips for tests that embed in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_tower import RATE


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Twenty clips of FSDD's layout, each of its own noise."""
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for digit in range(10):
        for speaker in ("theo", "lucas"):
            soundfile.write(folder / f"{digit}_{speaker}_0.wav", random.normal(0, 0.1, 800).astype("float32"), RATE)
    return folder.parent
