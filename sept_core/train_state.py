"""The state of a training, and the error that ends one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sept_core.errors import SeptError

__all__ = ["NonFiniteError", "TrainState"]


class NonFiniteError(SeptError):
    """Loss or parameters became infinite or not a number."""


@dataclass(frozen=True)
class TrainState:
    """The complete state of a training.

    Attributes:
        epoch: Epochs trained.
        params: Stacked parameters.
        momentum: SGD's buffers, one per parameter.
    """

    epoch: int
    params: dict[str, Tensor]
    momentum: dict[str, Tensor]
