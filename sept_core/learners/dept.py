"""DePT (Zhang et al., CVPR 2024, eq. 5-9), plugged into CoOp: base-specific knowledge goes into a head of its own.

A linear head classifies text and audio features, each through its own FiLM, over the training classes; it is trained
together with the similarity and used for training classes only. So knowledge about them need not be put into the
context, which other classes use.

Our reading: FiLM acts on unit-norm features (the embedding store has no others), text and audio alike, so that the
head sees both at one scale.

Ranking base and new names together is our reading too, since the head's logits and the similarity have no common zero:
the head's loss does not change if all its logits grow by the same number, so its mix with the similarity cannot be
compared with the similarity of another name. All names have a similarity. It gives the probability that a clip belongs
to any training class; the mix gives the probability of each of them: ``P(c) = P_sim(training classes) *
P_mix(c | training classes)``, and ``P_sim`` for any other name. The authors' code mixes in the head for exactly the
training classes and uses the similarity alone for any other set of names, all names included (Koorye/DePT,
trainers/elp_coop.py, ``forward``); that discards the head's knowledge as soon as there is one more name, and a clip
could then be right among all names and wrong among the training classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from sept_core.hyper import HyperParameter, Value
from sept_core.learners.base import Init, Params
from sept_core.learners.coop import CoOp

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower

__all__ = ["DePT"]

HEAD_LR = 6.5
"""FiLM and head learn this many times faster than the context, as in the authors' code."""
_HEAD = ("film_text.scale", "film_text.bias", "film_audio.scale", "film_audio.bias", "head.weight", "head.bias")


class DePT(CoOp):
    """Loss ``(1-w) CE(similarity) + w CE(head)``; training classes: the same mix of logits; others: similarity only.

    Parameters: ``ctx``; ``film_text.*``, ``film_audio.*`` (``scale`` and ``bias``, ``[replicas, dim]``);
    ``head.weight [replicas, classes, dim]``, ``head.bias [replicas, classes]``.
    """

    name = "dept"
    hyper = (
        *CoOp.hyper,
        HyperParameter("dept_weight", float, "weight of DePT's head (w) in the loss", 0.7, low=0.0, high=1.0),
    )
    lr_factors: ClassVar[Mapping[str, float]] = dict.fromkeys(_HEAD, HEAD_LR)

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        super().__init__(tower, hyper, classes)
        self.weight = float(hyper["dept_weight"])

    def init(self, init: Init) -> dict[str, Tensor]:
        """Context as CoOp's, FiLM the identity, the head as torch.nn.Linear starts."""
        dim = self.tower.dim
        films = {
            f"film_{side}.{part}": init.full(value, dim)
            for side in ("text", "audio")
            for part, value in (("scale", 1.0), ("bias", 0.0))
        }
        return {**super().init(init), **films, **init.linear("head", dim, len(self.classes))}

    def logits(self, params: Params, audio: Tensor, text: Tensor, names: Sequence[str], *, base: bool) -> Tensor:
        """Mixed with the head's for training classes; the similarity alone for any others."""
        similarity = super().logits(params, audio, text, names, base=base)
        if not base:
            return similarity
        return (1.0 - self.weight) * similarity + self.weight * self._head(params, "audio", audio)

    def offset(self, params: Params, audio: Tensor, text: Tensor) -> Tensor:
        """The similarity's log-sum over the training classes minus the mix's: so their total probability is that of the
        similarity."""
        similarity = super().logits(params, audio, text, self.classes, base=True)
        return similarity.logsumexp(-1) - self.logits(params, audio, text, self.classes, base=True).logsumexp(-1)

    def loss(self, params: Params, audio: Tensor, labels: Tensor, text: Tensor) -> Tensor:
        """Loss of each clip; the head sees the clip's class feature and the clip, both with its label."""
        from torch.nn import functional as F

        similarity = super().logits(params, audio, text, self.classes, base=True)
        named = F.normalize(text, dim=-1).gather(1, labels[..., None].expand(-1, -1, text.shape[-1]))
        head = [_cross_entropy(self._head(params, side, x), labels) for side, x in (("text", named), ("audio", audio))]
        return (1.0 - self.weight) * _cross_entropy(similarity, labels) + self.weight * (head[0] + head[1]) / 2

    def _head(self, params: Params, side: str, x: Tensor) -> Tensor:
        """Head logits ``[replicas, clips, classes]`` of unit-norm features ``[replicas, clips, dim]``."""
        import torch

        filmed = params[f"film_{side}.scale"][:, None] * x + params[f"film_{side}.bias"][:, None]
        return torch.baddbmm(params["head.bias"][:, None], filmed, params["head.weight"].transpose(1, 2))


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    from torch.nn import functional as F

    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
