"""A paired test of what SEPT changes: sign flips of the differences replica by replica, and Holm's correction.

Under the null hypothesis that a method and its twin are interchangeable, each difference is as likely to have the other
sign. The p value is the share of all sign patterns whose mean lies as far from zero as the one observed. Nothing is
assumed of the differences' distribution, but they are taken to be independent, which replicas are not quite: those of
one test fold are tested on the same clips, and the training folds of any two overlap. So the test is made twice, over
replicas and over whole folds, whose replicas then flip together; the second asks less of the data and can say less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["PairedTest", "holm", "paired_test", "sign_flip"]

EXACT_UP_TO = 15
"""Units up to which all 2^n sign patterns are looked at; above, a seeded sample of them is."""
SAMPLES = 100_000
_SLACK = 1e-9  # sums of floats in another order differ in their last digits


@dataclass(frozen=True)
class PairedTest:
    """Two-sided p values of one mean difference.

    Attributes:
        replicas: Pairs.
        folds: Test folds that they come from.
        p: Every replica may flip by itself.
        p_folds: The replicas of a fold flip together.
        smallest, smallest_folds: The smallest p that so many replicas, or folds, can give at all.
    """

    replicas: int
    folds: int
    p: float
    p_folds: float
    smallest: float
    smallest_folds: float


def paired_test(differences: Sequence[float], folds: Sequence[str]) -> PairedTest:
    """Test the differences of paired replicas against zero.

    Args:
        differences: One per pair, at least one.
        folds: The test fold of each.

    Raises:
        ValueError: No differences, not as many folds, or one that is not finite.
    """
    if not differences or len(differences) != len(folds):
        raise ValueError(f"{len(differences)} differences, {len(folds)} folds")
    sums: dict[str, float] = {}
    for difference, fold in zip(differences, folds, strict=True):
        sums[fold] = sums.get(fold, 0.0) + difference
    return PairedTest(
        replicas=len(differences),
        folds=len(sums),
        p=sign_flip(differences),
        p_folds=sign_flip(list(sums.values())),
        smallest=_smallest(len(differences)),
        smallest_folds=_smallest(len(sums)),
    )


def sign_flip(values: Sequence[float]) -> float:
    """Share of sign patterns whose sum is at least as far from zero as the sum of ``values``.

    Exact for up to 15 values; above that from a seeded sample of 100,000 patterns, the observed one counted in.

    Raises:
        ValueError: A value is not finite: no sum would be as far from zero, and p would be 0.
    """
    magnitudes = np.abs(np.asarray(values, dtype=np.float64))
    if not np.isfinite(magnitudes).all():
        raise ValueError(f"not every difference is finite: {', '.join(map(str, values))}")
    least = abs(float(np.sum(np.asarray(values, dtype=np.float64)))) - _SLACK * max(1.0, float(magnitudes.sum()))
    if len(magnitudes) <= EXACT_UP_TO:
        patterns = (np.arange(2 ** len(magnitudes))[:, None] >> np.arange(len(magnitudes))) & 1
        return float(np.mean(np.abs((2 * patterns - 1) @ magnitudes) >= least))
    patterns = np.random.default_rng(0).integers(0, 2, (SAMPLES, len(magnitudes)), dtype=np.int8)
    reached = int(np.sum(np.abs((2 * patterns - 1) @ magnitudes) >= least))
    return (reached + 1) / (SAMPLES + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for testing all of them: the chance of one false finding stays below the level."""
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, highest)
    return adjusted


def _smallest(units: int) -> float:
    return 2.0 ** (1 - units) if units <= EXACT_UP_TO else 1 / (SAMPLES + 1)
