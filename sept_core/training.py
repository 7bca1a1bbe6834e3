"""The fused trainer: every fold x seed of a configuration as one batch.

Parameters are stacked over replicas and the per-replica losses are summed, so gradients never mix: training R replicas
together gives what R separate trainings give. Nothing random is carried along: the order of clips in an epoch is a
function of (dataset, fold, seed, epoch), so that a state is parameters, momentum and an epoch number, and a resumed
training is bit-equal to an undisturbed one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sept_core.encoders.prefix import PromptBank, token_budget
from sept_core.errors import SeptError
from sept_core.hyper import Value
from sept_core.learners import Init, Learner
from sept_core.learners.optimiser import LAST_BATCH, LR, SCHEDULE, WARMUP_EPOCHS, WEIGHT_DECAY
from sept_core.results import Precision
from sept_core.semantic import SemanticExpansion

__all__ = ["FusedTraining", "NonFiniteError", "Schedule", "TrainState"]

MOMENTUM = 0.9
WARMUP_LR = 1e-5
"""Learning rate of every parameter in warm-up epochs, as in CoOp's configurations."""


class NonFiniteError(SeptError):
    """Loss or parameters became infinite or not a number."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        epochs: Passes over the training clips.
        batch_size: Clips per step and replica.
        lr: Learning rate of the first epoch behind the warm-up.
        cosine: Whether epoch e behind the warm-up has lr * (1 + cos(pi e / epochs)) / 2, as in CoOp, instead of lr. The
            warm-up does not shorten the cosine, as in Dassl.pytorch, which CoOp's family trains with.
        warmup_epochs: First epochs, at ``WARMUP_LR``.
        weight_decay: Times the parameter, added to its gradient (torch.optim.SGD's, not decoupled).
        drop_last: Whether an epoch leaves out its last clips where they do not fill a batch, unless that is its only
            one (Dassl.pytorch).
    """

    epochs: int
    batch_size: int
    lr: float
    cosine: bool = True
    warmup_epochs: int = 0
    weight_decay: float = 0.0
    drop_last: bool = False

    @classmethod
    def of(cls, epochs: int, batch_size: int, hyper: Mapping[str, Value]) -> Schedule:
        """The schedule that complete or stored hyper-parameters describe; what trains nothing has no ``lr``."""
        return cls(
            epochs,
            batch_size,
            lr=float(LR.of({"lr": 0.0, **hyper})),
            cosine=SCHEDULE.of(hyper) == "cosine",
            warmup_epochs=int(WARMUP_EPOCHS.of(hyper)),
            weight_decay=float(WEIGHT_DECAY.of(hyper)),
            drop_last=LAST_BATCH.of(hyper) == "drop",
        )

    def lr_at(self, epoch: int, factor: float = 1.0) -> float:
        """Learning rate of epoch ``epoch`` (0-based) of a parameter that learns ``factor`` times as fast as others."""
        if epoch < self.warmup_epochs:
            return WARMUP_LR
        past = epoch - self.warmup_epochs
        share = 0.5 * (1.0 + math.cos(math.pi * past / self.epochs)) if self.cosine else 1.0
        return self.lr * share * factor

    def batches(self, clips: int) -> int:
        """Steps of an epoch over so many clips."""
        full = clips // self.batch_size
        return full if self.drop_last and full else -(-clips // self.batch_size)


@dataclass(frozen=True)
class TrainState:
    """All there is to a training on its way.

    Attributes:
        epoch: Epochs trained.
        params: Stacked parameters.
        momentum: SGD's buffers, one per parameter.
    """

    epoch: int
    params: dict[str, Tensor]
    momentum: dict[str, Tensor]


class FusedTraining:
    """Trains all replicas of one configuration.

    Args:
        learner: The baseline.
        classes: The training classes' names, tokenised.
        semantic: SEPT's part, None without it.
        embeddings: Unit-norm clip features ``[clips, dim]`` of the whole dataset.
        labels: Index of every clip's class in ``classes``; not read for clips that no replica trains on.
        rows: For each replica the rows of its training clips.
        keys: For each replica what its random numbers are a function of: dataset, fold and seed.
        schedule: Epochs, batch size, learning rate.
        precision: ``bfloat16`` runs the text tower, forward and backward, under autocast; parameters, losses and SGD
            stay float32.
        budget: Text tokens of one forward pass, None for the device's default (``prefix.token_budget``): a step with
            more is cut into chunks of replicas.
    """

    def __init__(
        self,
        *,
        learner: Learner,
        classes: PromptBank,
        semantic: SemanticExpansion | None,
        embeddings: Tensor,
        labels: Tensor,
        rows: Sequence[Sequence[int]],
        keys: Sequence[str],
        schedule: Schedule,
        precision: Precision = "float32",
        budget: int | None = None,
    ) -> None:
        tower_parameter = next(learner.tower.parameters())
        self._device, dtype = tower_parameter.device, tower_parameter.dtype
        self._learner = learner
        self._classes = classes
        self._semantic = semantic
        self._audio = embeddings.to(self._device, dtype)
        self._labels = labels.to(self._device)
        self._rows = rows
        self._keys = keys
        self._schedule = schedule
        self._precision = precision
        self._chunk = max(1, (budget or token_budget(self._device)) // self._tokens())
        self.epoch = 0
        self.params = learner.init(Init(self._keys, self._device, dtype))
        self._momentum = {name: torch.zeros_like(value) for name, value in self.params.items()}

    @property
    def step_tokens(self) -> int:
        """Text tokens of one step of all replicas: what its time grows with, and its memory up to the budget."""
        return len(self._keys) * self._tokens()

    def _tokens(self) -> int:
        """Text tokens of one replica's step."""
        learner, semantic = self._learner, self._semantic
        if learner.conditional:
            expansion = learner.tokens(semantic.bank) if semantic else 0
            return self._schedule.batch_size * learner.tokens(self._classes) + expansion
        return learner.tokens(semantic.bank if semantic else self._classes)

    def state(self) -> TrainState:
        """A copy of the state, on the CPU."""
        return TrainState(
            self.epoch,
            {name: value.detach().cpu().clone() for name, value in self.params.items()},
            {name: value.cpu().clone() for name, value in self._momentum.items()},
        )

    def load_state(self, state: TrainState) -> None:
        """Go on from a state.

        Raises:
            ValueError: Its parameters are not those of this training.
        """
        shapes = {name: tuple(value.shape) for name, value in self.params.items()}
        for part in (state.params, state.momentum):
            if {name: tuple(value.shape) for name, value in part.items()} != shapes:
                raise ValueError(f"parameters of shapes {shapes} expected")
        self.epoch = state.epoch
        self.params = {name: value.to(self.params[name]) for name, value in state.params.items()}
        self._momentum = {name: value.to(self._momentum[name]) for name, value in state.momentum.items()}

    def train_epoch(self) -> dict[str, float]:
        """One epoch of every replica.

        A replica with fewer clips than others has fewer steps; it rests in the remaining ones, exactly as if alone.

        Returns:
            ``total``, ``base`` and with SEPT ``intra`` and ``inter``: means over the epoch's steps and replicas.

        Raises:
            NonFiniteError: A loss is not finite; the state is then that of the failed step.
        """
        batch_size = self._schedule.batch_size
        orders = [self._order(index) for index in range(len(self._keys))]
        orders = [order[: self._schedule.batches(len(order)) * batch_size] for order in orders]
        steps = max(self._schedule.batches(len(order)) for order in orders)
        sums: dict[str, float] = {}
        counted = 0
        for step in range(steps):
            batches = [order[step * batch_size : (step + 1) * batch_size] for order in orders]
            for name, value in self._step(batches).items():
                sums[name] = sums.get(name, 0.0) + value
            counted += sum(1 for batch in batches if batch)
        losses = {name: value / counted for name, value in sums.items()}
        self.epoch += 1
        if not all(math.isfinite(value) for value in losses.values()) or not all(
            bool(value.isfinite().all()) for value in self.params.values()
        ):
            raise NonFiniteError(
                f"not finite at epoch {self.epoch}: "
                + ", ".join(f"loss/{name} {value:g}" for name, value in losses.items())
                + "; the learning rate or lambda_se is likely too high"
            )
        return losses

    def _order(self, replica: int) -> list[int]:
        """Rows of a replica's clips in the order of this epoch."""
        digest = hashlib.sha256(f"{self._keys[replica]}/order/{self.epoch}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        rows = self._rows[replica]
        return [rows[index] for index in torch.randperm(len(rows), generator=generator).tolist()]

    def _step(self, batches: Sequence[Sequence[int]]) -> dict[str, float]:
        """One SGD step of the replicas that have clips left; sums of their losses."""
        factors = self._learner.lr_factors
        rates = {name: self._schedule.lr_at(self.epoch, factors.get(name, 1.0)) for name in self.params}
        active = [index for index, batch in enumerate(batches) if batch]
        sums: dict[str, float] = {}
        for start in range(0, len(active), self._chunk):
            chunk = active[start : start + self._chunk]
            rows = torch.tensor(chunk, device=self._device)
            params = {name: value[rows].requires_grad_() for name, value in self.params.items()}
            parts = self._losses(params, [batches[index] for index in chunk])
            gradients = torch.autograd.grad(parts["total"].sum(), list(params.values()))
            for (name, value), gradient in zip(params.items(), gradients, strict=True):
                before = value.detach()
                buffer = MOMENTUM * self._momentum[name][rows] + (gradient + self._schedule.weight_decay * before)
                self._momentum[name][rows] = buffer
                self.params[name][rows] = before - rates[name] * buffer
            for name, loss in parts.items():
                sums[name] = sums.get(name, 0.0) + float(loss.detach().sum())
        return sums

    def _losses(self, params: dict[str, Tensor], batches: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Losses ``[replicas]`` of one batch each; batches may differ in size."""
        longest = max(len(batch) for batch in batches)
        padded = torch.tensor([[*batch, *[batch[0]] * (longest - len(batch))] for batch in batches])
        weights = torch.tensor([[1.0 / len(batch)] * len(batch) + [0.0] * (longest - len(batch)) for batch in batches])
        rows = padded.to(self._device)
        weights = weights.to(self._device, self._audio.dtype)
        audio, labels = self._audio[rows], self._labels[rows]  # [replicas, clips, dim], [replicas, clips]
        learner, semantic = self._learner, self._semantic
        if semantic is None:
            text = self._features(params, audio, self._classes)
            base = (learner.loss(params, audio, labels, text) * weights).sum(1) + learner.penalty(params, text)
            return {"total": base, "base": base}
        size = len(self._classes)
        if learner.conditional:
            # Our reading for a context that depends on the clip: one set of prompts a step, for the mean clip.
            text = self._features(params, audio, self._classes)
            mean = (audio * weights[..., None]).sum(1, keepdim=True)
            both = self._features(params, mean, semantic.bank).squeeze(1)
        else:
            both = self._features(params, audio, semantic.bank)  # the classes come first: one pass serves both
            text = both[:, :size]
        base = (learner.loss(params, audio, labels, text) * weights).sum(1) + learner.penalty(params, text)
        intra, inter = semantic.losses(both)
        return {"total": base + semantic.weight * (intra + inter), "base": base, "intra": intra, "inter": inter}

    def _features(self, params: dict[str, Tensor], audio: Tensor, bank: PromptBank) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bfloat16"):
            features = self._learner.features(params, audio, bank)
        return features.to(self._audio.dtype)
