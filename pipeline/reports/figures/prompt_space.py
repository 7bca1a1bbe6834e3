"""Pictures of a prompt space: distances of classes to neighbours, and a map of both.

One picture of each kind for every way to write prompts (hand-written, baseline, with SEPT), all with the same scale, so
that they can be compared side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.drawing import Drawing, Legend
from pipeline.drawing.panel import drawn_mark, number, text
from sept_core.prompt_space import PromptSpace, View

__all__ = ["distance_figures", "distance_legend", "distance_limits", "map_figures", "map_legend"]

_SHADES = 20
_NAMED = 12
"""Up to this number of classes each has a colour of its own on the map, and its name and neighbours are shown."""
_COLOURS = 6
_LETTER = 6.2  # mean width of a letter of class names, pixels
_TOP = 30
_SIDE = 330  # of a map, pixels


def distance_limits(spaces: Iterable[PromptSpace]) -> tuple[float, float]:
    """The smallest and the largest distance in the heatmaps of some spaces: the ends of their common scale."""
    every = [value for space in spaces for view in space.views for row in view.distances for value in row]
    low, high = min(every), max(every)
    return low, max(high, low + 1e-6)


def distance_figures(space: PromptSpace, limits: tuple[float, float]) -> list[Drawing]:
    """A heatmap for each view: a row per class, a column per class's neighbours, darker if nearer.

    A red square is the share of the cell's margins that are violated; nothing is drawn below 5 %.
    """
    low, high = limits
    names = space.classes[: len(space.neighbors)]
    return [_heatmap(view, names, space.trained, low, high) for view in space.views]


def distance_legend(limits: tuple[float, float]) -> list[Legend]:
    """The scale of the distances, and the mark of violated margins."""
    low, high = limits
    bar = "".join(
        f'<path d="M{6 * at} 10h6" class="near-far" stroke-width="12" stroke-opacity="{_opacity(1 - at / _SHADES)}"/>'
        for at in range(_SHADES)
    )
    frame = f'<rect x="0" y="4" width="{6 * _SHADES}" height="12" class="axis"/>'
    scale = Drawing(6 * _SHADES + 2, 20, bar + frame, "scale of distances")
    squares = "".join(
        f'<path d="M{12 + 20 * at - edge // 2} 10h{edge}" class="violated" stroke-width="{edge}"/>'
        for at, edge in enumerate((_edge(20, 0.25), _edge(20, 1.0)))
    )
    mark = Drawing(40, 20, squares, "violated margins")
    return [
        Legend(scale, f"distance {low:.2f} (near) to {high:.2f} (far)"),
        Legend(mark, "25 % and 100 % of the margins of a cell violated"),
    ]


def map_figures(space: PromptSpace) -> list[Drawing]:
    """A map for each view, with a line to every class from its place in the hand-written prompts."""
    every = [point for view in space.views for point in (*view.class_points, *view.neighbor_points)]
    reach = max(max(abs(x), abs(y)) for x, y in every) * 1.12 or 1.0
    return [_map(space, view, reach) for view in space.views]


def map_legend(space: PromptSpace) -> list[Legend]:
    """The marks of the maps."""
    marks = [(drawn_mark(9, 9, "dot", "method s0", 4.5), "class trained on")]
    if space.trained < len(space.classes):
        marks.append((drawn_mark(9, 9, "diamond", f"method {_colour(space, space.trained)}", 4.5), "new class"))
    if len(space.classes) <= _NAMED:
        marks.append((drawn_mark(9, 9, "dot", "near s0", 2.2), "neighbour, in colour and shape of its class"))
    marks.append(('<path d="M1 9H17" class="drift s0"/>', "from the place in hand-written prompts"))
    return [Legend(Drawing(18, 18, mark, name), name) for mark, name in marks]


def _heatmap(view: View, names: Sequence[str], trained: int, low: float, high: float) -> Drawing:
    size = len(names)
    cell = 24 if size <= 6 else 20 if size <= _NAMED else 8
    side, label = cell * size, _LETTER * max(map(len, names)) * (1.0 if cell > 8 else 0.8) + 8
    left, bottom = round(label + 20), _TOP + side
    shades: dict[int, list[str]] = {}
    squares: dict[int, list[str]] = {}
    for row, (distances, shares) in enumerate(zip(view.distances, view.violated, strict=True)):
        y = _TOP + cell * row + cell // 2
        for column, (distance, share) in enumerate(zip(distances, shares, strict=True)):
            x = left + cell * column
            if shade := round(_SHADES * (high - distance) / (high - low)):
                shades.setdefault(shade, []).append(f"M{x} {y}h{cell}")
            if share >= 0.05:
                edge = _edge(cell, share)
                squares.setdefault(edge, []).append(f"M{x + (cell - edge) // 2} {y}h{edge}")
    # A short thick line instead of a rectangle, and one path for all of a kind: a page may have 100,000 cells.
    parts = [text(left + side / 2, 16, view.title, "title")]
    parts += [
        f'<path d="{"".join(lines)}" class="near-far" stroke-width="{cell}" '
        f'stroke-opacity="{_opacity(shade / _SHADES)}"/>'
        for shade, lines in sorted(shades.items())
    ]
    parts += [
        f'<path d="{"".join(lines)}" class="violated" stroke-width="{edge}"/>'
        for edge, lines in sorted(squares.items())
    ]
    parts.append(f'<rect x="{left}" y="{_TOP}" width="{side}" height="{side}" class="axis"/>')
    if trained < size:
        at = cell * trained
        parts.append(f'<path d="M{left} {_TOP + at}h{side}M{left + at} {_TOP}v{side}" class="border"/>')
    style = "tick" if cell > 8 else "tiny"
    for index, name in enumerate(names):
        place = cell * (index + 0.5)
        parts.append(text(left - 5, _TOP + place + 3.5, name, style, "end"))
        parts.append(text(left + place + 4, bottom + 10, name, style, "end", -45))
    height = bottom + 0.72 * label + 26
    parts.append(text(left + side / 2, height - 6, "neighbours of", "label"))
    parts.append(text(11, _TOP + side / 2, "class", "label", turned=-90))
    says = f"{view.title}: distances of {size} classes to their neighbours"
    return Drawing(left + side + 12, height, "".join(parts), says)


def _opacity(near: float) -> str:
    """Of a distance, from 0 (the farthest) to 1; not linear, because most distances are large."""
    return f"{near**0.6:.2f}"


def _edge(cell: int, share: float) -> int:
    """The edge of the square for a share of violated margins, even pixels; its area grows with the share."""
    return 2 * max(1, round(0.3 * cell * share**0.5))


def _map(space: PromptSpace, view: View, reach: float) -> Drawing:
    named = len(space.classes) <= _NAMED
    scale = (_SIDE - 20) / (2 * reach)

    def pixel(point: tuple[float, float]) -> tuple[float, float]:
        return 10 + (point[0] + reach) * scale, _TOP + (_SIDE - 10) - (point[1] + reach) * scale

    parts = [text(_SIDE / 2, 16, view.title, "title")]
    parts.append(f'<rect x="5" y="{_TOP}" width="{_SIDE - 10}" height="{_SIDE - 10}" class="axis"/>')
    if named:
        count = len(space.neighbors[0]) if space.neighbors else 0
        for index in range(len(space.neighbors)):
            own = view.neighbor_points[index * count : (index + 1) * count]
            look = _shape(space, index), f"near {_colour(space, index)}"
            parts += [drawn_mark(*pixel(point), *look, 2.2) for point in own]
    places = [pixel(point) for point in view.class_points]
    for index, (start, end) in enumerate(zip(map(pixel, space.views[0].class_points), places, strict=True)):
        if view is not space.views[0]:
            path = f"M{number(start[0])} {number(start[1])}L{number(end[0])} {number(end[1])}"
            parts.append(f'<path d="{path}" class="drift {_colour(space, index)}"/>')
    for index, place in enumerate(places):
        parts.append(drawn_mark(*place, _shape(space, index), f"method {_colour(space, index)}", 4.5 if named else 3.0))
    parts += _labels(space.classes, places) if named else []
    says = f"{view.title}: map of {len(space.classes)} classes and their neighbours"
    return Drawing(_SIDE, _TOP + _SIDE - 5, "".join(parts), says)


def _labels(names: Sequence[str], places: Sequence[tuple[float, float]]) -> Iterable[str]:
    """Names next to their marks: to the right, to the left, above or below, where they cover least."""
    taken = [(x - 5, x + 5, y - 5, y + 5) for x, y in places]
    for name, (x, y) in zip(names, places, strict=True):
        width = _LETTER * len(name)
        spots = [(x + 8, y + 3.5), (x - 8 - width, y + 3.5), (x - width / 2, y - 8), (x - width / 2, y + 15)]
        boxes = [(left, left + width, line - 9, line + 2) for left, line in spots]
        costs = [
            sum(box[0] < b and a < box[1] and box[2] < d and c < box[3] for a, b, c, d in taken)
            + 9 * (box[0] < 6 or box[1] > _SIDE - 6)
            for box in boxes
        ]
        best = costs.index(min(costs))
        taken.append(boxes[best])
        yield text(*spots[best], name, "tick halo", "start")


def _shape(space: PromptSpace, index: int) -> str:
    """A class that is trained on, or a new one."""
    return "dot" if index < space.trained else "diamond"


def _colour(space: PromptSpace, index: int) -> str:
    """A class's colour: its own if there are few, else one for each group."""
    if len(space.classes) > _NAMED:
        return "s0" if index < space.trained else "s1"
    place = index if index < space.trained else index - space.trained
    return f"s{place % _COLOURS}"
