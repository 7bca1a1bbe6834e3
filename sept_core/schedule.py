"""Duration, learning rate and precision of a training; loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sept_core.hyper import Value
from sept_core.learners.optimiser import LAST_BATCH, LR, SCHEDULE, WARMUP_EPOCHS, WEIGHT_DECAY

__all__ = ["Precision", "Schedule"]

Precision = Literal["float32", "bfloat16"]

WARMUP_LR = 1e-5
"""Learning rate of every parameter in warm-up epochs, as in CoOp's configurations."""


@dataclass(frozen=True)
class Schedule:
    """Epochs, batches and learning rate of a training.

    Attributes:
        epochs: Passes over the training clips.
        batch_size: Clips per step and replica.
        lr: Learning rate of the first epoch after the warm-up.
        cosine: Whether epoch e after the warm-up has lr * (1 + cos(pi e / epochs)) / 2, as in CoOp, instead of lr. The
            warm-up does not shorten the cosine, as in Dassl.pytorch, which CoOp and its successors use.
        warmup_epochs: First epochs, at ``WARMUP_LR``.
        weight_decay: Multiplied with the parameter and added to its gradient (as in torch.optim.SGD, not decoupled).
        drop_last: Whether an epoch leaves out an incomplete last batch, unless it is the only one (Dassl.pytorch).
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
        """The schedule of complete or stored hyper-parameters; a baseline that does not train has no ``lr``."""
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
        """Steps of an epoch over this many clips."""
        full = clips // self.batch_size
        return full if self.drop_last and full else -(-clips // self.batch_size)
