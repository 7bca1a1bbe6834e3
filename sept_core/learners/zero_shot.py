"""Zero-shot: the dataset's hand-crafted template, nothing learned (Radford et al., ICML 2021; CLAP for audio)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from sept_core.hyper import HyperParameter, Value
from sept_core.learners.base import LOGIT_SCALE, Init, Learner, Params
from sept_core.prompt_form import NAME_CASE
from sept_core.semantic.templates import fill

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower
    from sept_core.encoders.prefix import PromptBank

__all__ = ["TEMPLATE", "ZeroShot", "hand_written"]

TEMPLATE = HyperParameter("template", str, "hand-crafted prompt with one {}; the dataset's own by default")


def hand_written(tower: TextTower, template: str, names: Sequence[str]) -> Tensor:
    """Unit-norm features ``[names, dim]`` of a hand-written template filled with names as used in prompts."""
    from torch.nn import functional as F

    return F.normalize(tower.encode(fill(template, names, lower=False)), dim=-1)


class ZeroShot(Learner):
    """Prompt = template filled with the name.

    Parameters: only ``replicas [replicas, 0]``, so that it has a first axis like every other learner.
    """

    name = "zero-shot"
    hyper: ClassVar[tuple[HyperParameter, ...]] = (LOGIT_SCALE, NAME_CASE, TEMPLATE)
    trainable = False
    reads_clips = False

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        super().__init__(tower, hyper, classes)
        self.template = str(hyper["template"])

    @property
    def shape(self) -> tuple[object, ...]:
        """The class and the template."""
        return (type(self), self.template)

    def init(self, init: Init) -> dict[str, Tensor]:
        """Nothing to learn."""
        return {"replicas": init.normal("replicas", 0)}

    def features(self, params: Params, audio: Tensor | None, bank: PromptBank) -> Tensor:
        """f_t(template(name)), the same for every replica."""
        return self._hand_written(len(params["replicas"]), bank)

    def _hand_written(self, replicas: int, bank: PromptBank) -> Tensor:
        features = self.tower.encode(fill(self.template, bank.names, lower=False))
        return features.expand(replicas, *features.shape)
