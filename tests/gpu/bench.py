"""What the sections share: the device, the remaining time, a clock that waits for the device, and the results file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .measuring import synchronise

__all__ = [
    "Bench",
    "MissingError",
    "ToleranceError",
    "clock",
    "deterministic",
    "in_turn",
    "machine",
    "seconds_of",
    "write_json",
]


class MissingError(Exception):
    """Something that a measurement needs is missing; the message says what."""


class ToleranceError(Exception):
    """A tolerance is exceeded; has the measured values."""

    def __init__(self, what: str, result: dict[str, Any]) -> None:
        super().__init__(what)
        self.result = result


@dataclass
class Bench:
    """The input of a section.

    Attributes:
        device: ``cpu`` or ``cuda``.
        small: Everything at toy size: the figures mean nothing.
        until: ``time.monotonic()`` by which the section should be done.
        left_out: Parts for which there was no time.
        rows: Findings so far: written even if the section fails later.
    """

    device: str
    small: bool
    until: float = float("inf")
    left_out: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def found(self, row: dict[str, Any]) -> dict[str, Any]:
        """Store and print a measurement; returns it."""
        self.rows.append(row)
        print(f"  {json.dumps(_plain(row))}", flush=True)
        return row

    def time_for(self, what: str, seconds: float = 0.0) -> bool:
        """Whether there is time for ``what``, which takes about this long; if not, it is noted."""
        if time.monotonic() + seconds < self.until:
            return True
        self.left_out.append(what)
        return False

    def sizes(self, **wanted: Any) -> dict[str, Any]:
        """Sizes of a study (``StudyConfig``): the requested ones, or small ones."""
        little = {"small": True, "n_neighbors": 2, "n_ctx": 4, "batch": 4}
        return wanted | {"device": self.device} | (little if self.small else {})

    @property
    def rounds(self) -> int:
        """How often a step is timed."""
        return 1 if self.small else 3

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device == "cuda"


def seconds_of(run: Callable[[], object], device: str, rounds: int, warm: int = 1) -> float:
    """Median seconds of ``run``, the device waited for, after ``warm`` calls that do not count."""
    return statistics.median(in_turn({"": run}, device, rounds, warm)[""])


def in_turn(
    ways: Mapping[str, Callable[[], object]], device: str, rounds: int, warm: int = 1
) -> dict[str, list[float]]:
    """Seconds of every call of every way, alternating in each round, so that all run under the same conditions."""
    where = torch.device(device)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warm + rounds):
        for name, run in ways.items():
            synchronise(where)
            started = clock(device)
            run()
            synchronise(where)
            if number >= warm:
                taken[name].append(clock(device) - started)
    return taken


def clock(device: str) -> float:
    """Seconds: on a CPU those of this process (its one thread), which other processes do not affect."""
    return time.process_time() if device == "cpu" else time.perf_counter()


@contextmanager
def deterministic() -> Iterator[None]:
    """In the block, torch computes as in a trial: deterministic algorithms only."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def machine(device: str) -> dict[str, Any]:
    """The card and the versions that figures belong to."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": platform.python_version()}
    for package in ("torch", "transformers", "tokenizers", "numpy", "ray"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    about: dict[str, Any] = {"device": device, "cpus": os.cpu_count(), "versions": versions}
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        about |= {
            "card": card.name,
            "memory_gb": round(card.total_memory / 1e9, 1),
            "capability": f"{card.major}.{card.minor}",
            "cuda": torch.version.cuda,
        }
    return about


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` atomically."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """Floats to five digits; what is not finite as text, which JSON has no number for."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if abs(value) <= sys.float_info.max else str(value)
    return value
