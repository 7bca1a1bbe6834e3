"""Reading 50,000 x 1,024 embeddings: from Parquet, from S3 and through the node cache, against ``numpy.load``.

    pip install -e ".[dev]" && pytest tests/benchmarks/bench_read.py -s

Each way runs in its own process, in turn; the files are in the page cache, so that the code is measured, not the disk.
S3 is moto on this machine, which handles one request at a time: its times are upper bounds. Prints seconds, ratios to
``numpy.load``, and the memory that each way adds to its process.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from gpu.measuring import MB, Peak, alone
from s3_server import BUCKET, environment, serving
from torch.nn.functional import normalize

from pipeline.store import EmbeddingHeader, EmbeddingStore, embedding_writer
from sept_core.datasets import Clip, Manifest

ROWS, DIM = 50_000, 1_024
ROWS_PER_PART = 256  # as `sept embed` writes them
FINGERPRINT, NAME = "0123456789abcdef", "FSDD"
WAYS = ("numpy.load", "numpy.load, mapped", "Parquet in a folder", "Parquet in S3", "making the copy", "node cache")
ROUNDS = 3


def write(root: str) -> None:
    """The embeddings, and the same array as numpy saves it."""
    embedding_writer.ROWS_PER_PART = ROWS_PER_PART
    torch.manual_seed(0)
    rows = normalize(torch.randn(ROWS, DIM), dim=1)
    clips = tuple(
        Clip(f"{n:06d}", f"recordings/{n:06d}.wav", "zero", "theo", "theo", hashlib.sha256(str(n).encode()).hexdigest())
        for n in range(ROWS)
    )
    header = EmbeddingHeader(NAME, "mini", FINGERPRINT, Manifest(NAME, clips).digest, DIM)
    EmbeddingStore(root).write(header, clips, rows)
    if not root.startswith("s3://"):
        np.save(Path(root) / "rows.npy", rows.numpy())


def read(way: str, root: str, bucket: str, settings: dict[str, str]) -> tuple[float, float, float]:
    """Seconds until the table is there, until every number was read once more and digested, and MB of memory added.

    The sum touches every mapped page, so that no way gains by loading lazily.
    """
    os.environ.update(settings)
    torch.set_num_threads(1)
    store = EmbeddingStore(bucket if way == "Parquet in S3" else root)
    from pipeline.store import s3  # noqa: F401 (imports are not measured)

    _warm_up()
    peak = Peak(torch.device("cpu"))
    started = time.perf_counter()
    if way.startswith("numpy"):
        array = np.load(Path(root) / "rows.npy", mmap_mode="r" if way.endswith("mapped") else None)
    else:
        cached = way in ("making the copy", "node cache")
        table = store.read(FINGERPRINT, NAME, cached=cached)
        array = table.embeddings.numpy()
    opened = time.perf_counter() - started
    assert array.shape == (ROWS, DIM)
    float(array.sum())
    return opened, time.perf_counter() - started, peak.megabytes()


def _warm_up() -> None:
    """Loads what the first use of a library loads."""
    import io

    import pyarrow as pa
    import pyarrow.dataset
    import pyarrow.parquet as pq

    data = io.BytesIO()
    pq.write_table(pa.table({"a": [1.0]}), data)
    pq.read_table(pa.BufferReader(data.getvalue()))
    torch.ones(2, 2).norm(dim=1)


def test_reading_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(tmp_path / "runs")
    with serving() as endpoint:
        settings = environment(endpoint) | {"SEPT_CACHE": str(tmp_path / "cache"), "SEPT_CACHE_GB": "50"}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        bucket = f"s3://{BUCKET}/bench"
        for place in (root, bucket):
            write(place)
        measured: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way in WAYS:
                if way == "making the copy":
                    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
                measured[way].append(alone(read, way, root, bucket, settings))
    median = {way: [statistics.median(one) for one in zip(*rounds, strict=True)] for way, rounds in measured.items()}
    base = median["numpy.load"][1]
    print(f"\n{ROWS} x {DIM} float32, {ROWS * DIM * 4 / MB:.0f} MB, parts of {ROWS_PER_PART} rows, median of {ROUNDS}")
    for way, (opened, used, megabytes) in median.items():
        print(
            f"{way:<20} open {opened:6.3f} s, every number read {used:6.3f} s ({used / base:5.1f}x numpy.load), "
            f"{megabytes:4.0f} MB of memory at its peak"
        )
    parquet, cached = median["Parquet in a folder"], median["node cache"]
    print(f"the node cache opens {parquet[0] / cached[0]:.0f}x faster than Parquet in a folder is read")
