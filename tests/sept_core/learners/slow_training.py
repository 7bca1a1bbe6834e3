"""Trainings written out for one replica and one clip at a time, with torch's own SGD."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sept_core.epoch_order import epoch_batches
from sept_core.hyper import complete
from sept_core.learners import LEARNERS
from sept_core.prompt_form import Wording
from sept_core.training import FusedTraining, Schedule

NAMES = ("rain", "dog bark", "sea waves")
OTHERS = ("rooster", "a helicopter engine")
SCALE = 10.0
TEMPLATE = "This is a sound of {}."
# A batch's share of 1 / 2 has no rounding: shares are float32 numbers.
EPOCHS, BATCH = 4, 2
# The second replica has fewer clips: it has fewer steps, and a cache of it has empty places.
ROWS = ((0, 1, 2, 3, 4, 5), (8, 7, 5, 3))
LABELS = (0, 1, 2, 0, 1, 2, 0, 1, 2)


def clips(tower) -> Tensor:
    """Unit-norm features ``[9, dim]``, the same each time."""
    generator = torch.Generator().manual_seed(3)
    return F.normalize(torch.randn(len(LABELS), tower.dim, generator=generator, dtype=torch.float64), dim=-1)


def learner_of(tower, name: str, **given):
    """A learner of `NAMES`."""
    fallback = {"logit_scale": SCALE, "template": TEMPLATE, "texts": "events"}
    return LEARNERS[name](tower, complete(LEARNERS[name].hyper, given, "test", fallback), NAMES)


def training_of(tower, name: str, *, audio: Tensor | None = None, **given) -> FusedTraining:
    """Both replicas as one training."""
    fallback = {"logit_scale": SCALE, "template": TEMPLATE, "texts": "events"}
    hyper = complete(LEARNERS[name].hyper, given, "test", fallback)
    return FusedTraining(
        learner=LEARNERS[name](tower, hyper, NAMES),
        classes=Wording.of(hyper).bank(tower, NAMES),
        semantic=None,
        embeddings=clips(tower) if audio is None else audio,
        labels=torch.tensor(LABELS),
        rows=ROWS,
        keys=["a", "b"],
        schedule=Schedule.of(EPOCHS, BATCH, hyper),
    )


def assert_trains_as(
    tower, name: str, loss: Callable[[dict[str, Tensor], Tensor, int, tuple[Tensor, Tensor]], Tensor], **given
) -> FusedTraining:
    """Train the method fused and, with ``loss``, clip by clip; losses and parameters agree after every epoch.

    Args:
        tower: The text tower.
        name: The method.
        loss: Loss of one clip, from one replica's parameters, the clip's features ``[dim]``, its label, and features
            ``[clips, dim]`` and labels ``[clips]`` of the replica's training clips.
        given: Hyper-parameters, ``lr`` among them.
    """
    fused, audio = training_of(tower, name, **given), clips(tower)
    start = {key: value.clone() for key, value in fused.params.items()}
    fixed = {key for key, factor in LEARNERS[name].lr_factors.items() if factor == 0.0}
    schedule = Schedule(EPOCHS, BATCH, given["lr"])
    slow = []
    for replica, rows in enumerate(ROWS):
        own = {key: value[replica].clone().requires_grad_(key not in fixed) for key, value in start.items()}
        sgd = torch.optim.SGD([value for value in own.values() if value.requires_grad], lr=given["lr"], momentum=0.9)
        slow.append((own, sgd, torch.optim.lr_scheduler.CosineAnnealingLR(sgd, EPOCHS), list(rows)))
    for epoch in range(EPOCHS):
        losses = []
        for key, (own, sgd, cosine, rows) in zip("ab", slow, strict=True):
            known = audio[rows], torch.tensor([LABELS[row] for row in rows])
            for batch in epoch_batches(rows, key, epoch, schedule):
                mean = sum(loss(own, audio[row], LABELS[row], known) for row in batch) / len(batch)
                sgd.zero_grad()
                mean.backward()
                sgd.step()
                losses.append(mean.item())
            cosine.step()
        found = fused.train_epoch()
        assert found["base"] == pytest.approx(sum(losses) / len(losses), rel=1e-10)
        for replica, (own, *_) in enumerate(slow):
            for key, value in own.items():
                torch.testing.assert_close(fused.params[key][replica], value.detach(), rtol=1e-8, atol=1e-10)
    moved = [key for key, value in start.items() if not torch.allclose(fused.params[key], value)]
    assert set(moved) == start.keys() - fixed
    return fused


def cross_entropy(logits: Tensor, label: int) -> Tensor:
    """-log of the label's softmax."""
    return logits.exp().sum().log() - logits[label]


def zero_shot_logits(tower, x: Tensor, names=NAMES) -> Tensor:
    """s cos(x, t) of hand-written prompts, name by name."""
    written = [tower.encode([TEMPLATE.replace("{}", name)])[0] for name in names]
    return torch.stack([SCALE * torch.dot(x, t) / t.norm() for t in written])
