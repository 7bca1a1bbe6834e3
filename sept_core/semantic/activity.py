"""How much SEPT acts in a training: the share of its hinges that are active, and of the gradient that is its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ACTIVITY", "gradient_share", "gradients_of"]

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


def gradients_of(added: Mapping[int, Tensor], params: Sequence[Mapping[str, Tensor]]) -> dict[int, list[Tensor]]:
    """The gradients of SEPT's part of the losses of trainings that share a batch.

    One more backward pass is enough to compare gradients: the base loss's is what the whole loss's has in addition.

    Args:
        added: By place of the training, its lambda (L_intra + L_inter) ``[replicas]``. The graph is not freed.
        params: The parameters of each training.

    Returns:
        By place, a gradient for each parameter; zeros for one that SEPT does not depend on.
    """
    import torch

    if not added:
        return {}
    gradients = iter(
        torch.autograd.grad(
            torch.stack([part.sum() for part in added.values()]).sum(),
            [value for at in added for value in params[at].values()],
            retain_graph=True,
            materialize_grads=True,
        )
    )
    return {at: [next(gradients) for _ in params[at]] for at in added}


def _norms(gradients: Sequence[Tensor]) -> Tensor:
    """The norm over all parameters ``[replicas]``, in float64, in which no square of a float32 overflows."""
    import torch

    return torch.stack([gradient.double().flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
