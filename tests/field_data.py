"""The field's own data sets with made sound: a clip for every row of the metadata that stands beside the project.

    python tests/field_data.py crema-d /tmp/crema-d

Names, folders and folds are the authors' own; rows with equal digests hold equal bytes, and those with different ones
different bytes. A clip is a quarter of a second of noise around a tone of its class, so that something can be learned.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

METADATA = Path(__file__).parents[2] / "shared" / "metadata"

_RATE, _SAMPLES = 16_000, 4_000
_WITHOUT_SOUND = "1076_MTI_SAD_XX"


def make(dataset: str, folder: Path, metadata: Path = METADATA) -> int:
    """Write a data set's folder as its authors ship it; returns the number of clips.

    Args:
        dataset: Key of ``MAKERS``.
        folder: Where to; must not exist.
        metadata: Folder with the real metadata.
    """
    made, kinds = 0, dict[str, str]()
    for path, key, kind in MAKERS[dataset](folder, metadata):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Equal contents are equal under another class too.
        path.write_bytes(_sound(key, kinds.setdefault(key, kind), path.suffix))
        made += 1
    return made


def _esc50(folder: Path, metadata: Path) -> Iterator[tuple[Path, str, str]]:
    (folder / "meta").mkdir(parents=True)
    shutil.copy(metadata / "esc50.csv", folder / "meta" / "esc50.csv")
    for row in _rows(metadata / "esc50.csv"):
        yield folder / "audio" / row["filename"], row["filename"], row["category"]


def _urbansound8k(folder: Path, metadata: Path) -> Iterator[tuple[Path, str, str]]:
    (folder / "metadata").mkdir(parents=True)
    shutil.copy(metadata / "UrbanSound8K.csv", folder / "metadata" / "UrbanSound8K.csv")
    for row in _rows(metadata / "UrbanSound8K.csv"):
        name = row["slice_file_name"]
        yield folder / "audio" / f"fold{row['fold']}" / name, name, row["class_name"]


def _crema_d(folder: Path, metadata: Path) -> Iterator[tuple[Path, str, str]]:
    for row in _rows(metadata / "crema-d_files.csv"):
        path = folder / row["path"]
        yield path, "" if path.stem == _WITHOUT_SOUND else row["sha256"], path.stem.split("_")[2]


def _ravdess(folder: Path, metadata: Path) -> Iterator[tuple[Path, str, str]]:
    for row in _rows(metadata / "ravdess_speech_files.csv"):
        path = folder / row["path"]
        yield path, row["sha256"], path.stem.split("-")[2]


MAKERS: dict[str, Callable[[Path, Path], Iterator[tuple[Path, str, str]]]] = {
    "esc50": _esc50,
    "esc50-actions": _esc50,
    "urbansound8k": _urbansound8k,
    "crema-d": _crema_d,
    "ravdess": _ravdess,
}
"""Path, what the content depends on (``""`` for silence), and class of every clip; writes the tables beside them."""


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


def _sound(key: str, kind: str, suffix: str) -> bytes:
    if suffix == ".mp3":
        # Encoding thousands takes a minute: all are one sound, told apart by the comment in a tag.
        return _mp3() + b"TAG" + key[:30].encode().ljust(125, b"\0")
    samples = np.zeros(_SAMPLES)
    if key:
        generator = np.random.default_rng(zlib.crc32(key.encode()))
        hertz = 200 + zlib.crc32(kind.encode()) % 5000
        samples = 0.3 * np.sin(2 * np.pi * hertz * np.arange(_SAMPLES) / _RATE) + generator.normal(0, 0.05, _SAMPLES)
    return _encoded(samples, "WAV")


@cache
def _mp3() -> bytes:
    return _encoded(np.random.default_rng(0).normal(0, 0.05, _SAMPLES), "MP3")


def _encoded(samples: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, _RATE, format=kind)
    return stream.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=sorted(MAKERS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--metadata", type=Path, default=METADATA)
    given = parser.parse_args()
    print(f"{make(given.dataset, given.folder, given.metadata)} clips in {given.folder}")
