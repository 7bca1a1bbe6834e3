"""The base-new trade-off of one dataset: an arrow from each baseline to its SEPT twin."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pipeline.drawing import Drawing, Legend, Linear, Panel
from pipeline.drawing.panel import drawn_mark, number, text
from pipeline.reports.rows import Row, method_title

__all__ = ["baselines_of", "method_look", "tradeoff_figure", "tradeoff_legend"]

_SIZE = (378, 348)
_LONGEST = 62  # characters of a line in a panel


def method_look(method: str, baselines: Sequence[str]) -> tuple[str, str]:
    """Shape and classes of a method's mark: a colour per baseline, hollow without SEPT, a diamond for zero-shot."""
    baseline = method.removesuffix("+sept")
    if baseline not in baselines:
        return "diamond", "zero"
    colour = f"c{baselines.index(baseline) % 6}"
    return "dot", colour if method != baseline else f"hollow {colour}"


def tradeoff_legend(methods: Iterable[str]) -> list[Legend]:
    """The marks of all methods."""
    known = list(dict.fromkeys(methods))
    baselines = baselines_of(known)
    entries = []
    for method in known:
        shape, style = method_look(method, baselines)
        mark = drawn_mark(9, 9, shape, f"method {style}", 5.0)
        entries.append(Legend(Drawing(18, 18, mark, method_title(method)), method_title(method)))
    return entries


def tradeoff_figure(rows: Sequence[Row], methods: Iterable[str]) -> Drawing:
    """Draw one dataset: base accuracy on x, new accuracy on y, the spread over replicas as thin bars.

    Args:
        rows: The rows of this dataset.
        methods: All methods of the sweep, which decide the colours.
    """
    baselines = baselines_of(methods)
    across = _limits([(row.test.base, row.test.base_std) for row in rows])
    up = _limits([(row.test.new, row.test.new_std) for row in rows])
    labels = ("accuracy on base classes, %", "accuracy on new classes, %")
    panel = Panel(across, up, labels, rows[0].dataset, _values_of_h(rows), _SIZE)
    places = {row.method: (panel.x(row.test.base), panel.y(row.test.new)) for row in rows}
    _equal_h(panel, across, up, list(places.values()))
    for row in rows:
        (x, y), test = places[row.method], row.test
        _, style = method_look(row.method, baselines)
        colour = style.removeprefix("hollow ")
        left, right = (panel.x(end) for end in _bar(across, test.base, test.base_std))
        low, high = (panel.y(end) for end in _bar(up, test.new, test.new_std))
        path = f"M{number(left)} {number(y)}H{number(right)}M{number(x)} {number(low)}V{number(high)}"
        panel.parts.append(f'<path d="{path}" class="whisker {colour}"/>')
    for row in rows:
        if row.method != row.baseline and row.baseline in places:
            _, style = method_look(row.method, baselines)
            panel.parts.append(_arrow(places[row.baseline], places[row.method], style))
    for row in rows:
        shape, style = method_look(row.method, baselines)
        panel.mark(*places[row.method], shape, f"method {style}", 5.0)
    return panel.drawn(
        f"{rows[0].dataset}: "
        + "; ".join(f"{method_title(row.method)} base {row.test.base:.1f} new {row.test.new:.1f}" for row in rows)
    )


def baselines_of(methods: Iterable[str]) -> list[str]:
    """The baselines except zero-shot, in the order of their colours."""
    return sorted({method.removesuffix("+sept") for method in methods} - {"zero-shot"})


def _values_of_h(rows: Sequence[Row]) -> str:
    """H of every method, or of the best one if there is no room for all."""
    values = "H: " + ", ".join(f"{method_title(row.method)} {row.test.h:.1f}" for row in rows)
    best = max(rows, key=lambda row: row.test.h)
    return values if len(values) <= _LONGEST else f"best H: {method_title(best.method)} {best.test.h:.1f}"


def _limits(values: Sequence[tuple[float, float]]) -> Linear:
    """Limits around all bars from mean - std to mean + std, so that a small difference looks small."""
    low = min(mean - std for mean, std in values)
    high = max(mean + std for mean, std in values)
    room = max(0.08 * (high - low), 0.5)
    return Linear(max(low - room, -1.0), min(high + room, 101.0))


def _bar(scale: Linear, mean: float, std: float) -> tuple[float, float]:
    """From mean - std to mean + std, within 0 and 100 %."""
    return max(mean - std, scale.low), min(mean + std, scale.high)


def _arrow(start: tuple[float, float], end: tuple[float, float], style: str) -> str:
    """An arrow from mark to mark; empty if they almost touch."""
    length = math.dist(start, end)
    if length < 16:
        return ""
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
    tail = (start[0] + 6 * along[0], start[1] + 6 * along[1])
    tip = (end[0] - 7 * along[0], end[1] - 7 * along[1])
    base = (tip[0] - 7 * along[0], tip[1] - 7 * along[1])
    wings = [(base[0] + side * 3.6 * along[1], base[1] - side * 3.6 * along[0]) for side in (1, -1)]
    head = " ".join(f"{number(x)},{number(y)}" for x, y in (tip, *wings))
    shaft = f"M{number(tail[0])} {number(tail[1])}L{number(base[0])} {number(base[1])}"
    return f'<path d="{shaft}" class="arrow {style}"/><polygon points="{head}" class="head {style}"/>'


def _equal_h(panel: Panel, across: Linear, up: Linear, marks: Sequence[tuple[float, float]]) -> None:
    """Dashed curves of equal H = 2 b n / (b + n): n = H b / (2 b - H)."""
    widest = max(across.high - across.low, up.high - up.low)
    apart = 2 if widest < 18 else 5 if widest < 45 else 10
    for level in range(apart, 100, apart):
        points = []
        for step in range(61):
            base = across.low + (across.high - across.low) * step / 60
            new = level * base / (2 * base - level) if 2 * base > level else -1.0
            if up.low <= new <= up.high:
                points.append((base, new))
        if len(points) < 8:
            continue
        panel.line(points, "equal")
        # The label is placed where it is farthest from all marks.
        spots = [(panel.x(base), panel.y(new) + 3) for base, new in points[3:-3]]
        spot = max(spots, key=lambda spot: min(math.dist(spot, mark) for mark in marks))
        panel.parts.append(text(*spot, f"H {level}", "faint halo"))
