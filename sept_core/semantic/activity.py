"""How much SEPT acts in a training: the share of its hinges that are active, and of the gradient that is its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ACTIVITY", "gradient_share"]

ACTIVITY = ("active_intra", "active_inter", "gradient")
"""What a report of a trial with SEPT says about it, as ``sept/<name>``, in percent."""


def gradient_share(sept: Sequence[Tensor], total: Sequence[Tensor]) -> Tensor:
    """The norm of the gradient of SEPT's part as a share of it plus the norm of the base loss's.

    A share rather than a ratio: the base loss of clips that are all classified with certainty has no gradient.

    Args:
        sept: Gradients of lambda (L_intra + L_inter) with respect to all parameters, each ``[replicas, ...]``.
        total: Gradients of the whole loss, in the same order; without SEPT's they are those of the base loss.

    Returns:
        Percent ``[replicas]``: 0 if SEPT does nothing, 50 if both norms are equal, 100 if only SEPT acts.
    """
    own = _norms(sept)
    both = own + _norms([whole - part for whole, part in zip(total, sept, strict=True)])
    return (100.0 * own / both).where(both > 0, 0.0)


def _norms(gradients: Sequence[Tensor]) -> Tensor:
    """The norm over all parameters ``[replicas]``, in float64, in which no square of a float32 overflows."""
    import torch

    return torch.stack([gradient.double().flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
