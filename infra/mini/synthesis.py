"""Synthesised sounds: each recipe draws pitch, pace, timbre and length, like different sources of one kind."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from infra.mini.digits import DIGIT_RECIPES
from infra.mini.esc10 import ESC10_RECIPES
from infra.mini.related_sounds import KIN_RECIPES
from infra.mini.signals import finish

__all__ = ["RECIPES", "synthesise"]

# By the names that vocabulary.txt has for them.
RECIPES = {**ESC10_RECIPES, **KIN_RECIPES, **DIGIT_RECIPES}


def synthesise(name: str, seed: int) -> Tensor:
    """One clip ``[samples]`` at 16 kHz of the concept ``name``; the same for the same ``seed``."""
    rng = np.random.default_rng([seed, *name.encode()])
    return torch.from_numpy(finish(rng, RECIPES[name](rng))).float()
