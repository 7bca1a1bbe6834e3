"""Gradients of parts of the loss, for trainings that share a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["gradients_of", "not_opposing"]


def gradients_of(parts: Mapping[int, Tensor], params: Sequence[Mapping[str, Tensor]]) -> dict[int, list[Tensor]]:
    """The gradients of a part of the losses of trainings that share a batch.

    Args:
        parts: By place of the training, the part ``[replicas]``. The graph is not freed.
        params: The parameters of each training.

    Returns:
        By place, a gradient for each parameter; zeros for one that the part does not depend on.
    """
    import torch

    if not parts:
        return {}
    gradients = iter(
        torch.autograd.grad(
            torch.stack([part.sum() for part in parts.values()]).sum(),
            [value for at in parts for value in params[at].values()],
            retain_graph=True,
            materialize_grads=True,
        )
    )
    return {at: [next(gradients) for _ in params[at]] for at in parts}


def not_opposing(
    whole: Sequence[Tensor], base: Sequence[Tensor], guide: Sequence[Tensor], strength: float
) -> list[Tensor]:
    """The whole gradient without what the base loss's has against a guide's (ProGrad, Zhu et al., ICCV 2023, eq. 5).

    Where ``<base, guide> < 0``, ``strength <base, guide> / <guide, guide> guide`` is subtracted: with a strength of 1
    the rest of the base loss's gradient is orthogonal to the guide's. Each replica has its own products, over all its
    parameters together.

    Args:
        whole: Gradients of the whole loss with respect to all parameters, each ``[replicas, ...]``.
        base: Those of the base loss; those of the whole loss if there is no other part.
        guide: Those of the guide.
        strength: 0 subtracts nothing, 1 all.
    """
    import torch

    def products(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
        pairs = zip(one, other, strict=True)
        return torch.stack([(a.double() * b.double()).flatten(1).sum(1) for a, b in pairs]).sum(0)

    length = products(guide, guide)
    opposed = strength * (products(base, guide) / length).where(length > 0, 0.0).clamp(max=0.0)  # [replicas]
    factors = [opposed.to(part).view(-1, *[1] * (part.dim() - 1)) for part in guide]
    return [own - factor * part for own, factor, part in zip(whole, factors, guide, strict=True)]
