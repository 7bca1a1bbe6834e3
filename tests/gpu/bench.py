"""What the sections share: the card, the time that is left, a clock that waits for the card, and what is written."""

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
    """What a measurement needs is not here; says what."""


class ToleranceError(Exception):
    """A tolerance is not kept; carries what was measured."""

    def __init__(self, what: str, result: dict[str, Any]) -> None:
        super().__init__(what)
        self.result = result


@dataclass
class Bench:
    """What a section is given.

    Attributes:
        device: ``cpu`` or ``cuda``.
        small: Everything at toy size: the figures mean nothing.
        until: ``time.monotonic()`` by which the section is to be done.
        left_out: What it had no time for.
        rows: What it has found so far: written even where it fails further on.
    """

    device: str
    small: bool
    until: float = float("inf")
    left_out: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def found(self, row: dict[str, Any]) -> dict[str, Any]:
        """Keep and print what was measured; returns it."""
        self.rows.append(row)
        print(f"  {json.dumps(_plain(row))}", flush=True)
        return row

    def time_for(self, what: str, seconds: float = 0.0) -> bool:
        """Whether there is time for ``what``, which takes about so long; what there is none for is noted."""
        if time.monotonic() + seconds < self.until:
            return True
        self.left_out.append(what)
        return False

    def sizes(self, **wanted: Any) -> dict[str, Any]:
        """Sizes of a study (``StudyConfig``): those that are wanted, or little ones."""
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
    """Seconds of every call of every way, one way after the other in each round, so that all meet the same machine."""
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
    """Seconds: on a CPU those of this process (its one thread), which others on the machine do not count into."""
    return time.process_time() if device == "cpu" else time.perf_counter()


@contextmanager
def deterministic() -> Iterator[None]:
    """Within, torch computes as in a trial: deterministic algorithms only."""
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
    """Write ``content`` whole or not at all."""
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
