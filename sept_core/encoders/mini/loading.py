"""Loads ``mini`` from its shipped files, without network and deterministically."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path

from sept_core.datasets.pretraining import Pretraining
from sept_core.encoders.base import Encoder
from sept_core.encoders.mini.audio import MiniAudioTower
from sept_core.encoders.mini.text import MiniTextTower
from sept_core.errors import InputError

__all__ = ["FILES", "WEIGHTS", "fingerprint", "load_mini"]

WEIGHTS = Path(__file__).parent / "weights"
# These files, and nothing else, determine a feature.
FILES = ("audio.safetensors", "config.json", "text.safetensors", "tokenizer.json")


def fingerprint(folder: Path) -> str:
    """16 hex digits over the bytes of the configuration, the tokenizer and both towers' weights."""
    digest = hashlib.sha256()
    for name in FILES:
        content = (folder / name).read_bytes()
        # The length separates the end of one file from the start of the next.
        digest.update(f"{name}:{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def load_mini(folder: Path = WEIGHTS) -> Encoder:
    """Load the encoder ``mini``: text tower at once, audio tower when ``load_audio()`` is called.

    Args:
        folder: Folder with the four files of ``FILES``; the shipped one by default, another one after training.

    Raises:
        InputError: A file is missing or does not fit the architecture of ``config.json``.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"the encoder mini lacks {', '.join(missing)}", where=str(folder), fix="reinstall the package")
    meta = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Encoder(
        name="mini",
        text=MiniTextTower.from_folder(folder),
        load_audio=partial(MiniAudioTower.from_folder, folder),
        logit_scale=float(meta["logit_scale"]),
        fingerprint=fingerprint(folder),
        pretraining=Pretraining({dataset: tuple(folds) for dataset, folds in meta["seen_folds"].items()}),
    )
