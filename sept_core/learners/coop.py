"""CoOp (Zhou et al., IJCV 2022, eq. 3): one context, shared by all classes, learned by cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from sept_core.hyper import HyperParameter, Value
from sept_core.learners.base import LOGIT_SCALE, Init, Learner, Params

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower
    from sept_core.encoders.prefix import PromptBank

__all__ = ["CoOp"]

CONTEXT_STD = 0.02
"""Standard deviation of a fresh context vector, as in the authors' code."""


class CoOp(Learner):
    """Prompt = [V][name]; unseen classes: swap the names.

    Parameters: ``ctx [replicas, n_ctx, token_dim]``.
    """

    name = "coop"
    hyper: ClassVar[tuple[HyperParameter, ...]] = (
        LOGIT_SCALE,
        HyperParameter("lr", float, "learning rate of SGD, decayed by a cosine", 0.002, low=1e-8, high=10.0),
        HyperParameter("n_ctx", int, "length of the learned context", 16, low=1, high=64),
    )

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        super().__init__(tower, hyper, classes)
        self.n_ctx = int(hyper["n_ctx"])

    def init(self, init: Init) -> dict[str, Tensor]:
        """Context ~ N(0, 0.02)."""
        return {"ctx": CONTEXT_STD * init.normal("ctx", self.n_ctx, self.tower.token_dim)}

    def features(self, params: Params, audio: Tensor | None, bank: PromptBank) -> Tensor:
        """f_t([V][name]) of every name."""
        from sept_core.encoders.prefix import encode_prompts

        return encode_prompts(self.tower, params["ctx"], bank)

    def tokens(self, bank: PromptBank) -> int:
        """The shared context once and every name's tokens, or a whole prompt per name."""
        if self.tower.causal:
            return self.n_ctx + bank.tokens
        return len(bank) * (self.n_ctx + bank.longest)
