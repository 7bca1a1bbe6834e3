"""Linear probe (Radford et al., ICML 2021, section 3.2; for audio Elizalde et al., ICASSP 2023): a linear classifier on
frozen clip features, which uses no text.

    logits = s (W x + b)

x is the unit-norm feature of the clip. Radford et al. fit a logistic regression with L-BFGS and search the weight of
its L2 penalty. Our reading: the same convex loss is minimised by SGD like every other method here, the penalty is
``weight_decay``, and W and b start at 0. s only changes the unit of W: features of unit norm need a large W, which SGD
would reach slowly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from sept_core.hyper import HyperParameter
from sept_core.learners.base import LOGIT_SCALE, Init, Learner, Params
from sept_core.learners.optimiser import OPTIMISER
from sept_core.prompt_form import NAME_CASE

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.prefix import PromptBank

__all__ = ["LinearProbe"]


class LinearProbe(Learner):
    """A row of weights and a bias for each training class, and none for any other name.

    Parameters: ``weight [replicas, classes, dim]``, ``bias [replicas, classes]``.
    """

    name = "linear-probe"
    hyper: ClassVar[tuple[HyperParameter, ...]] = (LOGIT_SCALE, *OPTIMISER, NAME_CASE)
    unseen = False
    learns_text = False

    def init(self, init: Init) -> dict[str, Tensor]:
        """Zeros."""
        size = len(self.classes)
        return {"weight": init.full(0.0, size, self.tower.dim), "bias": init.full(0.0, size)}

    def features(self, params: Params, audio: Tensor | None, bank: PromptBank) -> Tensor:
        """The classes' rows of W, which take the place of text features.

        Raises:
            InputError: A name is not a training class.
        """
        return params["weight"][:, self.rows_of(bank.names)]

    def logits(self, params: Params, audio: Tensor, text: Tensor, names: Sequence[str], *, base: bool) -> Tensor:
        """``s (W x + b)``."""
        bias = params["bias"][:, self.rows_of(names)]
        return self.logit_scale * (audio @ text.transpose(1, 2) + bias[:, None])
