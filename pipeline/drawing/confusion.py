"""A confusion matrix: a row per true class, a column per predicted one, shaded by the share of the row."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.drawing.panel import Drawing, number, text

__all__ = ["confusion_figure"]

_SMALL = 17  # side of a cell in a large matrix, pixels
_SHADES = 25
# Mean width of a letter of class names and of titles, pixels.
_LETTER, _TITLE_LETTER = 6.2, 7.8


def confusion_figure(counts: Sequence[Sequence[int]], names: Sequence[str], title: str) -> Drawing:
    """Draw a confusion matrix.

    Args:
        counts: ``[classes][classes]`` clips.
        names: Class names in the order of rows and columns.
        title: Shown above it.
    """
    cell = 34 if len(names) <= 6 else 26 if len(names) <= 12 else _SMALL
    side, label = cell * len(names), _LETTER * max(len(name) for name in names) + 8
    left, top = round(max(label, 20) + 18), 30
    middle = left + side / 2
    # Column names are slanted: their height is their length times the sine of the angle.
    bottom = top + side
    heading = max(middle, _TITLE_LETTER * len(title) / 2 + 4)
    parts = [text(heading, 16, title, "title")]
    parts.append(_cells(counts, left, top, cell))
    parts.append(f'<rect x="{number(left)}" y="{number(top)}" width="{side}" height="{side}" class="axis"/>')
    for index, name in enumerate(names):
        place = cell * (index + 0.5)
        parts.append(text(left - 5, top + place + 3.5, name, "tick", "end"))
        parts.append(text(left + place + 4, bottom + 12, name, "tick", "end", -45))
    height = bottom + 0.72 * label + 26
    parts.append(text(middle, height - 5, "predicted", "label"))
    parts.append(text(11, top + side / 2, "true", "label", turned=-90))
    width = max(left + side + 12, heading + _TITLE_LETTER * len(title) / 2 + 4)
    clips = sum(map(sum, counts))
    return Drawing(width, height, "".join(parts), f"{title}: confusion matrix of {len(names)} classes, {clips} clips")


def _cells(counts: Sequence[Sequence[int]], left: int, top: int, cell: int) -> str:
    """Squares and counts, with one path per shade and one group per colour, because a page may have 100,000 cells."""
    squares: dict[int, list[str]] = {}
    numbers: dict[bool, list[str]] = {False: [], True: []}
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            if not count:
                continue
            share, x, y = count / sum(line), left + cell * column, top + cell * row
            squares.setdefault(max(1, round(share * _SHADES)), []).append(f"M{x} {y}h{cell}v{cell}h-{cell}z")
            place = f'x="{number(x + cell / 2)}" y="{number(y + cell / 2 + 3.5)}"'
            numbers[share > 0.5].append(f"<text {place}>{_short(count, cell)}</text>")
    size = " small" if cell == _SMALL else ""
    parts = [
        f'<path d="{"".join(paths)}" class="heat" fill-opacity="{shade / _SHADES:g}"/>'
        for shade, paths in sorted(squares.items())
    ]
    parts += [
        f'<g class="count{size}{" light" if light else ""}" text-anchor="middle">{"".join(texts)}</g>'
        for light, texts in numbers.items()
        if texts
    ]
    return "".join(parts)


def _short(count: int, cell: int) -> str:
    """The count, in thousands if it does not fit into its cell."""
    return str(count) if cell > _SMALL or count < 1000 else f"{count / 1000:.0f}k"
