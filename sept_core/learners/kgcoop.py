"""KgCoOp (Yao et al., CVPR 2023, eq. 4-5): CoOp held near the hand-crafted prompts by a knowledge-guided loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sept_core.hyper import HyperParameter, Value
from sept_core.learners.base import Params
from sept_core.learners.coop import CoOp
from sept_core.learners.zero_shot import TEMPLATE, hand_written

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower

__all__ = ["KgCoOp"]


class KgCoOp(CoOp):
    """CoOp plus ``w * (1 - mean_c cos(z_c, z_c^hand))``; the anchors z^hand act in training only.

    Parameters: those of CoOp.
    """

    name = "kgcoop"
    hyper = (
        *CoOp.hyper,
        TEMPLATE,
        HyperParameter("kg_weight", float, "weight of KgCoOp's loss (w)", 8.0, low=0.0, high=1e4),
    )

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        super().__init__(tower, hyper, classes)
        self.weight = float(hyper["kg_weight"])
        self.anchors = hand_written(tower, str(hyper["template"]), self.classes)

    def penalty(self, params: Params, text: Tensor) -> Tensor:
        """Distance of the class features ``[replicas, classes, dim]`` to their anchors."""
        from torch.nn import functional as F

        cosine = (F.normalize(text, dim=-1) * self.anchors).sum(-1)
        return self.weight * (1.0 - cosine.mean(-1))
