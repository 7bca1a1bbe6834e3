"""Accuracy along an axis of a sweep, such as shots: a line for each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.drawing import Drawing, Linear, Panel, Words, look_of
from pipeline.drawing.panel import number

__all__ = ["Line", "axis_figure"]


_FEW = 4
"""More lines get a larger panel."""


@dataclass(frozen=True)
class Line:
    """The accuracies of a method at each label of the axis.

    Attributes:
        method: The method, with the rest of its cell.
        values: Percent; None where there is no result.
        spreads: Standard deviations over replicas; 0 for none.
        depends: Whether the method depends on the axis; if not, all values are the same.
    """

    method: str
    values: tuple[float | None, ...]
    spreads: tuple[float, ...]
    depends: bool


def axis_figure(lines: Sequence[Line], labels: tuple[str, ...], axis: str, measure: str, title: str) -> Drawing:
    """Draw a dataset; the labels are at equal distances.

    Args:
        lines: At least one, with at least one value.
        labels: Those of the axis, in its order.
        axis: Its name.
        measure: Name of the accuracy.
        title: The dataset.
    """
    ends = [
        value + sign * spread
        for line in lines
        for value, spread in zip(line.values, line.spreads, strict=True)
        if value is not None
        for sign in (-1, 1)
    ]
    low, high = min(ends), max(ends)
    margin = max(0.06 * (high - low), 1.0)
    up = Linear(max(0.0, low - margin), min(101.0, high + margin))
    size = (360, 250) if len(lines) <= _FEW else (470, 330)
    panel = Panel(Words(labels), up, (axis, f"{measure}, %"), title, size=size)
    for at, line in enumerate(lines):
        look = look_of(line.method)
        # A little apart, so that bars of equal length stay visible.
        shift = 3.0 * (at - (len(lines) - 1) / 2)
        known = [
            (panel.x(label) + shift, value, spread)
            for label, value, spread in zip(labels, line.values, line.spreads, strict=True)
            if value is not None
        ]
        path = " ".join(f"{number(x)},{number(panel.y(value))}" for x, value, _ in known)
        style = "best" if line.depends else "flat"
        panel.parts.append(f'<polyline points="{path}" class="{style} {look.colour}"/>')
        for x, value, spread in known if line.depends else ():
            reach = panel.y(value) - panel.y(value + spread)
            bar = f"M{number(x)} {number(panel.y(value) - reach)}v{number(2 * reach)}"
            panel.parts.append(f'<path d="{bar}" class="whisker {look.colour}"/>')
            panel.mark(x, panel.y(value), look.shape, f"trial {look.colour}", 4.0)
    return panel.drawn(f"{title}: {measure} of {len(lines)} methods along {axis}")
