"""Augmentation on mel power: the changes that another take, room, microphone, distance, voice or pace would cause.

All of it works on whole batches ``[clips, mels, frames]``; a clip's window is treated as a loop in time, as ``prepare``
does with short clips anyway.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = ["colour", "mask", "overlay", "smear", "warp"]


def _uniform(low: float, high: float, *shape: int, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator)


def warp(power: Tensor, *, frames: int, pace: float, pitch: float, generator: Generator) -> Tensor:
    """Take ``frames`` frames from anywhere in the loop, at another pace and on a scaled and shifted mel axis.

    The pace changes by up to a factor ``1 + pace``, the scale by up to ``1 + pitch``, which moves formants like another
    speaker's voice.
    """
    clips, mels, length = power.shape
    stretch = (1 + pace) ** _uniform(-1, 1, clips, 1, generator=generator)
    start = _uniform(0, length, clips, 1, generator=generator)
    time = start + stretch * torch.arange(frames)
    scale = (1 + pitch) ** _uniform(-1, 1, clips, 1, generator=generator)
    shift = _uniform(-2, 2, clips, 1, generator=generator)
    band = scale * torch.arange(mels) + shift
    # Enough rounds of the loop for the latest start at the fastest pace.
    rounds = torch.log(power + 1e-10).repeat(1, 1, 1 + math.ceil((1 + pace) * frames / length)).unsqueeze(1)
    grid = torch.stack(
        [
            (2 * time / (rounds.shape[3] - 1) - 1).unsqueeze(1).expand(-1, mels, -1),
            (2 * band / (mels - 1) - 1).unsqueeze(2).expand(-1, -1, frames),
        ],
        dim=3,
    )
    return F.grid_sample(rounds, grid, padding_mode="border", align_corners=True).squeeze(1).exp()


def smear(power: Tensor, *, generator: Generator) -> Tensor:
    """Average three clips in four over 3, 5 or 7 neighbouring bands.

    This removes the harmonics and keeps the formants: on a held-out speaker, digits rose from 55 to 65 %.
    """
    smeared = power.clone()
    widths = 2 * torch.randint(4, (len(power),), generator=generator) + 1
    for width in (3, 5, 7):
        rows = (widths == width).nonzero().flatten()
        if len(rows):
            padded = F.pad(power[rows].unsqueeze(1), (0, 0, width // 2, width // 2), mode="replicate")
            smeared[rows] = F.avg_pool2d(padded, (width, 1), stride=1).squeeze(1)
    return smeared


def overlay(power: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Mix in ``other`` so that its share of the mean power is ``share [clips]``."""
    level = power.mean(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    other_level = other.mean(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    share = share.view(-1, 1, 1)
    return (1 - share) * power / level + share * other / other_level


def colour(power: Tensor, *, decibels: float, generator: Generator) -> Tensor:
    """A random smooth equaliser of up to ``decibels``, sometimes a missing top or bottom, and a noise floor."""
    clips, mels, _ = power.shape
    knots = _uniform(-decibels, decibels, clips, 1, 6, generator=generator)
    curve = F.interpolate(knots, size=mels, mode="linear", align_corners=True).squeeze(1)
    bands = torch.arange(mels)
    top = torch.where(
        torch.rand(clips, 1, generator=generator) < 0.25, _uniform(30, mels, clips, 1, generator=generator), float(mels)
    )
    bottom = torch.where(
        torch.rand(clips, 1, generator=generator) < 0.25, _uniform(0, 12, clips, 1, generator=generator), 0.0
    )
    curve = curve - 3 * (bands - top).clamp(min=0) - 3 * (bottom - bands).clamp(min=0)
    power = power * (10 ** (curve / 10)).unsqueeze(2)
    level = power.mean(dim=(1, 2), keepdim=True)
    tilt = 10 ** (_uniform(-2, 1, clips, 1, 1, generator=generator) * (bands / mels).view(1, -1, 1))
    floor = 10 ** _uniform(-6, -1.5, clips, 1, 1, generator=generator)
    hiss = torch.empty_like(power).exponential_(generator=generator)
    return power + level * floor * tilt * hiss


def mask(power: Tensor, *, bands: int, frames: int, generator: Generator) -> Tensor:
    """SpecAugment: silence one stretch of up to ``bands`` bands and two of up to ``frames`` frames."""
    clips, mels, length = power.shape
    for axis, size, widest in ((1, mels, bands), (2, length, frames), (2, length, frames)):
        width = _uniform(0, widest, clips, 1, generator=generator)
        start = torch.rand(clips, 1, generator=generator) * (size - width)
        steps = torch.arange(size)
        keep = (steps < start) | (steps >= start + width)
        power = power * keep.unsqueeze(3 - axis)
    return power
