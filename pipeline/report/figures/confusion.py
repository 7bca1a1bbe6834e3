"""A confusion matrix: true classes down, predicted ones across, shaded by the share of the true class's clips."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from pipeline.report.figures.panel import number, picture, text

__all__ = ["confusion_figure"]

_SMALL = 17  # side of a cell where there are many, pixels
# Mean width of a letter of class names and of titles, pixels.
_LETTER, _TITLE_LETTER = 6.2, 7.8


def confusion_figure(counts: Sequence[Sequence[int]], names: Sequence[str], title: str) -> Markup:
    """Draw it.

    Args:
        counts: ``[classes][classes]`` clips.
        names: Class names in the order of rows and columns.
        title: Stands above it.
    """
    cell = 34 if len(names) <= 6 else 26 if len(names) <= 12 else _SMALL
    side, label = cell * len(names), _LETTER * max(len(name) for name in names) + 8
    left, top = max(label, 20) + 18, 30.0
    middle = left + side / 2
    # Column names are slanted: as deep as they are long, by the sine of the angle.
    bottom = top + side
    heading = max(middle, _TITLE_LETTER * len(title) / 2 + 4)
    parts = [text(heading, 16, title, "title")]
    for row, line in enumerate(counts):
        total = sum(line)
        for column, count in enumerate(line):
            if not count:
                continue
            share, x, y = count / total, left + cell * column, top + cell * row
            square = f'x="{number(x)}" y="{number(y)}" width="{cell}" height="{cell}"'
            parts.append(f'<rect {square} class="heat" fill-opacity="{max(share, 0.04):.2f}"/>')
            style = ("count light" if share > 0.5 else "count") + (" small" if cell == _SMALL else "")
            parts.append(text(x + cell / 2, y + cell / 2 + 3.5, _short(count, cell), style))
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
    return picture(width, height, parts, f"{title}: confusion matrix of {len(names)} classes, {clips} clips")


def _short(count: int, cell: int) -> str:
    """The count as it fits into its cell: thousands as such where cells are small."""
    return str(count) if cell > _SMALL or count < 1000 else f"{count / 1000:.0f}k"
