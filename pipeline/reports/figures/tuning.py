"""Tuning curves: the expected best validation over the number of trials, a baseline and its SEPT twin in one panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.drawing import Drawing, Linear, Panel, look_of, spread
from pipeline.drawing.panel import number

__all__ = ["LEVELS", "Best", "expected_best", "tuning_figure"]

LEVELS = (0.05, 0.95)
"""The quantiles of a band."""
_MOST_POINTS = 60
_SLACK = 1e-12


@dataclass(frozen=True)
class Best:
    """The best of n trials that are drawn without replacement: its expectation and the quantiles `LEVELS`."""

    trials: int
    mean: float
    low: float
    high: float


def expected_best(values: Sequence[float], most: int = _MOST_POINTS) -> list[Best]:
    """The exact distribution of the best of n = 1..N of N values, all subsets of n being equally probable.

    The k-th smallest value is the best of C(k-1, n-1) of the C(N, n) subsets.

    Args:
        values: The values of all N trials, at least one.
        most: About how many n to compute, at equal ratios if there are more.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    wanted = list(range(1, count + 1))
    if count > most:
        wanted = sorted({round(float(n)) for n in np.geomspace(1, count, most)})
    found = []
    rank = np.arange(1, count + 1)
    for n in wanted:
        # From the largest value down: C(k-2, n-1) / C(k-1, n-1) = (k-n) / (k-1).
        ratios = np.clip((rank[:0:-1] - n) / (rank[:0:-1] - 1), 0.0, None)
        weights = (n / count * np.cumprod(np.concatenate([[1.0], ratios])))[::-1]
        below = np.cumsum(weights)
        low, high = (ordered[min(count - 1, int(np.searchsorted(below, level - _SLACK)))] for level in LEVELS)
        found.append(Best(n, float(weights @ ordered), float(low), float(high)))
    return found


def tuning_figure(curves: Mapping[str, Sequence[Best]], objective: str, zero_shot: float | None, title: str) -> Drawing:
    """A panel with the curves of a baseline and of its SEPT twin.

    Args:
        curves: By method.
        objective: Name of the search objective.
        zero_shot: The objective of the zero-shot prompts, if known.
        title: Dataset and baseline.
    """
    every = [best for curve in curves.values() for best in curve]
    up = spread([end for best in every for end in (best.low, best.high)] + ([] if zero_shot is None else [zero_shot]))
    last = max(best.trials for best in every)
    across = Linear(1 - 0.02 * last, last + 0.02 * last, whole=True)
    panel = Panel(across, up, ("trials", f"{objective}, %"), title)
    panel.level(zero_shot)
    for method, curve in curves.items():
        ends = [(best.trials, best.low) for best in curve] + [(best.trials, best.high) for best in reversed(curve)]
        path = " ".join(f"{number(panel.x(x))},{number(panel.y(y))}" for x, y in ends)
        panel.parts.append(f'<polygon points="{path}" class="band {look_of(method).colour}"/>')
    for method, curve in curves.items():
        panel.line([(best.trials, best.mean) for best in curve], f"best {look_of(method).colour}")
        for best in (curve[0], curve[-1]):
            look = look_of(method)
            panel.mark(panel.x(best.trials), panel.y(best.mean), look.shape, f"trial {look.colour}", 4.0)
    return panel.drawn(f"{title}: expected best {objective} of 1 to {last} trials")
