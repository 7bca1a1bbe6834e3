"""LASP (Bulat and Tzimiropoulos, CVPR 2023): CoOp whose class features are classified among hand-written prompts.

A text-to-text cross-entropy is added to CoOp's loss: the learned feature t_c of class c, taken for a clip, has to be
classified as c among the features h_k^l of the training classes in each of L hand-written templates:

    L_TT = mean_l mean_c -log softmax_k(s cos(t_c, h_k^l))[c]
    L = CE + w L_TT

A learned vector, the same for all names, is added to what the text tower returns (the paper's correction for the
misalignment of text and clips): ``t = f_t([V][name]) + bias``. It starts at 0, as in the authors' code.

The loss, its means over classes and templates, the bias and one group of prompts are those of the authors' code and
configurations (1adrianb/lasp, prompting/lasp.py), which have w = 5 or 10 by data set. What is not here: the fine-tuning
of layer norms in the tower of clips (its features are stored), virtual classes (names of new classes would enter the
training), and the noise that the code adds to h in half of the steps. Our reading: the templates, as the paper's are
for images: the dataset's zero-shot one and ``TEXTS``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sept_core.hyper import HyperParameter, Value
from sept_core.learners.base import Init, Params
from sept_core.learners.coop import CoOp
from sept_core.learners.zero_shot import TEMPLATE, hand_written

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower
    from sept_core.encoders.prefix import PromptBank

__all__ = ["LASP", "TEXTS"]

TEXTS = ("{}.", "A recording of {}.", "The sound of {}.", "An audio clip labelled {}.", "You can hear {}.")
"""Hand-written templates in addition to the dataset's own: those that fit sounds, voices, scenes and music alike."""


class LASP(CoOp):
    """CoOp, a bias on text features, and ``w`` times the text-to-text loss, which acts in training only.

    Parameters: those of CoOp and ``bias [replicas, dim]``.
    """

    name = "lasp"
    hyper = (
        *CoOp.hyper,
        TEMPLATE,
        HyperParameter("lasp_weight", float, "weight of LASP's text-to-text loss (w)", 5.0, low=0.0, high=1e4),
    )

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        import torch

        super().__init__(tower, hyper, classes)
        self.weight = float(hyper["lasp_weight"])
        templates = dict.fromkeys((str(hyper["template"]), *TEXTS))
        self.anchors = torch.stack([hand_written(tower, template, self.classes) for template in templates])

    def init(self, init: Init) -> dict[str, Tensor]:
        """Context as CoOp's, no bias."""
        return {**super().init(init), "bias": init.full(0.0, self.tower.dim)}

    def features(self, params: Params, audio: Tensor | None, bank: PromptBank) -> Tensor:
        """f_t([V][name]) of every name, and the bias."""
        return super().features(params, audio, bank) + params["bias"][:, None]

    def penalty(self, params: Params, text: Tensor) -> Tensor:
        """w L_TT of the class features ``[replicas, classes, dim]``."""
        import torch
        from torch.nn import functional as F

        logits = self.logit_scale * torch.einsum("rcd,lkd->rlck", F.normalize(text, dim=-1), self.anchors)
        right = logits.log_softmax(-1).diagonal(dim1=-2, dim2=-1)  # [replicas, templates, classes]
        return -self.weight * right.mean((1, 2))
