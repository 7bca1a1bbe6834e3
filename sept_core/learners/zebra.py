"""ZEBRA (Hanif and Yaqub, Interspeech 2026, arXiv 2606.31587): fusion with zero-shot logits and an entropy term.

A modifier that any baseline takes. With the baseline's logits y and the zero-shot logits y0 of the same names:

    y' = (1 - w) y + w y0                        in training and in prediction, for training classes and any others
    L = CE(y') - lambda H(softmax(y'))           and whatever else the baseline adds to its loss

so confident predictions for training classes cost something. The formula and the published settings (w = 0.5, lambda =
0.05) are those of the authors' code (asif-hanif/zebra, methods/coop.py and utils/utils.py); we had the paper's abstract
only.

Our reading: both kinds of logits have the same scale; the zero-shot prompt is the dataset's template unless
``template`` is set; a baseline whose loss is not the cross-entropy of its logits (DePT) keeps its own loss, next to the
entropy of the fused logits. SEPT acts on the baseline's text features, which ZEBRA does not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sept_core.hyper import HyperParameter, Value
from sept_core.learners.base import Learner, Params
from sept_core.learners.modifier import Modifier
from sept_core.learners.zero_shot import TEMPLATE, hand_written

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower

__all__ = ["Zebra"]


class Zebra(Modifier):
    """Logits ``(1 - w) y + w y0``; loss minus ``lambda`` times their entropy.

    Parameters: those of the baseline.
    """

    name = "zebra"
    adds = (
        TEMPLATE,
        HyperParameter("zebra_weight", float, "weight of zero-shot logits, in ZEBRA's fusion", 0.5, low=0.0, high=1.0),
        HyperParameter("zebra_entropy", float, "weight of ZEBRA's entropy term", 0.05, low=0.0, high=10.0),
    )

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        super().__init__(tower, hyper, classes)
        self.template = str(hyper["template"])
        self.weight = float(hyper["zebra_weight"])
        self.entropy = float(hyper["zebra_entropy"])

    def logits(self, params: Params, audio: Tensor, text: Tensor, names: Sequence[str], *, base: bool) -> Tensor:
        """The baseline's, fused with the zero-shot logits of the names."""
        plain = self.logit_scale * audio @ hand_written(self.tower, self.template, names).T
        return (1.0 - self.weight) * super().logits(params, audio, text, names, base=base) + self.weight * plain

    def offset(self, params: Params, audio: Tensor, text: Tensor) -> Tensor:
        """That of the fused logits: what the training classes have in total as names like any others."""
        as_others, known = (self.logits(params, audio, text, self.classes, base=base) for base in (False, True))
        return as_others.logsumexp(-1) - known.logsumexp(-1)

    def loss(self, params: Params, audio: Tensor, labels: Tensor, text: Tensor) -> Tensor:
        """Cross-entropy of the fused logits, or the baseline's own loss, minus the weighted entropy."""
        plain = type(self.inner).loss is Learner.loss
        loss = Learner.loss(self, params, audio, labels, text) if plain else super().loss(params, audio, labels, text)
        chances = self.logits(params, audio, text, self.classes, base=True).log_softmax(-1)
        return loss + self.entropy * (chances.exp() * chances).sum(-1)
