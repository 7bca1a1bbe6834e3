"""CoOp (Zhou et al., IJCV 2022, eq. 3): one context, shared by all classes, learned by cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from sept_core.errors import InputError
from sept_core.hyper import HyperParameter, Value
from sept_core.learners.base import LOGIT_SCALE, Init, Learner, Params
from sept_core.learners.optimiser import OPTIMISER
from sept_core.prompt_form import NAME_CASE, PROMPT_END

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower
    from sept_core.encoders.prefix import PromptBank

__all__ = ["CONTEXT_INIT", "CoOp", "settled_context"]

CONTEXT_STD = 0.02
"""Standard deviation of a fresh context vector, as in the authors' code."""

RANDOM = "random"
CONTEXT_INIT = HyperParameter(
    "context_init",
    str,
    "initial context: random, or words such as 'a photo of a' (KgCoOp), whose tokens n_ctx has to match",
    RANDOM,
    before=RANDOM,
)
N_CTX = HyperParameter(
    "n_ctx", int, "tokens of the learned context; 0: as many as context_init has", 16, low=0, high=64, column=True
)


def settled_context(tower: TextTower, hyper: Mapping[str, Value], where: str) -> dict[str, Value]:
    """The hyper-parameters with ``n_ctx`` set to the length of the words of ``context_init``, if it is 0.

    In the authors' code the words decide and the length is ignored; here a different length is refused.

    Args:
        tower: Tokenises the words.
        hyper: Complete hyper-parameters; those without a context are returned unchanged.
        where: Names their owner in errors.

    Raises:
        InputError: Length and words do not match.
    """
    if "n_ctx" not in hyper:
        return dict(hyper)
    length, words = int(hyper["n_ctx"]), str(CONTEXT_INIT.of(hyper))
    if words == RANDOM:
        if length < 1:
            fix = "give n_ctx a length, or context_init words"
            raise InputError("a random context of no tokens", where=f"{where}: n_ctx", fix=fix)
        return dict(hyper)
    if not words.strip():
        raise InputError("holds no words", where=f"{where}: context_init", fix="give it words, or 'random'")
    tokens = len(tower.words(words))
    if length not in (0, tokens):
        raise InputError(
            f"the words '{words}' are {tokens} tokens for this encoder, and n_ctx is {length}",
            where=f"{where}: context_init",
            fix=f"set n_ctx to {tokens}, or to 0 for the length of the words",
        )
    return {**hyper, "n_ctx": tokens}


class CoOp(Learner):
    """Prompt = [V][name] and a full stop (``sept_core/prompt_form.py``); unseen classes: swap the names.

    Parameters: ``ctx [replicas, n_ctx, token_dim]``.
    """

    name = "coop"
    hyper: ClassVar[tuple[HyperParameter, ...]] = (
        LOGIT_SCALE,
        *OPTIMISER,
        N_CTX,
        CONTEXT_INIT,
        PROMPT_END,
        NAME_CASE,
    )

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        super().__init__(tower, hyper, classes)
        hyper = settled_context(tower, hyper, self.name)
        self.n_ctx = int(hyper["n_ctx"])
        self.words = str(CONTEXT_INIT.of(hyper))

    def init(self, init: Init) -> dict[str, Tensor]:
        """Context ~ N(0, 0.02), or the token embeddings of words, the same for every replica."""
        if self.words == RANDOM:
            return {"ctx": CONTEXT_STD * init.normal("ctx", self.n_ctx, self.tower.token_dim)}
        ids = self.tower.words(self.words).to(init.device)
        embedded = self.tower.embed(ids).detach().to(init.dtype)
        return {"ctx": embedded.expand(len(init.keys), *embedded.shape).clone()}

    def features(self, params: Params, audio: Tensor | None, bank: PromptBank) -> Tensor:
        """f_t([V][name]) of every name."""
        from sept_core.encoders.prefix import encode_prompts

        return encode_prompts(self.tower, params["ctx"], bank)

    def tokens(self, bank: PromptBank) -> int:
        """The shared context once plus the tokens of every name, or one complete prompt per name."""
        if self.tower.causal:
            return self.n_ctx + bank.tokens
        return len(bank) * (self.n_ctx + bank.longest)
