"""One step's training clips: a batch for each of several replicas, padded to one length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ClipBatch"]


@dataclass(frozen=True)
class ClipBatch:
    """A batch of clips for each of several replicas.

    Attributes:
        audio: Unit-norm features ``[replicas, clips, dim]``.
        labels: Index of each clip's class ``[replicas, clips]``.
        weights: ``[replicas, clips]``: each clip's share of its replica's mean loss, 0 for padding.
    """

    audio: Tensor
    labels: Tensor
    weights: Tensor

    @classmethod
    def of(cls, audio: Tensor, labels: Tensor, batches: Sequence[Sequence[int]], longest: int) -> ClipBatch:
        """One batch of each replica, padded to ``longest`` clips with clips of weight 0.

        Args:
            audio: Unit-norm features ``[clips, dim]`` of the whole dataset.
            labels: The class of every clip ``[clips]``.
            batches: For each replica the rows of its clips.
            longest: Clips of the longest batch.
        """
        padded = torch.tensor([[*batch, *[batch[0]] * (longest - len(batch))] for batch in batches])
        weights = torch.tensor([[1.0 / len(batch)] * len(batch) + [0.0] * (longest - len(batch)) for batch in batches])
        rows = padded.to(audio.device)
        return cls(audio[rows], labels[rows], weights.to(audio))
