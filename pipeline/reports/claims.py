"""The test that a claim rests on: is a gain beyond the variation of shots, seeds, folds and test clips together?

Base-to-new tests every clip in one fold only, so the variation between folds contains that of the clips. In
cross-dataset all replicas are tested on the same clips of the targets: between folds their luck does not vary at all,
and it has a variance of its own, taken over the recordings or speakers that the clips come from. Two tests that each
look at one of the two would be passed by chance too often where both matter (each neglects the other's variance), so
the variances are added:

    t = mean / sqrt(s^2 (1 / K + 1 / (K - 1)) + sum over sources of (a source's share of the mean)^2)

with s the standard deviation of the K folds' mean differences. The 1 / (K - 1) is the correction of Nadeau and Bengio
(2003, "Inference for the generalization error") for folds that train on overlapping clips. The second term is taken
about zero, the mean under the null hypothesis: it is never 0 where there is a gain, and few sources never give a small
p. What varies between targets contains the luck of their clips; where s_T^2 / T over the T targets' mean differences is
larger than the second term, it takes its place. In base-to-new the second term is a floor instead (the larger of the
two terms is taken), the least that the clips' own variance can be: folds that happen to agree in the one clip that each
has more are no proof. The reference is Student's t with one degree of freedom less than there are folds, targets, or
sources of a target, whichever are fewest: for a sum of variances that is the safe choice.

Fixed, and covered by no claim: the split of the classes and the clips that shots are drawn from. With one fold, or one
target, there is no variation between folds, or targets, to look at, and nothing is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sept_core.tested import SourceCounts, Tested

__all__ = ["ClaimTest", "Clips", "claim_test", "clips_of", "two_sided_t"]

_Pair = tuple[Mapping[str, Any], Mapping[str, Any]]


@dataclass(frozen=True)
class Clips:
    """What the test clips say of a mean difference.

    Attributes:
        variance: Of the mean difference through the luck of the clips, in points^2. Cross-dataset: over sources, or
            over targets where that is more; base-to-new: the least that it can be, as if every clip were a source.
        sources: Recordings or speakers that the clips come from.
        effective: How many sources of equal size the clips of the target would count for, of several targets the
            least; infinite in base-to-new.
        most_t: The highest that mean / sqrt(variance) can be.
        targets: Cross-dataset: how many there are.
    """

    variance: float
    sources: int
    effective: float
    most_t: float
    targets: int = 0


@dataclass(frozen=True)
class ClaimTest:
    """A two-sided p value, and the smallest that so many folds and clips can give (1: nothing can be claimed)."""

    p: float
    smallest: float


def claim_test(folds: Sequence[float], clips: Clips | None, p_folds: float, *, crossed: bool = False) -> ClaimTest:
    """Test a mean difference against the variation of folds and test clips.

    Args:
        folds: The mean difference of each test fold.
        clips: None where the results do not say which clips were right.
        p_folds: The p value of sign flips over whole folds. Without ``clips`` there is no floor under the variance, and
            no smaller p than this is given.
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
    """Chance that Student's t with ``free`` (a whole number) degrees of freedom is at least ``t`` >= 0 from zero.

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
    """What the test clips say of a mean difference of paired replicas.

    Args:
        name: ``base``, ``new``, ``h``, ``source`` or ``targets``.
        pairs: Rows of the replicas of the baseline and its twin.
        before, after: What each counted by source.
        targets: Names of the targets, for ``targets``.

    Returns:
        None where one of them has no counts, or they are not of the same clips and replicas.
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
    """Whether two counts are of the same clips, and of these replicas and no others."""
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
    """Of clips that all folds are tested on: each source's share of the mean difference, squared and added; or what
    targets differ by, where that is more."""
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
    """Of clips that one fold each is tested on: the least variance that they can have by themselves."""
    variance, clips, sources = 0.0, 0, 0
    for fold, replicas in seeds.items():
        slopes = np.mean([_slopes(*pair) for pair in replicas], axis=0) if harmonic else (1.0,)
        sizes = [np.array(counts[fold, group][0].clips, dtype=np.float64) for group in groups]
        for slope, size, group in zip(slopes, sizes, groups, strict=True):
            one, other = counts[fold, group]
            # So many more right answers of one source, by different clips as far as there are enough.
            more = np.abs(np.subtract(other.right, one.right))
            least = np.maximum(more, more**2 / np.maximum(size, 1.0))
            variance += float(np.sum(least)) * (100.0 * slope / (size.sum() * len(replicas) * len(seeds))) ** 2
            clips += int(size.sum())
        sources += int(np.count_nonzero(sum(sizes)))
    return Clips(variance, sources, math.inf, math.sqrt(clips))


def _slopes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[float, float]:
    """How far H moves for each point of base and of new: the move of H is their sum, without remainder."""
    ends = before["test_base"] + before["test_new"], after["test_base"] + after["test_new"]
    if not ends[0] * ends[1]:
        return 1.0, 1.0
    factor = 2.0 / (ends[0] * ends[1])
    return factor * before["test_new"] * after["test_new"], factor * before["test_base"] * after["test_base"]
