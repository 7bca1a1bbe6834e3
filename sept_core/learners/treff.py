"""TREFF adapter (Liang et al., Interspeech 2023, "Adapting Language-Audio Models as Few-Shot Audio Learners").

Zero-shot plus a cross-attention linear model (CALM) between a clip and the training clips:

    logits = s cos(x, t) + alpha exp(-beta (1 - (W x) (W F)^T)) L

F and L are the features and one-hot labels of the training clips, as in Tip-Adapter; W is one linear map for both. It
starts as the identity, so that the attention is the cosine ("cosine initialisation"), and is trained by
cross-entropy. Without training, TREFF is Tip-Adapter: the same formula, which the authors' code (JinhuaLiang/lam4fsl,
experiments/python/sl_fewshot.py) also has for it, with alpha = 1 and beta = 5.5. Its row is `tip-adapter`.

The text of the paper was not at hand, so the formula is the one of that code (adapter type ``xattention``): W x and W F
are not normalised again. Our reading: SGD on batches, as for every method here, where that code makes 15 steps of AdamW
on all training clips at once; alpha is searched, not learned (its ``train_a`` is off by default).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from sept_core.learners.base import Init, Params
from sept_core.learners.optimiser import OPTIMISER
from sept_core.learners.tip_adapter import TipAdapter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Treff"]


class Treff(TipAdapter):
    """Tip-Adapter whose similarity of clips is learned.

    Parameters: ``weight [replicas, dim, dim]`` (W), and the ``keys`` and ``values`` of Tip-Adapter, which stay as they
    are.
    """

    name = "treff"
    hyper = (*TipAdapter.hyper, *OPTIMISER)
    trainable = True
    lr_factors: ClassVar[Mapping[str, float]] = TipAdapter.lr_factors

    def init(self, init: Init) -> dict[str, Tensor]:
        """The training clips, their labels, and the identity."""
        import torch

        same = torch.eye(self.tower.dim, device=init.device, dtype=init.dtype)
        return {"weight": same.repeat(len(init.keys), 1, 1), **super().init(init)}

    def affinity(self, params: Params, audio: Tensor) -> Tensor:
        """``(W x) (W F)^T``."""
        # There are fewer clips in a batch than training clips, so both maps are applied to the batch.
        mapped = audio @ params["weight"].transpose(1, 2) @ params["weight"]
        return mapped @ params["keys"].transpose(1, 2)
