"""`sept compare`: which trials are meant, what differs, and an interval that keeps its level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import synthetic_results as made

from pipeline.reports.compare import LEVEL, compare_trials, interval
from pipeline.store import TrialStore
from sept_core.errors import InputError

SIMULATED = 1500

# Standard deviations of what makes two equal configurations differ: the clips (the same in every fold that has them),
# the clips trained on (the same in every fold that has them), and each training alone; as chances that a clip is right.
LUCK = {
    "clips": (0.5, 0.0, 0.0),
    "training clips": (0.0, 0.15, 0.0),
    "each training": (0.0, 0.0, 0.1),
    "all": (0.3, 0.1, 0.05),
    "hardly any": (0.0, 0.0, 0.002),
}


def differences(folds: int, in_all: int, clips: int, luck: tuple[float, float, float], rng: np.random.Generator):
    """Mean differences of the folds between two trainings of the same configuration, and the least variance of their
    mean; each fold's replica is trained and validated on the clips of all other folds."""
    of_clip, of_pool, alone = luck
    clip = rng.normal(0, of_clip, (in_all, clips))
    pool = rng.normal(0, of_pool, in_all)
    found = []
    for fold in range(folds):
        others = [other for other in range(in_all) if other != fold]
        chance = clip[others] / 2 + (pool[others].mean() + rng.normal(0, alone)) / 2
        right = [rng.random(chance.shape) < np.clip(0.8 + sign * chance, 0, 1) for sign in (-1, 1)]
        found.append(100.0 * (right[1].mean() - right[0].mean()))
    return found, abs(float(np.mean(found))) * 100 / (in_all * clips)


@pytest.mark.parametrize("luck", LUCK)
@pytest.mark.parametrize(("folds", "in_all", "clips"), [(3, 3, 100), (4, 5, 40), (5, 5, 20), (2, 5, 40), (10, 10, 30)])
def test_equal_configurations_differ_by_luck_in_at_most_five_percent(
    folds: int, in_all: int, clips: int, luck: str
) -> None:
    rng = np.random.default_rng(0)
    shown = 0
    for _ in range(SIMULATED):
        values, least = differences(folds, in_all, clips, LUCK[luck], rng)
        low, high = interval(values, in_all, least) or (0.0, 0.0)
        shown += low > 0 or high < 0
    # Three standard deviations of the simulation above the level.
    assert shown / SIMULATED <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / SIMULATED) ** 0.5
