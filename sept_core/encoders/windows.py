"""Fits clips of any length to a fixed window, deterministically: packages crop long clips at random, we at the
centre."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

__all__ = ["centre_crop", "repeat", "repeat_and_pad"]


def centre_crop(clip: Tensor, size: int) -> Tensor:
    """The middle ``size`` samples of ``clip [samples]``; the whole clip if it is shorter."""
    start = max(len(clip) - size, 0) // 2
    return clip[start : start + size].clone()


def repeat(clip: Tensor, size: int) -> Tensor:
    """``clip [samples]`` repeated to ``size`` samples, the last repetition cut off (msclap)."""
    return clip.repeat(math.ceil(size / len(clip)))[:size]


def repeat_and_pad(clip: Tensor, size: int) -> Tensor:
    """``clip [samples]`` repeated as often as it fits completely into ``size`` samples, then silence (LAION-CLAP's
    ``repeatpad``)."""
    whole = clip.repeat(size // len(clip))
    return F.pad(whole, (0, size - len(whole)))
