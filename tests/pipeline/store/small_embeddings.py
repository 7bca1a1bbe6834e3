"""A small data set's embeddings, written and read back, and processes that do so."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import torch
from torch.nn.functional import normalize

from pipeline.store import EmbeddingHeader, EmbeddingStore, find_embeddings
from pipeline.store.cache import cache_folder
from sept_core.datasets import Clip, EmbeddingTable, Manifest

REPOSITORY = Path(__file__).parents[3]
FINGERPRINT = "0123456789abcdef"
NAME = "FSDD"


def make_manifest(count: int) -> Manifest:
    clips = (
        Clip(
            f"{number:05d}",
            f"recordings/{number:05d}.wav",
            ("zero", "one")[number % 2],
            ("theo", "lucas")[number // 2 % 2],
            "theo",
            hashlib.sha256(str(number).encode()).hexdigest(),
        )
        for number in range(count)
    )
    return Manifest(NAME, tuple(clips))


def fill(root: str | Path, count: int = 10, dim: int = 8, seed: int = 0) -> torch.Tensor:
    manifest = make_manifest(count)
    rows = normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)
    header = EmbeddingHeader(NAME, "mini", FINGERPRINT, manifest.digest, dim)
    EmbeddingStore(root).write(header, manifest.clips, rows)
    return rows


def cached() -> list[Path]:
    """The embeddings in this machine's cache."""
    return sorted((cache_folder() / "embeddings").glob("[!.]*"))


def read(root: str | Path) -> EmbeddingTable:
    return find_embeddings(FINGERPRINT, NAME, root)


def start(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
