"""The base-new trade-off of one dataset: an arrow from each baseline to its SEPT twin, and every replica."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pipeline.drawing import Drawing, Legend, Linear, Panel, look_of
from pipeline.drawing.panel import drawn_mark, number, text
from pipeline.reports.rows import Row, method_title

__all__ = ["tradeoff_figure", "tradeoff_legend"]

_SIZE = (440, 400)
# The mark of SEPT is smaller, so that a baseline below it stays visible.
_SIZES = {"diamond": 5.5} | dict.fromkeys(("dot", "hexagon", "up", "pentagon"), 7.0)
_SIZES |= dict.fromkeys(("square", "star", "down", "plus"), 4.6)
_LONGEST = 70  # characters of a line in a panel


def tradeoff_legend(methods: Iterable[str]) -> list[Legend]:
    """The marks of all methods."""
    entries = []
    for method in dict.fromkeys(methods):
        look, title = look_of(method), method_title(method)
        mark = drawn_mark(9, 9, look.shape, f"method {look.colour}", _SIZES[look.shape])
        entries.append(Legend(Drawing(18, 18, mark, title), title))
    return entries


def tradeoff_figure(rows: Sequence[Row]) -> Drawing:
    """Draw one dataset: base accuracy on x, new accuracy on y.

    Small marks are replicas; a line joins those of a baseline and its SEPT twin with the same fold and seed.

    Args:
        rows: The rows of this dataset.
    """
    replicas = {row.method: _replicas(row) for row in rows}
    every = [place for places in replicas.values() for place in places.values()]
    every += [(row.test.base, row.test.new) for row in rows]
    across, up = (_limits([place[axis] for place in every]) for axis in (0, 1))
    labels = ("accuracy on base classes, %", "accuracy on new classes, %")
    panel = Panel(across, up, labels, rows[0].dataset, _values_of_h(rows), _SIZE)
    places = {row.method: (panel.x(row.test.base), panel.y(row.test.new)) for row in rows}
    _equal_h(panel, across, up, list(places.values()))
    twins = [row for row in rows if row.method != row.baseline and row.baseline in places]
    pairs = []
    for row in twins:
        before, after = replicas[row.baseline], replicas[row.method]
        for key in before.keys() & after.keys() if len(rows[0].replicas) > 1 else ():
            (x, y), (to_x, to_y) = before[key], after[key]
            pairs.append(f"M{number(panel.x(x))} {number(panel.y(y))}L{number(panel.x(to_x))} {number(panel.y(to_y))}")
    if pairs:
        panel.parts.append(f'<path d="{"".join(sorted(pairs))}" class="pair"/>')
    for row in rows:
        look = look_of(row.method)
        for x, y in replicas[row.method].values() if len(row.replicas) > 1 else ():
            panel.mark(panel.x(x), panel.y(y), look.shape, f"replica {look.colour}", 2.4)
    for row in rows:
        look = look_of(row.method)
        panel.mark(*places[row.method], look.shape, f"method {look.colour}", _SIZES[look.shape])
    # On top of the marks, so that a small difference has a visible arrow too.
    for row in twins:
        panel.parts.append(_arrow(places[row.baseline], places[row.method]))
    return panel.drawn(
        f"{rows[0].dataset}: "
        + "; ".join(f"{method_title(row.method)} base {row.test.base:.1f} new {row.test.new:.1f}" for row in rows)
    )


def _replicas(row: Row) -> dict[tuple[object, object], tuple[float, float]]:
    """Base and new accuracy of each replica, by fold and seed."""
    return {(one["fold"], one["seed"]): (one["test_base"], one["test_new"]) for one in row.replicas}


def _values_of_h(rows: Sequence[Row]) -> str:
    """H of every method, or of the best one if there is no room for all."""
    values = "H: " + ", ".join(f"{method_title(row.method)} {row.test.h:.1f}" for row in rows)
    best = max(rows, key=lambda row: row.test.h)
    return values if len(values) <= _LONGEST else f"best H: {method_title(best.method)} {best.test.h:.1f}"


def _limits(values: Sequence[float]) -> Linear:
    """Limits around all values."""
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), 0.5)
    return Linear(max(low - room, -1.0), min(high + room, 101.0))


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """An arrow from the middle of one mark to that of another; empty if these are the same pixel."""
    length = math.dist(start, end)
    if length < 1.5:
        return ""
    size = min(8.0, 0.75 * length)
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
    base = (end[0] - size * along[0], end[1] - size * along[1])
    wings = [(base[0] + side * size / 2 * along[1], base[1] - side * size / 2 * along[0]) for side in (1, -1)]
    head = " ".join(f"{number(x)},{number(y)}" for x, y in (end, *wings))
    shaft = f"M{number(start[0])} {number(start[1])}L{number(base[0])} {number(base[1])}"
    return f'<path d="{shaft}" class="around"/><path d="{shaft}" class="arrow"/><polygon points="{head}" class="head"/>'


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
