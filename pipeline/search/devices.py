"""What torch is told once per process that trains, before it does: the same numbers every time."""

from __future__ import annotations

import os
from functools import lru_cache

import torch

__all__ = ["prepare_torch"]


@lru_cache(maxsize=1)
def prepare_torch(threads: int, gpu: bool) -> None:
    """As many threads as CPUs were given, and deterministic algorithms only."""
    if gpu:
        # What CUDA's matrix products need to be deterministic; read when CUDA starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
