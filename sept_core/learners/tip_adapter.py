"""Tip-Adapter and Tip-Adapter-F (Zhang et al., ECCV 2022, eq. 2-6): a cache of the training clips beside zero-shot.

    logits = s cos(x, t) + alpha exp(-beta (1 - x F^T)) L

F holds the unit-norm features of the training clips (keys), L their one-hot labels (values), and t is the class's name
in a hand-written template. Tip-Adapter trains nothing: alpha and beta are searched. Tip-Adapter-F trains F by
cross-entropy.

Our reading, where the authors' code (gaopengcuhk/Tip-Adapter, main.py) does something else:

- Keys are the clips as they are stored; there they are means over ten random crops of an image.
- Tip-Adapter-F is trained by SGD, as every method here, with one alpha and beta; there by AdamW, and alpha and beta are
  searched once more after it.
- s is the encoder's own unless a sweep sets it; there it is 100.
- A name without clips has an empty column in L, so its logit is zero-shot's, and new classes among themselves have
  exactly zero-shot's accuracy. The paper has no such names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from sept_core.hyper import HyperParameter, Value
from sept_core.learners.base import Init, Params
from sept_core.learners.optimiser import OPTIMISER
from sept_core.learners.zero_shot import ZeroShot

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower
    from sept_core.encoders.prefix import PromptBank

__all__ = ["CACHE_HYPER", "TipAdapter", "TipAdapterF"]

CACHE_HYPER = (
    HyperParameter("cache_alpha", float, "weight of the clips' votes (alpha)", 1.0, low=0.0, high=1e3, column=True),
    HyperParameter("cache_beta", float, "sharpness of the clips' votes (beta)", 5.5, low=0.0, high=1e3, column=True),
)


class TipAdapter(ZeroShot):
    """Zero-shot logits plus the votes of the training clips; nothing is trained.

    Parameters: ``keys [replicas, clips, dim]`` and ``values [replicas, clips, classes]``; a replica with fewer clips
    than others has keys and values of 0 at the end, which vote for nothing.
    """

    name = "tip-adapter"
    hyper: ClassVar[tuple[HyperParameter, ...]] = (*ZeroShot.hyper, *CACHE_HYPER)
    lr_factors: ClassVar[Mapping[str, float]] = {"keys": 0.0, "values": 0.0}
    learns_text = False
    reads_clips = True
    starts_from_clips = True

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        super().__init__(tower, hyper, classes)
        self.alpha, self.beta = float(hyper["cache_alpha"]), float(hyper["cache_beta"])

    def init(self, init: Init) -> dict[str, Tensor]:
        """The training clips and their labels."""
        import torch

        if init.clips is None:
            raise ValueError(f"{self.name} starts from the training clips")
        # One more class for the label -1 of padding, which is cut off.
        places = init.clips.labels.to(init.device) % (len(self.classes) + 1)
        values = torch.nn.functional.one_hot(places, len(self.classes) + 1)[..., :-1]
        return {"keys": init.clips.audio.to(init.device, init.dtype), "values": values.to(init.dtype)}

    def features(self, params: Params, audio: Tensor | None, bank: PromptBank) -> Tensor:
        """Zero-shot's."""
        return self._hand_written(len(params["keys"]), bank)

    def logits(self, params: Params, audio: Tensor, text: Tensor, names: Sequence[str], *, base: bool) -> Tensor:
        """Zero-shot's, plus the votes for names that have training clips."""
        import torch

        votes = (self.beta * (self.affinity(params, audio) - 1.0)).exp() @ params[
            "values"
        ]  # [replicas, clips, classes]
        place = {name: column for column, name in enumerate(self.classes)}
        columns = [place.get(name, len(place)) for name in names]  # the last column is of names without clips
        of_names = torch.nn.functional.pad(votes, (0, 1))[..., columns]
        return super().logits(params, audio, text, names, base=base) + self.alpha * of_names

    def affinity(self, params: Params, audio: Tensor) -> Tensor:
        """Similarity of clips to the training clips, ``[replicas, clips, training clips]``."""
        return audio @ params["keys"].transpose(1, 2)


class TipAdapterF(TipAdapter):
    """Tip-Adapter whose keys are trained."""

    name = "tip-adapter-f"
    hyper = (*TipAdapter.hyper, *OPTIMISER)
    trainable = True
    lr_factors: ClassVar[Mapping[str, float]] = {"values": 0.0}
