"""The one place that makes torch compute the same numbers every time: for trials and for embeddings."""

from __future__ import annotations

import os

__all__ = ["compute_deterministically"]


def compute_deterministically(*, warn_only: bool = False) -> None:
    """Use deterministic algorithms only, in this process. Call it before CUDA starts.

    Args:
        warn_only: Whether an operation without a deterministic algorithm warns instead of failing.
    """
    import torch

    # CUDA's matrix products need it to be deterministic; it is read when CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
