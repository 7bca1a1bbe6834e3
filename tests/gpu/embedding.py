"""Sections of the audio side: how many clips are encoded at once, and what `sept embed` loses around the encoder."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pipeline.embed.batches import compute_exactly, encode
from pipeline.embed.sizing import CPU_BATCH, measure
from sept_core.datasets import Clip
from sept_core.encoders import AudioTower

from .bench import Bench, MissingError, ToleranceError, seconds_of
from .encoders import ENCODERS, random_encoder
from .measuring import MB, Peak

__all__ = ["batch_size", "embedding"]


def batch_size(bench: Bench) -> dict[str, Any]:
    """The batch size that the product measures for every encoder at full size, and whether that batch fits."""
    rows: list[dict[str, Any]] = []
    short: list[str] = []
    for name, tower in _towers(bench, rows):
        try:
            rows.append(bench.found({"encoder": name} | _batch(bench, tower)))
        except torch.OutOfMemoryError as error:
            short.append(name)
            rows.append(bench.found({"encoder": name, "failed": str(error)}))
        del tower
    if short:
        raise ToleranceError(f"a measured batch did not fit: {', '.join(short)}", {"rows": rows})
    return {"rows": rows}


def _towers(bench: Bench, rows: list[dict[str, Any]]) -> Iterator[tuple[str, AudioTower]]:
    """The audio towers, one after the other, while there is time; a row for each that is unavailable.

    Release one before the next: otherwise there is not enough memory on the device.
    """
    for name in ("mini",) if bench.small else ENCODERS:
        if not bench.time_for(name, 5.0):
            continue
        try:
            tower = _tower(bench, name)
        except MissingError as error:
            rows.append({"encoder": name, "skipped": str(error)})
            continue
        yield name, tower
        del tower
        _clear(bench)


def _batch(bench: Bench, tower: AudioTower) -> dict[str, Any]:
    """One encoder's row."""
    row: dict[str, Any] = {}
    if bench.on_gpu:
        probe = measure(tower)
        size = probe.batch_size
        row |= {"free_mb": probe.free / MB, "peak_of_2_mb": probe.few / MB, "peak_of_8_mb": probe.more / MB}
    else:
        size = CPU_BATCH  # a CPU is not asked
    windows = _windows(tower, size)
    peak = Peak(torch.device(bench.device))
    with torch.inference_mode():
        tower(windows.to(bench.device))
    row |= {"batch_size": size, "peak_mb": peak.megabytes()}
    sizes = [1, *(power for power in (4, 16, 64) if power < size), size]
    row["clips_per_s"] = {some: some / _seconds(bench, tower, windows[:some]) for some in sizes}
    return row


def embedding(bench: Bench) -> dict[str, Any]:
    """Clips a second from decoded windows in memory to stored features, against the encoder on windows on the card."""
    rows: list[dict[str, Any]] = []
    for name, tower in _towers(bench, rows):
        size = measure(tower).batch_size if bench.on_gpu else CPU_BATCH
        # Clips travel 32 together, or as many as are encoded at once where that is more.
        count = max(size, 8 if bench.small or not bench.on_gpu else 128)
        windows = _windows(tower, count)
        clips = [Clip(str(at), f"{at}.wav", "made-up", "1", "", 64 * "0") for at in range(count)]
        there = windows.to(bench.device)

        def alone(tower: AudioTower = tower, there: Tensor = there, size: int = size) -> None:
            with torch.inference_mode():
                for some in there.split(size):
                    tower(some)

        def ours(tower: AudioTower = tower, windows: Tensor = windows, clips: Any = clips, size: int = size) -> None:
            encode(tower, windows, clips, size)

        of_alone, of_ours = (count / seconds_of(way, bench.device, 3) for way in (alone, ours))
        row = {"encoder": name, "batch_size": size, "clips": count, "window_mb": windows[0].nbytes / MB}
        row |= {"encoder_alone_per_s": of_alone, "ours_per_s": of_ours, "share": of_ours / of_alone}
        rows.append(bench.found(row))
        del there
    return {"rows": rows, "with_decoding": "tests/benchmarks/bench_embed.py, where Ray and the audio libraries are"}


def _tower(bench: Bench, name: str) -> AudioTower:
    """An encoder's audio tower as `sept embed` computes with it."""
    if bench.on_gpu:
        compute_exactly()
    return random_encoder(name).load_audio().to(bench.device)


def _windows(tower: AudioTower, count: int) -> Tensor:
    size = len(tower.prepare(torch.ones(tower.sample_rate)))
    return 0.1 * torch.randn(count, size, generator=torch.Generator().manual_seed(0))


def _seconds(bench: Bench, tower: AudioTower, windows: Tensor) -> float:
    there = windows.to(bench.device)

    def run() -> None:
        with torch.inference_mode():
            tower(there)

    return seconds_of(run, bench.device, 3)


def _clear(bench: Bench) -> None:
    gc.collect()
    if bench.on_gpu:
        torch.cuda.empty_cache()
        torch.use_deterministic_algorithms(False)
