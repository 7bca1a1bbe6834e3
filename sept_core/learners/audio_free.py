"""Audio-free prompt tuning (Li et al., ICASSP 2024, arXiv 2309.08357): a context learned from texts that stand in for
clips, since both are encoded into one space.

    L = mean over classes c and their texts e of CE(s cos(f_t(e), f_t([V][c'])) over all classes c', c)

V is CoOp's context; the texts are encoded without it. A clip is then classified as in CoOp, and no clip is trained on.

The text of the paper was not at hand, so this is the formula of the authors' code (Ming-er/Audio-Free-P-Tuning,
src/zs_enhance_text.py), of its coarse-grained part. The fine-grained part has a second context, which it compares with
the words of a text in training and with the frames of a clip afterwards. It is left out: a store has one feature of a
clip and none of its frames. Our reading, where that code does something else:

- The texts are the hand-written templates of the data set's kind, filled with the class's name (SEPT's margins use
  them too); there they are captions of public data sets that contain the name.
- Every step uses all texts, by SGD; there it is a batch of 24, by AdamW. Clips only decide how many steps an epoch has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from sept_core.datasets.registry import Kind
from sept_core.hyper import HyperParameter, Value
from sept_core.learners.base import Params
from sept_core.learners.coop import CoOp
from sept_core.semantic.templates import fill, load_templates

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower

__all__ = ["TEXTS", "AudioFree"]

TEXTS = HyperParameter(
    "texts",
    str,
    "kind of texts that stand in for clips, hand-written; the dataset's own by default",
    choices=get_args(Kind),
)


class AudioFree(CoOp):
    """CoOp whose training clips are replaced by texts.

    Parameters: those of CoOp.
    """

    name = "audio-free"
    reads_clips = False
    hyper = (
        *CoOp.hyper,
        TEXTS,
        HyperParameter("n_texts", int, "texts per class, the first of its kind's templates", 12, low=1, high=12),
    )

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        import torch
        from torch.nn import functional as F

        super().__init__(tower, hyper, classes)
        templates = load_templates(str(hyper["texts"]))[: int(hyper["n_texts"])]
        filled = [tower.encode(fill(template, self.classes, lower=False)) for template in templates]
        self.texts = F.normalize(torch.cat(filled), dim=-1)  # [templates * classes, dim]
        self.labels = torch.arange(len(self.classes), device=self.texts.device).repeat(len(templates))

    def loss(self, params: Params, audio: Tensor, labels: Tensor, text: Tensor) -> Tensor:
        """The mean cross-entropy of all texts, the same for each clip ``[replicas, clips]``."""
        replicas = len(text)
        texts = self.texts.to(text).expand(replicas, -1, -1)
        of_texts = super().loss(params, texts, self.labels.expand(replicas, -1), text)
        return of_texts.mean(1, keepdim=True).expand(labels.shape)
