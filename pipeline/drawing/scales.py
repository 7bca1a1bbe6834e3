"""Scales of axes: map values to positions between 0 and 1, and choose the ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sept_core.hyper import Value

__all__ = ["Linear", "Log", "Scale", "Words", "spread"]

_TICKS = 6  # at most


@dataclass(frozen=True)
class Linear:
    """From ``low`` to ``high``; ``whole``: ticks at whole numbers only."""

    low: float
    high: float
    whole: bool = False

    def at(self, value: Value) -> float:
        """The position of a value."""
        return (float(value) - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values within the range, at most six."""
        for step in _steps(self.high - self.low):
            if self.whole and step < 1:
                continue
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first < _TICKS:
                digits = max(0, -math.floor(math.log10(step) + 1e-9))
                return [(self.at(n * step), f"{n * step:.{digits}f}") for n in range(first, last + 1)]
        return []


@dataclass(frozen=True)
class Log:
    """From ``low`` to ``high``, both above 0, on a logarithmic scale."""

    low: float
    high: float

    def at(self, value: Value) -> float:
        """The position of a value."""
        return math.log(float(value) / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Powers of ten within the range, also times 2 and 5, or 3, if these are at most six."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values: list[float] = []
        for digits in ((1, 2, 5), (1, 3), (1,)):
            values = [digit * 10.0**decade for decade in decades for digit in digits]
            values = [value for value in values if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]
            if len(values) <= _TICKS:
                break
        return [(self.at(value), f"{value:g}") for value in values]


@dataclass(frozen=True)
class Words:
    """Values without distances, at equal intervals."""

    values: tuple[Value, ...]

    def at(self, value: Value) -> float:
        """The position of a value."""
        return (self.values.index(value) + 0.5) / len(self.values)

    def ticks(self) -> list[tuple[float, str]]:
        """All values, because a person has listed them."""
        return [
            (self.at(value), str(value) if isinstance(value, int | str) else f"{value:.3g}") for value in self.values
        ]


Scale = Linear | Log | Words


def spread(values: Sequence[float]) -> Linear:
    """A scale with a margin around all values, at least 1 wide on both sides."""
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 1.0)
    return Linear(low - margin, high + margin)


def _steps(width: float) -> list[float]:
    """Round distances of ticks, from one that may be too fine to one that is coarse enough."""
    decade = 10.0 ** math.floor(math.log10(width / _TICKS))
    return [factor * decade for factor in (1, 2, 5, 10, 20, 50)]
