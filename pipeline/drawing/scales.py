"""Scales of a figure's axes: where a value lies between 0 and 1, and which values are named beside the axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sept_core.hyper import Value

__all__ = ["Linear", "Log", "Scale", "Words", "spread"]


@dataclass(frozen=True)
class Linear:
    """From ``low`` to ``high``; ``whole``: only whole numbers are named."""

    low: float
    high: float
    whole: bool = False

    def at(self, value: Value) -> float:
        """The place of a value."""
        return (float(value) - self.low) / (self.high - self.low)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Round values within the range, at most so many."""
        for step in _steps(self.high - self.low, most):
            if self.whole and step < 1:
                continue
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first < most:
                digits = max(0, -math.floor(math.log10(step) + 1e-9))
                return [(self.at(n * step), f"{n * step:.{digits}f}") for n in range(first, last + 1)]
        return []


@dataclass(frozen=True)
class Log:
    """From ``low`` to ``high``, both above 0, on a logarithmic scale."""

    low: float
    high: float

    def at(self, value: Value) -> float:
        """The place of a value."""
        return math.log(float(value) / self.low) / math.log(self.high / self.low)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Powers of ten within the range, with their halves and fifths where these are few enough."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values: list[float] = []
        for digits in ((1, 2, 5), (1, 3), (1,)):
            values = [digit * 10.0**decade for decade in decades for digit in digits]
            values = [value for value in values if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]
            if len(values) <= most:
                break
        return [(self.at(value), f"{value:g}") for value in values]


@dataclass(frozen=True)
class Words:
    """Values without distances, evenly apart."""

    values: tuple[Value, ...]

    def at(self, value: Value) -> float:
        """The place of a value."""
        return (self.values.index(value) + 0.5) / len(self.values)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """All of them: there are as many as a person has written down."""
        return [
            (self.at(value), str(value) if isinstance(value, int | str) else f"{value:.3g}") for value in self.values
        ]


Scale = Linear | Log | Words


def spread(values: Sequence[float]) -> Linear:
    """A scale with a margin around all values, at least 1 wide on both sides."""
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 1.0)
    return Linear(low - margin, high + margin)


def _steps(width: float, most: int) -> list[float]:
    """Round distances, from one that may be too fine to one that is coarse enough."""
    decade = 10.0 ** math.floor(math.log10(width / most))
    return [factor * decade for factor in (1, 2, 5, 10, 20, 50)]
