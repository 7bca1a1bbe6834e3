r"""SubT (Jang et al., 2026, arXiv 2606.18560): zero-shot text features, moved by a basis that all names share.

Formula as in the authors' code (jhyukjang/SubT, trainers/subt.py). Z0 are the unit-norm zero-shot features of the
training classes, ``Z0 = U S V0^T`` (in full rank) their singular value decomposition, and V, which starts at V0, is
learned. For any name with the unit-norm zero-shot feature z0:

    structured subspace parameterization   u = norm(z0 V0 V^T)    (U S V^T for training classes)
    residual anchoring                     z = norm(z0 + b u)
    subspace-aware gating                  b = clamp(||z0 V0||, 0, 1), which is 1 for training classes

No gradient passes through the text tower: its features of hand-written prompts are all that is needed of it. SubT
starts at zero-shot, and all replicas start the same.

V0 itself is not unique: a computer may return other signs. A learned V would then be read against another V0. So we
learn ``U V^T``, whose start ``U V0^T`` is the orthogonal matrix nearest to Z0 and unique. This changes nothing else:
U is orthogonal, so gradients, momentum and weight decay turn with it, and every feature along the training is the same
(a test compares both). With more training classes than dimensions the subspace is the whole space, and the identity
takes the place of V0, for the same reason.

Our reading: SEPT's neighbours are names like any other, with a gate of their own; the template is the dataset's
zero-shot one unless ``template`` is set (the authors' has words of their own for some datasets). The authors train with
a learning rate of 0.0125.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from sept_core.hyper import HyperParameter, Value
from sept_core.learners.base import LOGIT_SCALE, Init, Learner, Params
from sept_core.learners.optimiser import OPTIMISER
from sept_core.learners.zero_shot import TEMPLATE, hand_written
from sept_core.prompt_form import NAME_CASE

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower
    from sept_core.encoders.prefix import PromptBank

__all__ = ["SubT"]


class SubT(Learner):
    """z = z0 + clamp(|z0 B0^T|, 0, 1) norm(z0 B0^T B), with B learned from B0, a basis of the training classes' span.

    Parameters: ``basis [replicas, min(classes, dim), dim]``.
    """

    name = "subt"
    hyper: ClassVar[tuple[HyperParameter, ...]] = (LOGIT_SCALE, *OPTIMISER, NAME_CASE, TEMPLATE)

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        super().__init__(tower, hyper, classes)
        self.template = str(hyper["template"])
        self.basis = _basis(hand_written(tower, self.template, self.classes))  # B0 [min(classes, dim), dim]

    @property
    def shape(self) -> tuple[object, ...]:
        """The template and the training classes too: they decide z0 and B0."""
        return (*super().shape, self.template, self.classes)

    def init(self, init: Init) -> dict[str, Tensor]:
        """The basis of the zero-shot features, the same for every replica."""
        basis = self.basis.to(init.device, init.dtype)
        return {"basis": basis.expand(len(init.keys), *basis.shape).clone()}

    def features(self, params: Params, audio: Tensor | None, bank: PromptBank) -> Tensor:
        """z of every name; in the precision of the parameters, since the text tower is not part of the training."""
        import torch
        from torch.nn import functional as F

        basis = params["basis"]
        with torch.autocast(basis.device.type, enabled=False):
            plain = hand_written(self.tower, self.template, bank.names)  # z0 [names, dim]
            inside = plain @ self.basis.T  # [names, rank]
            gate = inside.norm(dim=-1, keepdim=True).clamp(0.0, 1.0)
            return plain + gate * F.normalize(inside @ basis, dim=-1)

    def tokens(self, bank: PromptBank) -> int:
        """One for each name: the text tower reads nothing."""
        return len(bank)


def _basis(plain: Tensor) -> Tensor:
    """An orthonormal basis ``[rank, dim]`` of the span of features ``[classes, dim]``, a unique one."""
    import torch

    if plain.shape[0] >= plain.shape[1]:
        return torch.eye(plain.shape[1]).to(plain)
    u, _, v = torch.linalg.svd(plain.double(), full_matrices=False)
    return (u @ v).to(plain)
