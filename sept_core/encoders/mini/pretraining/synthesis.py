"""Synthesised sounds: each recipe draws its own pitch, pace, timbre and length anew, as many sources of one kind do."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sept_core.encoders.mini.pretraining.digits import DIGIT_RECIPES
from sept_core.encoders.mini.pretraining.esc10 import ESC10_RECIPES
from sept_core.encoders.mini.pretraining.kin import KIN_RECIPES
from sept_core.encoders.mini.pretraining.signals import finish

__all__ = ["RECIPES", "synthesise"]

# By the names that vocabulary.txt has for them.
RECIPES = {**ESC10_RECIPES, **KIN_RECIPES, **DIGIT_RECIPES}


def synthesise(name: str, seed: int) -> Tensor:
    """One clip ``[samples]`` at 16 kHz of the concept ``name``; the same for the same ``seed``."""
    rng = np.random.default_rng([seed, *name.encode()])
    return torch.from_numpy(finish(rng, RECIPES[name](rng))).float()
