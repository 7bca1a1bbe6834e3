"""What the sections share: the card, the time that is left, a clock that waits for the card, and what is written."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .measuring import synchronise

__all__ = ["Bench", "MissingError", "ToleranceError", "deterministic", "machine", "seconds_of", "write_json"]


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
        small: Everything in little: the figures mean nothing.
        until: ``time.monotonic()`` by which the section is to be done.
        left_out: What it had no time for; goes into its result.
        say: Prints a line.
    """

    device: str
    small: bool
    until: float = float("inf")
    left_out: list[str] = field(default_factory=list)
    say: Callable[[str], None] = print

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
    where = torch.device(device)
    for _ in range(warm):
        run()
    taken = []
    for _ in range(rounds):
        synchronise(where)
        started = time.perf_counter()
        run()
        synchronise(where)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


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
