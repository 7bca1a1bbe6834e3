"""The order of clips in an epoch: a function of the replica's key and the epoch alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from sept_core.schedule import Schedule

__all__ = ["epoch_batches"]


def epoch_batches(rows: Sequence[int], key: str, epoch: int, schedule: Schedule) -> list[list[int]]:
    """The rows of a replica's clips in the order of an epoch, batch by batch.

    Args:
        rows: Rows of the replica's training clips.
        key: The key of its random numbers: dataset, fold and seed.
        epoch: Epochs trained before.
        schedule: Has the batch size, and whether an incomplete last batch is left out.
    """
    digest = hashlib.sha256(f"{key}/order/{epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    order = [rows[index] for index in torch.randperm(len(rows), generator=generator).tolist()]
    size = schedule.batch_size
    return [order[at * size : (at + 1) * size] for at in range(schedule.batches(len(order)))]
