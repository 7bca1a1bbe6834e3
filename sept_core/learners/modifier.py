"""The contract of a modifier: it takes any baseline and changes what is trained or predicted, as ``coop+zebra`` does.

SEPT is the modifier that needs texts of its own, and so has its own place (``sept_core/semantic/``); it acts on the
features of whatever it is added to, and is always named last: ``coop+zebra+sept``.

To add one: one file with a subclass, its line in ``learners/__init__.py``, a space in ``search_spaces/`` and a test.
Every method of a modifier that it does not define is the baseline's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from sept_core.hyper import HyperParameter, Value
from sept_core.learners.base import Init, Learner, Params

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower
    from sept_core.encoders.prefix import PromptBank

__all__ = ["Modifier"]


class Modifier(Learner):
    """A baseline with something added to its loss or its logits.

    Parameters: those of the baseline, and its own, if it has any.

    Attributes:
        adds: Its own hyper-parameters.
        baseline: The class of the baseline, set by `over`.
        inner: The baseline.
    """

    adds: ClassVar[tuple[HyperParameter, ...]] = ()
    baseline: ClassVar[type[Learner]]

    @classmethod
    def over(cls, baseline: type[Learner]) -> type[Learner]:
        """This modifier on a baseline, as a learner."""
        known = {parameter.name for parameter in baseline.hyper}
        # Not `reads_clips`: what a modifier adds may read clips (ZEBRA's entropy), whatever its baseline does.
        facts = ("trainable", "lr_factors", "unseen", "learns_text", "starts_from_clips", "conditional")
        return type(
            f"{cls.__name__}Over{baseline.__name__}",
            (cls,),
            {
                "name": f"{baseline.name}+{cls.name}",
                "baseline": baseline,
                "hyper": (*baseline.hyper, *(own for own in cls.adds if own.name not in known)),
                **{fact: getattr(baseline, fact) for fact in facts},
            },
        )

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        super().__init__(tower, hyper, classes)
        self.inner = self.baseline(tower, hyper, classes)
        self.guide_strength = self.inner.guide_strength

    @property
    def shape(self) -> tuple[object, ...]:
        """The baseline's, and its own class."""
        return (type(self), *self.inner.shape)

    def init(self, init: Init) -> dict[str, Tensor]:
        """The baseline's."""
        return self.inner.init(init)

    def features(self, params: Params, audio: Tensor | None, bank: PromptBank) -> Tensor:
        """The baseline's."""
        return self.inner.features(params, audio, bank)

    def logits(self, params: Params, audio: Tensor, text: Tensor, names: Sequence[str], *, base: bool) -> Tensor:
        """The baseline's."""
        return self.inner.logits(params, audio, text, names, base=base)

    def offset(self, params: Params, audio: Tensor, text: Tensor) -> Tensor:
        """The baseline's."""
        return self.inner.offset(params, audio, text)

    def loss(self, params: Params, audio: Tensor, labels: Tensor, text: Tensor) -> Tensor:
        """The baseline's."""
        return self.inner.loss(params, audio, labels, text)

    def penalty(self, params: Params, text: Tensor) -> Tensor:
        """The baseline's."""
        return self.inner.penalty(params, text)

    def guide(self, params: Params, audio: Tensor, text: Tensor) -> Tensor | None:
        """The baseline's."""
        return self.inner.guide(params, audio, text)

    def tokens(self, bank: PromptBank) -> int:
        """The baseline's."""
        return self.inner.tokens(bank)
