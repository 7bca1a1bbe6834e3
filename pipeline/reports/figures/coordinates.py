"""Parallel coordinates: a line per trial across all searched hyper-parameters, ending at its objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.drawing import Drawing, spread
from pipeline.drawing.panel import number, text
from pipeline.reports.figures.points import Point
from pipeline.reports.figures.searched import scale_of
from pipeline.spec import Dimension

__all__ = ["coordinates_figure"]

_GAP, _SIDE, _TOP, _DEEP = 100, 46, 40, 190
_SHADES = 5


def coordinates_figure(points: Sequence[Point], spaces: Mapping[str, Dimension], objective: str) -> Drawing | None:
    """The trials of one study, in stronger colours if better; pruned trials dashed, chosen ones thick.

    Args:
        points: Trials that have ended.
        spaces: Searched dimensions by name.
        objective: Name of what the search maximises: the last axis.

    Returns:
        None if there are fewer than two hyper-parameters or fewer than two trials.
    """
    points = [point for point in points if point.state != "failed" and point.params]
    names = sorted({name for point in points for name in point.params})
    points = [point for point in points if set(point.params) == set(names)]
    if len(names) < 2 or len(points) < 2:
        return None
    scales = {name: scale_of(spaces.get(name), [point.params[name] for point in points]) for name in names}
    up = spread([point.value for point in points])
    bottom, width = _TOP + _DEEP, 2 * _SIDE + _GAP * len(names)
    parts: list[str] = []
    ranked = sorted(points, key=lambda point: (point.best, point.value, point.number))
    for rank, point in enumerate(ranked):
        heights = [scales[name].at(point.params[name]) for name in names] + [up.at(point.value)]
        path = " ".join(
            f"{number(_SIDE + _GAP * index)},{number(bottom - _DEEP * height)}" for index, height in enumerate(heights)
        )
        shade = "chosen" if point.best else f"shade{rank * _SHADES // len(ranked)}"
        dashed = " dashed" if point.state == "pruned" else ""
        parts.append(f'<polyline points="{path}" class="crossed {shade}{dashed}"/>')
    for index, name in enumerate([*names, objective]):
        x = _SIDE + _GAP * index
        parts.append(f'<path d="M{x} {_TOP}V{bottom}" class="axis"/>')
        parts.append(text(x, _TOP - 14, name, "label"))
        for place, value in scales.get(name, up).ticks():
            y = bottom - _DEEP * place
            parts.append(f'<path d="M{x - 3} {number(y)}h6" class="axis"/>')
            # A halo keeps the numbers readable in front of lines.
            parts.append(text(x - 6, y + 3.5, value, "tick halo", "end"))
    return Drawing(width, bottom + 14, "".join(parts), f"{len(points)} trials over {', '.join(names)} and {objective}")
