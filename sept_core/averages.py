"""Means over replicas, from their rows: of one trial, or of rows that are shown together in a table. Loads no torch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

__all__ = ["averages", "harmonic_mean"]


def harmonic_mean(base: float, new: float) -> float:
    """2 b n / (b + n); 0 where both are 0."""
    return 2.0 * base * new / (base + new) if base + new > 0 else 0.0


def averages(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of every measure of the rows, and its sample standard deviation ``*_std`` (0 for one replica).

    Measures ``*_f1`` get no deviation. If the rows have ``h``, ``h_of_means`` is the harmonic mean of the mean base
    and the mean new accuracy. Sums are exact, so that neither the order of the rows nor the machine changes a digit.

    Args:
        rows: One per replica, at least one; all have the same measures, in percent.
    """
    summary: dict[str, float] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        summary[name] = statistics.fmean(values)
        if not name.endswith("_f1"):
            summary[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else 0.0
    if "h" in summary:
        summary["h_of_means"] = harmonic_mean(summary["base"], summary["new"])
    return summary
