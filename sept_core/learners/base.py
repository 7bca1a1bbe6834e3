"""The contract of a prompt learner.

A learner owns no parameters. They are a dict of tensors stacked over replicas (first axis), made by ``init`` and passed
to every call, so that any number of replicas is trained as one batch and a checkpoint is only tensors. What a learner
computes for one replica must not depend on the parameters or clips of another.

To add a baseline: one file with a subclass, its line in ``learners/__init__.py``, a space in ``search_spaces/`` and a
test (``tests/sept_core/learners/`` runs every registered one through the contract). SEPT needs only ``features`` from
it. Options shared by several learners are declared once: ``OPTIMISER`` in ``optimiser.py``, the form of prompts in
``sept_core/prompt_form.py``; an option that is not declared has the value from before it existed
(``HyperParameter.before``). Import torch inside the functions that compute: commands that only read a sweep's file load
this package.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sept_core.errors import InputError
from sept_core.hyper import HyperParameter, Value
from sept_core.text import some

# The hyper-parameters of a baseline are needed long before training, so importing a learner does not load torch.
if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sept_core.encoders.base import TextTower
    from sept_core.encoders.prefix import PromptBank

__all__ = ["LOGIT_SCALE", "Init", "Learner", "Params", "TrainingClips"]

Params = Mapping[str, "Tensor"]

LOGIT_SCALE = HyperParameter("logit_scale", float, "logit scale s; the encoder's own by default", low=1e-3, high=1e3)


@dataclass(frozen=True)
class TrainingClips:
    """The clips that each replica trains on.

    Attributes:
        audio: Unit-norm features ``[replicas, clips, dim]``; rows of padding are 0.
        labels: Index of each clip's class ``[replicas, clips]``, -1 for padding.
    """

    audio: Tensor
    labels: Tensor

    @classmethod
    def of(cls, embeddings: Tensor, labels: Tensor, rows: Sequence[Sequence[int]]) -> TrainingClips:
        """The clips in ``rows`` of each replica, from features ``[clips, dim]`` and labels of the whole dataset."""
        import torch

        longest = max(map(len, rows))
        padded = torch.tensor([[*own, *[-1] * (longest - len(own))] for own in rows], device=labels.device)
        there = padded >= 0
        return cls(embeddings[padded] * there[..., None], labels[padded].masked_fill(~there, -1))


@dataclass(frozen=True)
class Init:
    """Initial random numbers: those of a replica depend only on its key and the parameter's name.

    So a replica starts the same whatever it is trained together with, and a baseline starts the same with and without
    SEPT.

    Attributes:
        keys: One key per replica.
        device: Where parameters live.
        dtype: Their type.
        clips: The training clips, for learners that start from them (``Learner.starts_from_clips``); else None.
    """

    keys: Sequence[str]
    device: torch.device
    dtype: torch.dtype
    clips: TrainingClips | None = None

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal numbers ``[replicas, *shape]`` for the parameter ``name``."""
        import torch

        return self._stack([torch.randn(shape, generator=generator) for generator in self._generators(name)])

    def uniform(self, name: str, *shape: int, bound: float) -> Tensor:
        """Numbers from [-bound, bound], ``[replicas, *shape]``, for the parameter ``name``."""
        import torch

        drawn = [torch.rand(shape, generator=generator) for generator in self._generators(name)]
        return bound * (2.0 * self._stack(drawn) - 1.0)

    def full(self, value: float, *shape: int) -> Tensor:
        """The same number everywhere, ``[replicas, *shape]``."""
        import torch

        return torch.full((len(self.keys), *shape), value, device=self.device, dtype=self.dtype)

    def linear(self, name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
        """``<name>.weight [replicas, outputs, inputs]`` and ``<name>.bias [replicas, outputs]``, as torch.nn.Linear."""
        bound = inputs**-0.5
        return {
            f"{name}.weight": self.uniform(f"{name}.weight", outputs, inputs, bound=bound),
            f"{name}.bias": self.uniform(f"{name}.bias", outputs, bound=bound),
        }

    def _generators(self, name: str) -> Iterator[torch.Generator]:
        import torch

        for key in self.keys:
            digest = hashlib.sha256(f"{key}/init/{name}".encode()).digest()
            yield torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def _stack(self, rows: list[Tensor]) -> Tensor:
        import torch

        # Drawn on the CPU in float32, so that a GPU run or a float64 test starts from the same numbers.
        return torch.stack(rows).to(self.device, self.dtype)


class Learner(ABC):
    """A learned way to turn class names into text features.

    Args:
        tower: The frozen text tower.
        hyper: Values of all of ``hyper``'s hyper-parameters (and possibly others, which are ignored).
        classes: Names of the training classes, as used in prompts.

    Attributes:
        name: Name in a configuration.
        hyper: Its hyper-parameters.
        trainable: Whether it has parameters at all.
        lr_factors: Parameter name -> factor on the learning rate, if it is not 1; 0 for one that is never changed.
        unseen: Whether it can name classes that it was not trained on, which base-to-new and cross-dataset need.
        learns_text: Whether what it learns changes the text features of any name. SEPT, which acts on the features of
            class names and neighbours, needs this.
        reads_clips: Whether the training clips matter to what it does.
        starts_from_clips: Whether ``init`` needs the training clips (``Init.clips``), whose features are then the
            parameter ``keys [replicas, clips, dim]``: an exported prompt contains them.
        conditional: Whether ``features`` depends on the clip (CoCoOp): then it needs ``audio`` and returns one set of
            text features per clip.
        guide_strength: How much of the base loss's gradient that opposes the gradient of `guide` is taken out of a
            step: 1 for all of it.
    """

    name: ClassVar[str]
    hyper: ClassVar[tuple[HyperParameter, ...]]
    trainable: ClassVar[bool] = True
    lr_factors: ClassVar[Mapping[str, float]] = {}
    unseen: ClassVar[bool] = True
    learns_text: ClassVar[bool] = True
    reads_clips: ClassVar[bool] = True
    starts_from_clips: ClassVar[bool] = False
    conditional: ClassVar[bool] = False
    guide_strength: float = 1.0

    def __init__(self, tower: TextTower, hyper: Mapping[str, Value], classes: Sequence[str]) -> None:
        self.tower = tower
        self.classes = tuple(classes)
        self.logit_scale = float(hyper["logit_scale"])

    @property
    def shape(self) -> tuple[object, ...]:
        """What ``features`` depends on besides parameters and names: learners that agree in it may share a batch."""
        return (type(self),)

    @property
    def fixed(self) -> frozenset[str]:
        """The parameters that training does not change; `init` gives the same ones again, so no checkpoint has them."""
        return frozenset(name for name, factor in self.lr_factors.items() if factor == 0.0)

    def rows_of(self, names: Sequence[str]) -> list[int]:
        """The place of each name among the training classes, for learners that know no other names.

        Raises:
            InputError: A name is not one of them.
        """
        for name in names:
            if name not in self.classes:
                raise InputError(
                    f"{self.name} cannot name '{name}', a class that it was not trained on",
                    fix=f"give only names of {some(self.classes)}",
                )
        return [self.classes.index(name) for name in names]

    @abstractmethod
    def init(self, init: Init) -> dict[str, Tensor]:
        """Fresh parameters, each ``[replicas, ...]``."""

    @abstractmethod
    def features(self, params: Params, audio: Tensor | None, bank: PromptBank) -> Tensor:
        """Un-normalised text features of the bank's names: ``[replicas, names, dim]``.

        Args:
            params: Stacked parameters.
            audio: Unit-norm clip features ``[replicas, clips, dim]``; only conditional learners need them, and return
                ``[replicas, clips, names, dim]``.
            bank: Class names, neighbours, or both: this makes no difference to a learner.
        """

    def logits(self, params: Params, audio: Tensor, text: Tensor, names: Sequence[str], *, base: bool) -> Tensor:
        """Logits ``[replicas, clips, names]`` = s * cos(audio, text).

        Args:
            params: Stacked parameters.
            audio: Unit-norm clip features ``[replicas, clips, dim]``.
            text: What ``features`` returned for the names to choose from.
            names: These names, as used in prompts.
            base: Whether these names are exactly the training classes (a learner may know more about those).
        """
        import torch

        unit = torch.nn.functional.normalize(text, dim=-1)
        if unit.dim() == 3:
            return self.logit_scale * audio @ unit.transpose(1, 2)
        return self.logit_scale * torch.einsum("rbd,rbcd->rbc", audio, unit)

    def offset(self, params: Params, audio: Tensor, text: Tensor) -> Tensor:
        """A term added to a clip's logits of the training classes when they are ranked together with other names.

        Only then are these ``logits(..., base=True)`` comparable with ``logits(..., base=False)`` of other names. Zero
        unless a learner knows more about its training classes (DePT). It is one number per clip, so that the order
        among the training classes stays as it is.

        Args:
            params: Stacked parameters.
            audio: Unit-norm clip features ``[replicas, clips, dim]``.
            text: What ``features`` returned for the training classes.

        Returns:
            ``[replicas, clips]``.
        """
        return audio.new_zeros(audio.shape[:2])

    def loss(self, params: Params, audio: Tensor, labels: Tensor, text: Tensor) -> Tensor:
        """Loss of each clip ``[replicas, clips]``: cross-entropy over the training classes.

        Args:
            params: Stacked parameters.
            audio: Unit-norm clip features ``[replicas, clips, dim]``.
            labels: Index of each clip's class ``[replicas, clips]``.
            text: What ``features`` returned for the training classes.
        """
        from torch.nn import functional as F

        logits = self.logits(params, audio, text, self.classes, base=True)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)

    def penalty(self, params: Params, text: Tensor) -> Tensor:
        """A term that a baseline adds to its mean loss, ``[replicas]``; nothing by default.

        Args:
            params: Stacked parameters.
            text: What ``features`` returned for the training classes.
        """
        return text.new_zeros(text.shape[0])

    def guide(self, params: Params, audio: Tensor, text: Tensor) -> Tensor | None:
        """A loss of each clip ``[replicas, clips]`` that training must not raise while it lowers `loss` (ProGrad).

        Only its gradient is used: what the gradient of the base loss has against it is taken out of the step
        (`sept_core.gradients.not_opposing`). None, the default: nothing is.

        Args:
            params: Stacked parameters.
            audio: Unit-norm clip features ``[replicas, clips, dim]``.
            text: What ``features`` returned for the training classes.
        """
        return None

    def tokens(self, bank: PromptBank) -> int:
        """Text tokens of one pass over ``bank`` (per clip, if conditional): used to compute the size of chunks."""
        return bank.tokens
