"""What torch is told where a trial is computed: the same numbers every time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

__all__ = ["as_a_worker", "prepare_torch"]


@lru_cache(maxsize=1)
def prepare_torch(threads: int, gpu: bool) -> None:
    """As many threads as CPUs were given, and deterministic algorithms only; once per process that trains nothing else.

    Args:
        threads: Threads.
        gpu: Whether it computes on a GPU.
    """
    _set(threads, gpu)


@contextmanager
def as_a_worker(threads: int, gpu: bool) -> Iterator[None]:
    """The same within, put back at the end: the last digits depend on both."""
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    _set(threads, gpu)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def _set(threads: int, gpu: bool) -> None:
    import torch

    if gpu:
        # What CUDA's matrix products need to be deterministic; read when CUDA starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
