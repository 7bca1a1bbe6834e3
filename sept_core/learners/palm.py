"""PALM (Hanif et al., EMNLP 2024): a learned vector per class, mixed into the class's text feature.

    t_c' = (1 - sigmoid(lambda_c)) t_c + sigmoid(lambda_c) v_c        logits = s cos(x, t_c')

``t_c`` is the unit-norm feature of the class's name alone; ``v_c`` and ``lambda_c`` are learned by cross-entropy, and
no gradient passes through the text tower. As in the authors' code (asif-hanif/palm, palm/palm.py), ``v_c`` starts from
N(0, 0.02^2), ``lambda_c`` from U[0, 1), and a name has no full stop. That code fixes s = 100; here s is the encoder's
own unless a sweep sets it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from sept_core.hyper import HyperParameter, Value
from sept_core.learners.base import LOGIT_SCALE, Init, Learner, Params
from sept_core.learners.optimiser import OPTIMISER
from sept_core.prompt_form import NAME_CASE

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower
    from sept_core.encoders.prefix import PromptBank

__all__ = ["PALM"]

VECTOR_STD = 0.02
"""Standard deviation of a fresh vector, as in the authors' code."""


class PALM(Learner):
    """A vector and a gate for each training class, and none for any other name.

    Parameters: ``vectors [replicas, classes, dim]``, ``gates [replicas, classes]``.
    """

    name = "palm"
    hyper: ClassVar[tuple[HyperParameter, ...]] = (LOGIT_SCALE, *OPTIMISER, NAME_CASE)
    unseen = False
    learns_text = False

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        from torch.nn import functional as F

        super().__init__(tower, hyper, classes)
        self.plain = F.normalize(tower.encode(self.classes), dim=-1)  # [classes, dim]

    def init(self, init: Init) -> dict[str, Tensor]:
        """Vectors ~ N(0, 0.02), gates ~ U[0, 1)."""
        size = len(self.classes)
        return {
            "vectors": VECTOR_STD * init.normal("vectors", size, self.tower.dim),
            "gates": 0.5 + init.uniform("gates", size, bound=0.5),
        }

    def features(self, params: Params, audio: Tensor | None, bank: PromptBank) -> Tensor:
        """The mixed features of training classes.

        Raises:
            InputError: A name is not a training class.
        """
        rows = self.rows_of(bank.names)
        gates = params["gates"][:, rows, None].sigmoid()  # [replicas, names, 1]
        return (1.0 - gates) * self.plain[rows] + gates * params["vectors"][:, rows]
