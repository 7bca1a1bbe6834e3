"""Trains the audio tower of ``mini`` against the frozen text tower.

Every step draws the embedding of one synonym under one template for every class, so that clips learn what a class
*means*, not one wording of it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from infra.mini.augmentation import colour, mask, overlay, smear, warp
from infra.mini.clips import Clips
from infra.mini.vocabulary import TEMPLATES, Concept
from sept_core.encoders.mini.audio import MiniAudioConfig, MiniAudioTower
from sept_core.encoders.mini.text import MiniTextTower

__all__ = ["AudioTraining", "Prompts", "draw_prompts", "train_audio"]


@dataclass(frozen=True)
class AudioTraining:
    """Settings of the audio tower's training.

    Attributes:
        steps: Optimisation steps.
        batch: Clips of each kind (esc10, fsdd, spoken, synthetic) per step.
        lr: Peak of the one-cycle learning rate (AdamW).
        weight_decay: Of AdamW.
        smoothing: Label smoothing.
        cosine_weight: Weight of 1 - cosine to the class of the clip.
        mixup: Share of the batches whose clips and labels are mixed.
        frames: Frames of the crop that a step sees; half a window halves the cost and adds variation.
        pace: Largest change of pace.
        pitch: Largest scaling of the mel axis.
        decibels: Largest gain of the random equaliser.
        average: Decay of the running average of the weights, which is the result.
        logit_scale: Initial value of the learned scale.
    """

    steps: int = 1200
    batch: int = 22
    lr: float = 3e-3
    weight_decay: float = 0.02
    smoothing: float = 0.05
    cosine_weight: float = 0.5
    mixup: float = 0.5
    frames: int = 200
    pace: float = 0.3
    pitch: float = 0.2
    decibels: float = 4.0
    average: float = 0.99
    logit_scale: float = 14.0


@dataclass(frozen=True)
class Prompts:
    """Text features of the classes trained on.

    Attributes:
        classes: Class names.
        features: Unit-norm ``[phrases, dim]`` of every class's names under every template.
        owners: int64 ``[phrases]``, index of each phrase's class.
        weights: Relative probability of each phrase within its class.
    """

    classes: tuple[str, ...]
    features: Tensor
    owners: Tensor
    weights: Tensor


def draw_prompts(tower: MiniTextTower, concepts: list[Concept], classes: tuple[str, ...]) -> Prompts:
    """Encode all wordings of ``classes``; a class's own name is drawn as often as all of its synonyms together."""
    by_name = {concept.name: concept for concept in concepts}
    texts, owners, weights = [], [], []
    for index, name in enumerate(classes):
        names = by_name[name].names
        for position, wording in enumerate(names):
            texts += [template.format(wording) for template in TEMPLATES]
            owners += [index] * len(TEMPLATES)
            weights += [1.0 if position == 0 else 1 / max(len(names) - 1, 1)] * len(TEMPLATES)
    return Prompts(classes, F.normalize(tower.encode(texts), dim=1), torch.tensor(owners), torch.tensor(weights))


def _one_wording(prompts: Prompts, generator: torch.Generator) -> Tensor:
    # The minimum of exponential variables with the phrases' weights as rates is a weighted draw, for all classes at
    # once.
    clocks = torch.rand(len(prompts.owners), generator=generator).log().neg() / prompts.weights
    earliest = torch.full((len(prompts.classes),), torch.inf).scatter_reduce(0, prompts.owners, clocks, "amin")
    drawn = (clocks == earliest[prompts.owners]).nonzero().flatten()
    chosen = torch.empty(len(prompts.classes), dtype=torch.int64)
    chosen[prompts.owners[drawn]] = drawn
    return prompts.features[chosen]


class _Sampler:
    """Draws clips of one kind, each class equally often."""

    def __init__(self, clips: Clips, classes: tuple[str, ...], kind: str) -> None:
        rows: dict[int, list[int]] = defaultdict(list)
        for row, (label, own) in enumerate(zip(clips.labels, clips.kinds, strict=True)):
            if own == kind:
                rows[classes.index(label)].append(row)
        self.rows = [torch.tensor(rows[label]) for label in sorted(rows)]

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        labels = torch.randint(len(self.rows), (count,), generator=generator).tolist()
        return torch.stack(
            [self.rows[label][torch.randint(len(self.rows[label]), (), generator=generator)] for label in labels]
        )


def train_audio(
    clips: Clips,
    prompts: Prompts,
    config: MiniAudioConfig,
    settings: AudioTraining,
    *,
    generator: torch.Generator,
    progress: Progress,
) -> tuple[MiniAudioTower, float]:
    """Train an audio tower on ``clips``.

    Returns:
        The tower with averaged weights, frozen, in ``eval()``, and the learned logit scale.
    """
    tower = MiniAudioTower(config)
    tower.convolutions.to(memory_format=torch.channels_last)
    average = AveragedModel(tower, multi_avg_fn=get_ema_multi_avg_fn(settings.average), use_buffers=True)
    scale = nn.Parameter(torch.tensor(settings.logit_scale).log())
    optimizer = torch.optim.AdamW(tower.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    optimizer.add_param_group({"params": [scale], "weight_decay": 0.0})
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=settings.steps, pct_start=0.2)
    samplers = [_Sampler(clips, prompts.classes, kind) for kind in sorted(set(clips.kinds))]
    labels = torch.tensor([prompts.classes.index(label) for label in clips.labels])
    tower.train()
    for _ in progress.track(range(settings.steps), description="audio tower"):
        rows = torch.cat([sampler.draw(settings.batch, generator) for sampler in samplers])
        power, targets = _augment(clips.power[rows], labels[rows], len(prompts.classes), settings, generator)
        texts = _one_wording(prompts, generator)
        # Half precision in the convolutions (the losses stay in single) halves the time of a step.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = tower.encode(power).float()
        smooth = (1 - settings.smoothing) * targets + settings.smoothing / targets.shape[1]
        cosines = features @ texts.T
        loss = F.cross_entropy(scale.exp() * cosines, smooth)
        loss = loss + settings.cosine_weight * (1 - (cosines * targets).sum(dim=1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(tower)
    tower.load_state_dict(average.module.state_dict())
    return tower.eval().requires_grad_(False), float(scale.detach().exp())


def _augment(
    power: Tensor, labels: Tensor, classes: int, settings: AudioTraining, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Augmented mel power and soft labels ``[clips, classes]``."""
    power = warp(power, frames=settings.frames, pace=settings.pace, pitch=settings.pitch, generator=generator)
    power = smear(power, generator=generator)
    power = colour(power, decibels=settings.decibels, generator=generator)
    partner = torch.randperm(len(power), generator=generator)
    mixed = torch.rand(len(power), generator=generator) < settings.mixup
    # Either a mixture of two sounds under both labels, or another sound faintly in the background.
    share = torch.rand(len(power), generator=generator) * 0.5
    faint = 10 ** (-1 - 2 * torch.rand(len(power), generator=generator))
    power = overlay(power, power[partner], torch.where(mixed, share, faint))
    own = F.one_hot(labels, classes).float()
    weight = torch.where(mixed, share, 0.0).unsqueeze(1)
    targets = (1 - weight) * own + weight * own[partner]
    return mask(power, bands=10, frames=50, generator=generator), targets
