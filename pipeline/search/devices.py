"""How torch computes wherever a trial is computed: with the CPUs of the trial, and the same numbers every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from sept_core.determinism import compute_deterministically

__all__ = ["as_a_worker", "prepare_torch"]


@lru_cache(maxsize=1)
def prepare_torch(threads: int) -> None:
    """Use this many threads and deterministic algorithms only; for a process that does nothing but train trials."""
    import torch

    torch.set_num_threads(threads)
    compute_deterministically()


@contextmanager
def as_a_worker(threads: int) -> Iterator[None]:
    """Compute like a worker inside the block, and as before after it: the last digits depend on the threads."""
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    compute_deterministically()
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
