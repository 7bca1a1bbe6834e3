"""ProGrad (Zhu et al., ICCV 2023, eq. 4-5): CoOp whose steps do not oppose what the zero-shot predictions ask for.

G_d is the gradient of the cross-entropy, G_g that of the divergence KL(p_zero-shot || p) of the predictions for the
batch, both with respect to the context:

    G = G_d                                        if <G_d, G_g> >= 0
    G = G_d - lambda <G_d, G_g> / |G_g|^2 G_g      otherwise

The authors' code (BeierZhu/Prompt-align, ``prograd_backward_and_update``) has the same, with a lambda of 1 and the
cross-entropy form of the KL, whose gradient is the same. The trainer takes the opposing part out
(`sept_core.gradients.not_opposing`).

With SEPT the gradient of the cross-entropy alone is projected, and SEPT's is added as it is: SEPT adds to what its
baseline does, and its loss knows no clips, so it has no few-shot noise from which the projection would protect.

Our reading: the zero-shot prompt is the dataset's template unless ``template`` is set; a context of words
(``context_init``), as in the authors' settings, is an option.
"""

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

__all__ = ["ProGrad"]


class ProGrad(CoOp):
    """CoOp with the part of its gradient that opposes the zero-shot predictions taken out.

    Parameters: those of CoOp.
    """

    name = "prograd"
    hyper = (
        *CoOp.hyper,
        TEMPLATE,
        HyperParameter(
            "prograd_lambda", float, "opposing gradient removed: ProGrad's share of it", 1.0, low=0.0, high=1.0
        ),
    )

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        super().__init__(tower, hyper, classes)
        self.guide_strength = float(hyper["prograd_lambda"])
        self.anchors = hand_written(tower, str(hyper["template"]), self.classes)  # [classes, dim]

    def guide(self, params: Params, audio: Tensor, text: Tensor) -> Tensor | None:
        """Cross-entropy of each clip's predictions with its zero-shot predictions as the target."""
        expected = (self.logit_scale * audio @ self.anchors.T).softmax(-1)
        return -(expected * self.logits(params, audio, text, self.classes, base=True).log_softmax(-1)).sum(-1)
