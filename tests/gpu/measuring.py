"""What the benchmarks share: a separate process for every measurement, and its peak memory (Linux)."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch

__all__ = ["Peak", "alone", "synchronise"]

Result = TypeVar("Result")

MB = 1e6


def alone(function: Callable[..., Result], *arguments: object) -> Result:
    """What ``function`` (of a module's top level) returns, called in a fresh process that ends with it.

    So memory that one measurement leaves in the allocator does not hide the need of the next.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def synchronise(device: torch.device) -> None:
    """Wait for the device, so that the clock is accurate."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Peak:
    """Peak memory from now on, minus the memory in use now.

    On a GPU that of torch's allocator. On a CPU the process's resident memory, by the kernel's own high-water mark,
    which is set back first: loading a model may need more than training with it. (``getrusage`` cannot be reset.)
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            self._start = torch.cuda.memory_allocated(device)
            return
        ctypes.CDLL(None).malloc_trim(0)  # pages that are free in the heap would be used again unseen
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._start = _resident("VmRSS")

    def megabytes(self) -> float:
        """The peak so far in MB (10^6 bytes)."""
        if self._device.type == "cuda":
            return (torch.cuda.max_memory_allocated(self._device) - self._start) / MB
        return (_resident("VmHWM") - self._start) / MB


def _resident(field: str) -> int:
    """Bytes of ``field`` in the kernel's account of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"the kernel does not report {field}")
