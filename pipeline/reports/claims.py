"""The test for claims: is a gain larger than the variation of shots, seeds, folds and test clips together?

Base-to-new tests every clip in one fold only, so the variation between folds includes that of the clips. In
cross-dataset all replicas are tested on the same clips of the targets: the effect of these clips is the same in all
folds, so its variance is estimated separately, over the recordings or speakers that the clips come from. Two separate
tests, one for each variance, would both be passed by chance too often (each neglects the other variance), so the
variances are added:

    t = mean / sqrt(s^2 (1 / K + 1 / (K - 1)) + sum over sources of (a source's share of the mean)^2)

with s the standard deviation of the K folds' mean differences. The 1 / (K - 1) is the correction of Nadeau and Bengio
(2003, "Inference for the generalization error") for folds that train on overlapping clips. The second term is taken
about zero, the mean under the null hypothesis: it is never 0 if there is a gain, and few sources never give a small p.
The variation between targets includes the effect of their clips; if s_T^2 / T over the mean differences of the T
targets is larger than the second term, it replaces it. In base-to-new the second term is a lower limit instead (the
larger of the two terms is used), the smallest possible variance of the clips: if all folds happen to gain the same one
clip, that proves nothing. The reference is Student's t with one degree of freedom less than the number of folds,
targets, or sources of a target, whichever is smallest: the safe choice for a sum of variances.

No claim covers the split of the classes and the set of clips that shots are drawn from, which are fixed. With one fold,
or one target, the variation between folds, or targets, is unknown, and nothing is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sept_core.correct_counts import SourceCounts, Tested

__all__ = ["ClaimTest", "Clips", "claim_test", "clips_of", "h_slopes", "two_sided_t"]

_Pair = tuple[Mapping[str, Any], Mapping[str, Any]]


@dataclass(frozen=True)
class Clips:
    """The effect of the test clips on a mean difference.

    Attributes:
        variance: Variance of the mean difference due to the clips, in points^2. Cross-dataset: over sources, or over
            targets if that is larger; base-to-new: its smallest possible value, as if every clip were a source.
        sources: Number of recordings or speakers that the clips come from.
        effective: Number of sources of equal size that the clips of a target are worth, the smallest of all targets;
            infinite in base-to-new.
        most_t: The highest possible value of mean / sqrt(variance).
        targets: Cross-dataset: number of targets.
    """

    variance: float
    sources: int
    effective: float
    most_t: float
    targets: int = 0


@dataclass(frozen=True)
class ClaimTest:
    """A two-sided p value, and the smallest one possible with these folds and clips (1: nothing can be claimed)."""

    p: float
    smallest: float


def claim_test(folds: Sequence[float], clips: Clips | None, p_folds: float, *, crossed: bool = False) -> ClaimTest:
    """Test a mean difference against the variation of folds and test clips.

    Args:
        folds: The mean difference of each test fold.
        clips: None if the results do not say which clips were right.
        p_folds: The p value of sign flips over whole folds. Without ``clips`` the variance has no lower limit, and p is
            at least this value.
        crossed: Whether all folds were tested on the same clips; then nothing is claimed without ``clips``.
    """
    count = len(folds)
    free = count - 1
    if crossed:
        free = min(free, math.floor(clips.effective + 1e-9) - 1, clips.targets - 1) if clips else 0
    if free < 1:
        return ClaimTest(1.0, 1.0)
    mean, between = float(np.mean(folds)), float(np.var(folds, ddof=1)) * (1 / count + 1 / (count - 1))
    if clips is None:
        return ClaimTest(max(p_folds, _p(mean, between, free)), 2.0 ** (1 - count))
    variance = between + clips.variance if crossed else max(between, clips.variance)
    return ClaimTest(_p(mean, variance, free), two_sided_t(clips.most_t, free))


def _p(mean: float, variance: float, free: int) -> float:
    return two_sided_t(abs(mean) / math.sqrt(variance), free) if variance > 0 and mean != 0 else 1.0


def two_sided_t(t: float, free: int) -> float:
    """Probability that Student's t with ``free`` (a whole number) degrees of freedom is at least ``t`` >= 0 from zero.

    Abramowitz and Stegun, 26.7.3 and 26.7.4; to about 1e-15.
    """
    angle = math.atan(t / math.sqrt(free))
    sine, cosine = math.sin(angle), math.cos(angle)
    term, total = (cosine, cosine) if free % 2 else (1.0, 1.0)
    for n in range(3 if free % 2 else 2, free - 1, 2):
        term *= cosine**2 * (n - 1) / n
        total += term
    if free == 1:
        within = 2 * angle / math.pi
    elif free % 2:
        within = 2 / math.pi * (angle + sine * total)
    else:
        within = sine * total
    return min(1.0, max(0.0, 1.0 - within))


def clips_of(
    name: str, pairs: Sequence[_Pair], before: Tested, after: Tested, targets: Sequence[str] = ()
) -> Clips | None:
    """The effect of the test clips on a mean difference of paired replicas.

    Args:
        name: ``base``, ``new``, ``h``, ``source`` or ``targets``.
        pairs: The replicas of the baseline and of its twin.
        before, after: The counts of each by source.
        targets: Names of the targets, for ``targets``.

    Returns:
        None if one of them has no counts, or if they are not of the same clips and replicas.
    """
    seeds: dict[str, list[_Pair]] = {}
    for pair in pairs:
        seeds.setdefault(pair[0]["fold"], []).append(pair)
    groups = {"h": ("base", "new"), "targets": tuple(targets)}.get(name, (name,))
    counts: dict[tuple[str, str], tuple[SourceCounts, SourceCounts]] = {}
    for fold, replicas in seeds.items():
        for group in groups:
            one, other = (tested.get(fold, {}).get(group) for tested in (before, after))
            if one is None or other is None or not _same(group, replicas, one, other):
                return None
            counts[fold, group] = one, other
    return _crossed(seeds, groups, counts) if name == "targets" else _nested(seeds, groups, counts, name == "h")


def _same(group: str, replicas: Sequence[_Pair], one: SourceCounts, other: SourceCounts) -> bool:
    """Whether both counts are of the same clips, and of exactly these replicas."""
    if one.clips != other.clips or not sum(one.clips):
        return False
    for counts, rows in zip((one, other), zip(*replicas, strict=True), strict=True):
        accuracy = 100.0 * sum(counts.right) / sum(counts.clips) / len(rows)
        if not math.isclose(accuracy, sum(row[f"test_{group}"] for row in rows) / len(rows), abs_tol=1e-6):
            return False
    return True


_Seeds = Mapping[str, Sequence[_Pair]]
_Counts = Mapping[tuple[str, str], tuple[SourceCounts, SourceCounts]]


def _crossed(seeds: _Seeds, targets: Sequence[str], counts: _Counts) -> Clips | None:
    """For clips that all folds are tested on: the sum of squares of each source's share of the mean difference, or the
    variance between targets if that is larger."""
    variance, sources, effective = 0.0, 0, math.inf
    means: list[float] = []
    for target in targets:
        clips = np.array(next(iter(counts[fold, target][0].clips for fold in seeds)), dtype=np.float64)
        shares = np.zeros(len(clips))
        for fold, replicas in seeds.items():
            one, other = counts[fold, target]
            if len(one.clips) != len(clips) or np.any(clips != one.clips):
                return None
            shares += np.subtract(other.right, one.right) / len(replicas)
        shares *= 100.0 / (clips.sum() * len(seeds) * len(targets))
        means.append(float(np.sum(shares)) * len(targets))
        variance += float(np.sum(shares**2))
        sources += len(clips)
        effective = min(effective, float(clips.sum() ** 2 / np.sum(clips**2)))
    between = float(np.var(means, ddof=1)) / len(means) if len(means) > 1 else 0.0
    return Clips(max(variance, between), sources, effective, math.sqrt(sources), len(targets))


def _nested(seeds: _Seeds, groups: Sequence[str], counts: _Counts, harmonic: bool) -> Clips:
    """For clips that are tested in one fold each: the smallest variance that they can have."""
    variance, clips, sources = 0.0, 0, 0
    for fold, replicas in seeds.items():
        slopes = np.mean([_slopes(*pair) for pair in replicas], axis=0) if harmonic else (1.0,)
        sizes = [np.array(counts[fold, group][0].clips, dtype=np.float64) for group in groups]
        for slope, size, group in zip(slopes, sizes, groups, strict=True):
            one, other = counts[fold, group]
            # The difference in right answers of a source, by different clips as far as there are enough.
            more = np.abs(np.subtract(other.right, one.right))
            least = np.maximum(more, more**2 / np.maximum(size, 1.0))
            variance += float(np.sum(least)) * (100.0 * slope / (size.sum() * len(replicas) * len(seeds))) ** 2
            clips += int(size.sum())
        sources += int(np.count_nonzero(sum(sizes)))
    return Clips(variance, sources, math.inf, math.sqrt(clips))


def _slopes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[float, float]:
    return h_slopes(*((one["test_base"], one["test_new"]) for one in (before, after)))


def h_slopes(before: tuple[float, float], after: tuple[float, float]) -> tuple[float, float]:
    """How much H changes per point of base and of new, from one base and new accuracy to another.

    The change of H is exactly the sum of both changes times their slopes.
    """
    ends = sum(before), sum(after)
    if not ends[0] * ends[1]:
        return 1.0, 1.0
    factor = 2.0 / (ends[0] * ends[1])
    return factor * before[1] * after[1], factor * before[0] * after[0]
