"""Paired tests of the gains of SEPT: sign flips of the differences replica by replica, and Holm's correction.

Under the null hypothesis that a method and its twin are interchangeable, each difference has either sign with the same
probability. The p value is the share of all sign patterns whose mean is at least as far from zero as the observed one.
This assumes nothing about the distribution of the differences, but it assumes independence, which replicas do not have:
those of one test fold are tested on the same clips, training folds overlap, and in cross-dataset all are tested on the
same clips of the targets. So sign flips over replicas are about shots and seeds alone, those over whole folds also
about source folds. Claims beyond these clips are based on the test in `claims`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.reports.claims import Clips, claim_test

__all__ = ["PairedTest", "holm", "interval", "paired_replicas", "paired_test", "sign_flip", "smallest_p"]

Replica = Mapping[str, Any]
"""One row of a result: fold, seed and accuracies."""

EXACT_UP_TO = 30
"""Up to this number of units all 2^n sign patterns are counted; above it, a seeded sample."""
SAMPLES = 100_000
_PRECISION = 0.005  # points
_SLACK = 1e-9  # sums of floats in another order differ in the last digits


@dataclass(frozen=True)
class PairedTest:
    """Two-sided p values of one mean difference.

    Attributes:
        replicas: Number of pairs.
        folds: Number of their test folds.
        p: From sign flips of single replicas.
        p_folds: From sign flips of whole folds.
        smallest, smallest_folds: The smallest possible p with this number of replicas, or folds.
        sources: Recordings or speakers of the test clips; 0 if the results do not say which clips were right.
        p_claim: From the test over folds and test clips together (`claim_test`), which claims are based on.
        smallest_claim: The smallest possible p with these folds and sources; 1 if nothing can be claimed.
        targets: Cross-dataset: number of targets; 0 if the results do not say which clips were right.
    """

    replicas: int
    folds: int
    p: float
    p_folds: float
    smallest: float
    smallest_folds: float
    sources: int = 0
    p_claim: float = 1.0
    smallest_claim: float = 1.0
    targets: int = 0


def paired_replicas(first: Iterable[Replica], others: Iterable[Replica]) -> list[tuple[Replica, Replica]]:
    """The replicas of two trainings with the same test fold and seed, in the order of the others."""
    before = {(one["fold"], one["seed"]): one for one in first}
    return [(before[key], one) for one in others if (key := (one["fold"], one["seed"])) in before]


def paired_test(
    differences: Sequence[float], folds: Sequence[str], clips: Clips | None = None, *, crossed: bool = False
) -> PairedTest:
    """Test the differences of paired replicas against zero.

    Args:
        differences: One per pair, at least one.
        folds: The test fold of each.
        clips: The effect of the test clips on the mean; None if the results do not say which clips were right.
        crossed: Whether all replicas were tested on the same clips.

    Raises:
        ValueError: There are no differences, a different number of folds, or a difference is not finite.
    """
    if not differences or len(differences) != len(folds):
        raise ValueError(f"{len(differences)} differences, {len(folds)} folds")
    of_fold: dict[str, list[float]] = {}
    for difference, fold in zip(differences, folds, strict=True):
        of_fold.setdefault(fold, []).append(difference)
    p, p_folds = sign_flip(differences), sign_flip([sum(values) for values in of_fold.values()])
    claim = claim_test([sum(values) / len(values) for values in of_fold.values()], clips, p_folds, crossed=crossed)
    return PairedTest(
        replicas=len(differences),
        folds=len(of_fold),
        p=p,
        p_folds=p_folds,
        smallest=smallest_p(len(differences)),
        smallest_folds=smallest_p(len(of_fold)),
        sources=clips.sources if clips else 0,
        targets=clips.targets if clips else 0,
        p_claim=claim.p,
        smallest_claim=claim.smallest,
    )


def sign_flip(values: Sequence[float]) -> float:
    """Share of sign patterns whose sum is at least as far from zero as the sum of ``values``.

    Exact for up to 30 values; above that from a seeded sample of 100,000 patterns, including the observed one.

    Raises:
        ValueError: A value is not finite: p would be 0.
    """
    magnitudes = np.abs(np.asarray(values, dtype=np.float64))
    if not np.isfinite(magnitudes).all():
        raise ValueError(f"not every difference is finite: {', '.join(map(str, values))}")
    least = abs(float(np.sum(np.asarray(values, dtype=np.float64)))) - _SLACK * max(1.0, float(magnitudes.sum()))
    if least <= 0:
        return 1.0
    count = len(magnitudes)
    if count <= EXACT_UP_TO:
        # Each half of the values has few patterns; a total is the sum of one from each half.
        middle = count // 2
        one = _patterns(middle) @ magnitudes[:middle]
        other = np.sort(_patterns(count - middle) @ magnitudes[middle:])
        above = len(other) * len(one) - int(np.sum(np.searchsorted(other, least - one, side="left")))
        below = int(np.sum(np.searchsorted(other, -least - one, side="right")))
        return (above + below) / 2**count
    reached = int(np.sum(np.abs(_sampled(count) @ magnitudes) >= least))
    return (reached + 1) / (SAMPLES + 1)


def interval(values: Sequence[float], level: float = 0.05) -> tuple[float, float] | None:
    """The confidence interval of the mean that belongs to `sign_flip`: all means that it does not reject.

    Args:
        values: Differences, in points.
        level: The test's level: 0.05 for a 95 % interval.

    Returns:
        Lower and upper end, to a hundredth; None if there are too few values for the test to reject anything.
    """
    if smallest_p(len(values)) > level:
        return None
    ends = []
    for inner, outer in ((min(values), statistics.fmean(values)), (max(values), statistics.fmean(values))):
        rejected, accepted = inner, outer
        # Beyond the extreme values every difference has the same sign, which is the smallest p.
        while abs(rejected - accepted) > _PRECISION:
            middle = (rejected + accepted) / 2
            if sign_flip([value - middle for value in values]) > level:
                accepted = middle
            else:
                rejected = middle
        ends.append(accepted)
    return ends[0], ends[1]


@lru_cache(maxsize=64)
def smallest_p(units: int) -> float:
    """The smallest possible p of this number of units: that of differences with equal sign and size."""
    return sign_flip([1.0] * units)


@lru_cache(maxsize=32)
def _patterns(units: int) -> NDArray[np.float64]:
    """All patterns of signs ``[2^units, units]``."""
    return 2.0 * ((np.arange(2**units)[:, None] >> np.arange(units)) & 1) - 1.0


@lru_cache(maxsize=2)
def _sampled(units: int) -> NDArray[np.float64]:
    """A fixed sample of patterns of signs ``[SAMPLES, units]``."""
    return 2.0 * np.random.default_rng(0).integers(0, 2, (SAMPLES, units), dtype=np.int8) - 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, which keeps the probability of any false positive below the level."""
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, highest)
    return adjusted
