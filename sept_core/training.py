"""The fused trainer: every fold x seed of a configuration as one batch.

Parameters are stacked over replicas and the per-replica losses are summed, so gradients never mix: training R replicas
together equals R separate trainings. There is no random state, as the order of clips is a function of (dataset, fold,
seed, epoch): parameters, momentum and an epoch number are the state, and a resumed training is bit-equal to another.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sept_core.clip_batch import ClipBatch
from sept_core.encoders.prefix import PromptBank, token_budget
from sept_core.epoch_order import epoch_batches
from sept_core.gradients import gradients_of, not_opposing
from sept_core.learners import Init, Learner, Params, TrainingClips
from sept_core.schedule import Precision, Schedule
from sept_core.semantic import SemanticExpansion
from sept_core.semantic.activity import ACTIVITY, gradient_share
from sept_core.train_state import NonFiniteError, TrainState

__all__ = ["FusedTraining", "NonFiniteError", "Schedule", "TrainState", "train_epochs"]

MOMENTUM = 0.9


class FusedTraining:
    """Trains all replicas of one configuration.

    Args:
        learner: The baseline.
        classes: The tokenised names of the training classes.
        semantic: SEPT's part, None without it.
        embeddings: Unit-norm clip features ``[clips, dim]`` of the whole dataset.
        labels: Index of every clip's class in ``classes``; not read for clips that no replica trains on.
        rows: For each replica the rows of its training clips.
        keys: For each replica the key of its random numbers: dataset, fold and seed.
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
        clips = TrainingClips.of(self._audio, self._labels, rows) if learner.starts_from_clips else None
        self.params = learner.init(Init(self._keys, self._device, dtype, clips))
        self._momentum = {name: torch.zeros_like(of) for name, of in self.params.items() if name not in learner.fixed}

    @property
    def step_tokens(self) -> int:
        """Text tokens of one step of all replicas: its time grows with them, and its memory up to the budget."""
        return len(self._keys) * self._tokens()

    def _tokens(self) -> int:
        """Text tokens of one replica's step."""
        learner, semantic = self._learner, self._semantic
        if learner.conditional:
            expansion = learner.tokens(semantic.bank) if semantic else 0
            return self._schedule.batch_size * learner.tokens(self._classes) + expansion
        return learner.tokens(semantic.bank if semantic else self._classes)

    def state(self) -> TrainState:
        """A copy of the state, on the CPU; parameters that training does not change are not part of it."""
        return TrainState(
            self.epoch,
            {name: self.params[name].detach().cpu().clone() for name in self._momentum},
            {name: value.cpu().clone() for name, value in self._momentum.items()},
        )

    def load_state(self, state: TrainState) -> None:
        """Continue from a state.

        Raises:
            ValueError: Its parameters are not those of this training.
        """
        shapes = {name: tuple(value.shape) for name, value in self._momentum.items()}
        for part in (state.params, state.momentum):
            if {name: tuple(value.shape) for name, value in part.items()} != shapes:
                raise ValueError(f"parameters of shapes {shapes} expected")
        self.epoch = state.epoch
        self.params |= {name: value.to(self.params[name]) for name, value in state.params.items()}
        self._momentum = {name: value.to(self._momentum[name]) for name, value in state.momentum.items()}

    def train_epoch(self, *, reported: bool = False) -> dict[str, float]:
        """One epoch of every replica.

        A replica with fewer clips than others has fewer steps; it does nothing in the remaining ones, exactly as if
        trained alone.

        Args:
            reported: Whether to measure with SEPT how much it acts. This changes no parameter.

        Returns:
            ``total``, ``base`` and with SEPT ``intra`` and ``inter``: means over the epoch's steps and replicas. For a
            reported epoch with SEPT also ``active_intra`` and ``active_inter``, percent of the hinges, means over the
            same; and ``gradient``, the `gradient_share` of the epoch's first step, the mean over replicas.

        Raises:
            NonFiniteError: A loss is not finite; the state is then that of the failed step.
        """
        (outcome,) = train_epochs([self], [0] if reported else [])
        if isinstance(outcome, NonFiniteError):
            raise outcome
        return outcome

    @cached_property
    def shape(self) -> tuple[object, ...]:
        """What trainings must have in common to share batches (`train_epochs`): all that text features depend on.

        That is the text tower, the learner, the sizes of the parameters, the names and the precision. Values that act
        only on the features (margins, weights, scales) or only on the parameters (learning rates) may differ.
        """
        banks = [self._classes, *([self._semantic.bank] if self._semantic else [])]
        tokens = tuple((bank.names, hashlib.sha256(bank.packed.cpu().numpy().tobytes()).digest()) for bank in banks)
        sizes = tuple((name, tuple(value.shape[1:]), value.dtype) for name, value in self.params.items())
        return id(self._learner.tower), *self._learner.shape, sizes, tokens, self._precision

    def _batches(self) -> list[list[list[int]]]:
        """For each replica the rows of its clips in this epoch, batch by batch."""
        replicas = zip(self._rows, self._keys, strict=True)
        return [epoch_batches(rows, key, self.epoch, self._schedule) for rows, key in replicas]

    def _end_epoch(self, sums: Sequence[Mapping[str, float]], counted: int) -> dict[str, float] | NonFiniteError:
        """The mean losses of the epoch's steps; counts the epoch."""
        losses = dict.fromkeys(sums[0], 0.0)
        for step in sums:
            # One after the other: from Python 3.12 on `sum` rounds differently.
            for name in losses:
                losses[name] += step.get(name, 0.0)
        # Every replica takes part in the first step, the only one with a gradient.
        losses = {name: value / (len(self._keys) if name == "gradient" else counted) for name, value in losses.items()}
        self.epoch += 1
        if all(math.isfinite(value) for value in losses.values()) and all(
            bool(value.isfinite().all()) for value in self.params.values()
        ):
            return losses
        return NonFiniteError(
            f"not finite at epoch {self.epoch}: "
            + ", ".join(f"loss/{name} {value:g}" for name, value in losses.items() if name not in ACTIVITY)
            + "; the learning rate or lambda_se is likely too high"
        )

    def _text(self, params: Params, audio: Tensor, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features of the classes, and with SEPT of the classes and their neighbours ``[replicas, names, dim]``."""
        if self._semantic is None:
            return self._features(params, audio, self._classes), None
        if self._learner.conditional:
            # Our reading for a context that depends on the clip: one set of prompts per step, for the mean clip.
            text = self._features(params, audio, self._classes)
            mean = (audio * weights[..., None]).sum(1, keepdim=True)
            return text, self._features(params, mean, self._semantic.bank).squeeze(1)
        both = self._features(params, audio, self._semantic.bank)  # the classes come first: one pass serves both
        return both[:, : len(self._classes)], both

    def _losses(
        self, params: Params, clips: ClipBatch, text: Tensor, both: Tensor | None, *, reported: bool = False
    ) -> dict[str, Tensor]:
        """Losses ``[replicas]`` of one batch each, from the text features of `_text`; shares of hinges if reported."""
        learner, semantic = self._learner, self._semantic
        loss = learner.loss(params, clips.audio, clips.labels, text)
        base = (loss * clips.weights).sum(1) + learner.penalty(params, text)
        if semantic is None or both is None:
            return {"total": base, "base": base}
        hinges = semantic.hinges(both)
        intra, inter = hinges.losses()
        losses = {"total": base + semantic.weight * (intra + inter), "base": base, "intra": intra, "inter": inter}
        return losses | (dict(zip(ACTIVITY, hinges.active(), strict=False)) if reported else {})

    def _guide(self, params: Params, clips: ClipBatch, text: Tensor) -> Tensor | None:
        """The mean guide of one batch each ``[replicas]``; None for learners without one."""
        guide = self._learner.guide(params, clips.audio, text)
        return None if guide is None else (guide * clips.weights).sum(1)

    def _features(self, params: Params, audio: Tensor, bank: PromptBank) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bfloat16"):
            features = self._learner.features(params, audio, bank)
        return features.to(self._audio.dtype)

    def _update(self, rows: Tensor, params: Mapping[str, Tensor], gradients: Sequence[Tensor]) -> None:
        """One step of SGD of the replicas ``rows``."""
        factors = self._learner.lr_factors
        for (name, value), gradient in zip(params.items(), gradients, strict=True):
            before = value.detach()
            buffer = MOMENTUM * self._momentum[name][rows] + (gradient + self._schedule.weight_decay * before)
            self._momentum[name][rows] = buffer
            self.params[name][rows] = before - self._schedule.lr_at(self.epoch, factors.get(name, 1.0)) * buffer


@dataclass(frozen=True)
class _Part:
    """The replicas of one training that take a step together, and their clips."""

    training: FusedTraining
    replicas: list[int]
    batches: list[list[int]]
    reported: bool


def train_epochs(
    trainings: Sequence[FusedTraining], reported: Container[int] = ()
) -> list[dict[str, float] | NonFiniteError]:
    """One epoch of several trainings of one `shape`, the replicas of all of them in common batches.

    The text tower, nearly all of the work, runs over the contexts of all trainings at once; losses and SGD are
    separate. Gradients never mix, so each training ends with the result that it has alone, up to rounding: a matrix
    product may round a row differently in a larger batch. A single training is bit-equal to `train_epoch`.

    Args:
        trainings: The trainings.
        reported: The places in ``trainings`` of those whose epoch is reported, as in `FusedTraining.train_epoch`.

    Returns:
        For each training the mean losses of its epoch, or the error that ended it, which does not affect the others.

    Raises:
        ValueError: Their shapes differ.
    """
    if len(trainings) > 1 and len({training.shape for training in trainings}) > 1:
        raise ValueError("trainings of different shapes cannot share a batch")
    batches = [training._batches() for training in trainings]
    at_once = min(training._chunk for training in trainings)
    sums: list[list[list[dict[str, Tensor]]]] = [[] for _ in trainings]
    for step in range(max(len(own) for of_training in batches for own in of_training)):
        active = [
            (proposal, replica)
            for proposal, of_training in enumerate(batches)
            for replica, own in enumerate(of_training)
            if step < len(own)
        ]
        for of_training in sums:
            of_training.append([])
        for start in range(0, len(active), at_once):
            chosen = active[start : start + at_once]
            proposals = list(dict.fromkeys(proposal for proposal, _ in chosen))
            replicas = [[replica for other, replica in chosen if other == proposal] for proposal in proposals]
            parts = [
                _Part(trainings[at], own, [batches[at][replica][step] for replica in own], at in reported)
                for at, own in zip(proposals, replicas, strict=True)
            ]
            for proposal, losses in zip(proposals, _step(parts, opening=not step), strict=True):
                sums[proposal][-1].append(losses)
    # Read only now, so that nothing waits for the GPU in between.
    return [
        training._end_epoch([_added(chunks) for chunks in steps], sum(map(len, own)))
        for training, steps, own in zip(trainings, sums, batches, strict=True)
    ]


def _step(parts: Sequence[_Part], *, opening: bool) -> list[dict[str, Tensor]]:
    """One SGD step of the replicas of all parts, in one pass of the text tower; sums of each part's losses.

    The ``opening`` step of a reported epoch compares gradients as well.
    """
    longest = max(len(batch) for part in parts for batch in part.batches)
    rows = [torch.tensor(part.replicas, device=part.training._device) for part in parts]
    params = [
        {name: value[index] for name, value in part.training.params.items()}
        for part, index in zip(parts, rows, strict=True)
    ]
    changed = [
        {name: own[name].requires_grad_() for name in part.training._momentum}
        for part, own in zip(parts, params, strict=True)
    ]
    first = parts[0].training
    clips = [ClipBatch.of(part.training._audio, part.training._labels, part.batches, longest) for part in parts]
    if len(parts) == 1:
        features = [first._text(params[0], clips[0].audio, clips[0].weights)]
    else:
        stacked = {name: torch.cat([own[name] for own in params]) for name in params[0]}
        audio, weights = torch.cat([some.audio for some in clips]), torch.cat([some.weights for some in clips])
        text, both = first._text(stacked, audio, weights)
        sizes = [len(part.replicas) for part in parts]
        of_both = [None] * len(parts) if both is None else both.split(sizes)
        features = list(zip(text.split(sizes), of_both, strict=True))
    losses = [
        part.training._losses(own, some, *made, reported=part.reported)
        for part, own, some, made in zip(parts, params, clips, features, strict=True)
    ]
    total = torch.stack([of_part["total"].sum() for of_part in losses]).sum()
    added = {
        at: semantic.weight * (losses[at]["intra"] + losses[at]["inter"])
        for at, part in enumerate(parts)
        if opening and part.reported and (semantic := part.training._semantic)
    }
    of_sept = gradients_of(added, changed)
    guides = {
        at: guide
        for at, (part, own, some, (text, _)) in enumerate(zip(parts, params, clips, features, strict=True))
        if (guide := part.training._guide(own, some, text)) is not None
    }
    of_guide = gradients_of(guides, changed)
    of_base = gradients_of({at: losses[at]["base"] for at in guides if parts[at].training._semantic}, changed)
    gradients = iter(torch.autograd.grad(total, [value for own in changed for value in own.values()]))
    for at, (part, index, own) in enumerate(zip(parts, rows, changed, strict=True)):
        whole = [next(gradients) for _ in own]
        if at in of_guide:
            # SEPT is added to what the baseline does: the baseline's own gradient gives way to the guide, not SEPT's.
            strength = part.training._learner.guide_strength
            whole = not_opposing(whole, of_base.get(at, whole), of_guide[at], strength)
        if at in of_sept:
            losses[at]["gradient"] = gradient_share(of_sept[at], whole)
        part.training._update(index, own, whole)
    return [{name: loss.detach().sum() for name, loss in of_part.items()} for of_part in losses]


def _added(chunks: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """The losses of one step, summed over its chunks; empty if all replicas are idle."""
    sums: dict[str, float] = {}
    for chunk in chunks:
        for name, value in zip(chunk, torch.stack(list(chunk.values())).tolist(), strict=True):
            sums[name] = sums.get(name, 0.0) + value
    return sums
