"""Sweeps whose SEPT changes nothing on average, or a known amount, with luck of every kind; as rows of a report.

The chance that a clip is right is the method's level, plus or minus half of what luck makes of SEPT's gain there: luck
of the fold, of the seed, of the source recording of the clip (the same in every replica that is tested on it), of the
target, and of the clips that shots are drawn from, which overlap between folds. All luck is as likely to be for SEPT as
against it. What no claim covers is fixed: the luck of the clips to draw shots from adds up to nothing over those that
there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.reports.collect import paired_gains
from pipeline.reports.rows import Accuracy, Row, Score, TransferRow
from pipeline.reports.sweep_table import Gain, SweepTable, TransferGain
from sept_core.correct_counts import SourceCounts
from sept_core.evaluation import harmonic_mean

METHODS = ("coop", "dept", "kgcoop")
PER_SOURCE = 2  # clips of a source, in each group
DATA_FOLDS, FOLD_CLIPS, SHOTS = 5, 8, 16  # as ESC-10 has for each class

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Luck:
    """Standard deviations of SEPT's gain, as chances that a clip is right."""

    fold: float = 0.01
    seed: float = 0.01
    source: float = 0.01
    target: float = 0.01
    pool: float = 0.01


MIXES = {
    "folds": Luck(fold=0.15),
    "seeds": Luck(seed=0.15),
    "clips": Luck(source=0.5),
    "pool": Luck(pool=0.15),
    "targets": Luck(target=0.15),
    "none": Luck(0, 0, 0, 0, 0),
    "equal": Luck(0.05, 0.05, 0.3, 0.05, 0.05),
}


def base_to_new(
    sweeps: int, folds: int, seeds: int, luck: Luck, *, sources: int = 12, gain: float = 0.0, seed: int = 0
) -> Iterator[SweepTable]:
    """Sweeps of three methods and their twins on one data set, every fold with ``sources`` of its own.

    Args:
        gain: True gain of SEPT in both groups.
    """
    rng = np.random.default_rng([seed, folds, seeds, sources])
    shape = (sweeps, len(METHODS), folds, seeds, 2)
    moved = gain + _trained(rng, luck, shape)
    moved = moved[..., None] + rng.normal(0, luck.source, (*shape[:3], 1, 2, sources))
    for right in _classified(rng, np.array([0.75, 0.6])[:, None], moved):
        rows = [
            _row(method + sept, of) for method, twins in zip(METHODS, right, strict=True) for sept, of in twins.items()
        ]
        yield compared(SweepTable("simulated", tuple(rows), (), ()))


def cross_dataset(
    sweeps: int, folds: int, seeds: int, targets: tuple[int, ...], luck: Luck, *, gain: float = 0.0, seed: int = 0
) -> Iterator[SweepTable]:
    """Sweeps of three methods and their twins from one source to targets of so many sources (recordings) each."""
    rng = np.random.default_rng([seed, folds, seeds, *targets])
    shape = (sweeps, len(METHODS), folds, seeds)
    moved = _trained(rng, luck, (*shape, 1))
    of_target = rng.normal(0, luck.target, (*shape[:2], 1, 1, len(targets)))
    moved = gain + moved + of_target
    classified = [
        _classified(rng, np.array(0.5), moved[..., place, None] + rng.normal(0, luck.source, (*shape[:2], 1, 1, size)))
        for place, size in enumerate(targets)
    ]
    for each in zip(*classified, strict=True):
        rows = [
            _transfer(method + sept, [right[index][sept] for right in each])
            for index, method in enumerate(METHODS)
            for sept in ("", "+sept")
        ]
        yield compared(SweepTable("simulated", (), (), (), tuple(rows)))


def compared(table: SweepTable) -> SweepTable:
    """The table with its gains taken from its rows once more."""
    return replace(
        table,
        gains=paired_gains(table.rows, Gain),
        transfer_gains=paired_gains(table.transfers, TransferGain),
    )


def _trained(rng: np.random.Generator, luck: Luck, shape: tuple[int, ...]) -> _Array:
    """What folds, seeds and drawn shots make of the gain: ``[sweeps, methods, folds, seeds, groups]``."""
    sweeps, methods, folds, seeds, groups = shape
    moved = rng.normal(0, luck.fold, (sweeps, methods, folds, 1, groups)) + rng.normal(0, luck.seed, shape)
    of_clip = rng.normal(0, luck.pool * SHOTS**0.5, (sweeps, methods, groups, max(folds, DATA_FOLDS) * FOLD_CLIPS))
    of_clip -= of_clip.mean(-1, keepdims=True)
    order = rng.random((sweeps, folds, seeds, of_clip.shape[-1]))
    for fold in range(folds):
        order[:, fold, :, fold * FOLD_CLIPS : (fold + 1) * FOLD_CLIPS] = 2.0  # tested, not trained on
    drawn = np.argsort(order, axis=-1)[..., :SHOTS]
    weights = np.zeros_like(order)
    np.put_along_axis(weights, drawn, 1 / SHOTS, axis=-1)
    return moved + np.einsum("nfsc,nmgc->nmfsg", weights, of_clip)


def _classified(rng: np.random.Generator, level: _Array, moved: _Array) -> Iterator[list[dict[str, NDArray[np.int64]]]]:
    """By sweep and method, of baseline and twin, the right answers of every replica, group and source."""
    both = [rng.binomial(PER_SOURCE, np.clip(level + sign * moved / 2, 0.02, 0.98)) for sign in (-1, 1)]
    for plain, sept in zip(*both, strict=True):
        yield [{"": one, "+sept": other} for one, other in zip(plain, sept, strict=True)]


@cache
def _common(method: str, protocol: str, folds: int, seeds: int) -> dict[str, object]:
    return {
        "study": method, "dataset": "SIM", "encoder": "mini", "protocol": protocol, "selection": "heldout",
        "method": method, "choices": (), "shots": SHOTS, "folds": tuple(map(str, range(folds))),
        "seeds": tuple(range(seeds)), "trials": {}, "per_fold": {}, "ended": {}, "matched": None, "origins": (),
        "warnings": (),
    }  # fmt: skip


def _counts(right: NDArray[np.int64]) -> SourceCounts:
    """Of ``[seeds, sources]`` right answers."""
    return SourceCounts((PER_SOURCE,) * right.shape[-1], tuple(right.sum(0).tolist()))


def _row(method: str, right: NDArray[np.int64]) -> Row:
    """From right answers ``[folds, seeds, 2, sources]``."""
    folds, seeds, _, sources = right.shape
    percent = (100.0 / (sources * PER_SOURCE)) * right.sum(-1)
    replicas = tuple(
        {"fold": str(fold), "seed": seed, "test_base": base, "test_new": new, "test_h": harmonic_mean(base, new)}
        for fold, of_fold in enumerate(percent.tolist())
        for seed, (base, new) in enumerate(of_fold)
    )
    tested = {
        str(fold): {"base": _counts(right[fold, :, 0]), "new": _counts(right[fold, :, 1])} for fold in range(folds)
    }
    nothing = Accuracy(*(0.0,) * 9)
    given = _common(method, "base-to-new", folds, seeds)
    return Row(**given, replicas=replicas, tested=tested, validation=nothing, test=nothing)  # type: ignore[arg-type]


def _transfer(method: str, right: list[NDArray[np.int64]]) -> TransferRow:
    """From right answers ``[folds, seeds, sources]`` of every target."""
    folds, seeds, _ = right[0].shape
    names = [f"target {index}" for index in range(len(right))]
    percent = [(100.0 / (of.shape[-1] * PER_SOURCE)) * of.sum(-1) for of in right]
    replicas = tuple(
        {"fold": str(fold), "seed": seed, "test_source": 50.0}
        | {f"test_{name}": float(of[fold, seed]) for name, of in zip(names, percent, strict=True)}
        | {"test_targets": float(np.mean([of[fold, seed] for of in percent]))}
        for fold in range(folds)
        for seed in range(seeds)
    )
    tested = {
        str(fold): {name: _counts(of[fold]) for name, of in zip(names, right, strict=True)} for fold in range(folds)
    }
    nothing = Score(0.0, 0.0, 0.0)
    return TransferRow(
        **_common(method, "cross-dataset", folds, seeds),  # type: ignore[arg-type]
        replicas=replicas,
        tested=tested,
        validation=0.0,
        source=nothing,
        targets=dict.fromkeys(names, nothing),
        mean=0.0,
        mean_std=0.0,
    )
