"""Writes drawings as one SVG file with its own colours, which any viewer can show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pipeline.drawing.panel import Drawing, text

__all__ = ["Legend", "figure_colours", "figure_style", "picture_file"]

_COLUMNS, _GAP, _LINE = 3, 16, 22
_LETTER = 7.5  # mean width of a letter of headings and legends, pixels


@dataclass(frozen=True)
class Legend:
    """The meaning of a mark."""

    mark: Drawing
    name: str


@cache
def figure_style() -> str:
    """The style sheet of all drawings, with colours for a light background as CSS variables."""
    return files("pipeline.drawing").joinpath("figures.css").read_text(encoding="utf-8")


@cache
def figure_colours() -> dict[str, str]:
    """The colours of the style sheet by name, such as ``s0``: ``#00609a``."""
    return dict(re.findall(r"--([\w-]+): ([^;]+);", figure_style()))


def picture_file(drawings: Sequence[Drawing], heading: Sequence[str] = (), legend: Sequence[Legend] = ()) -> bytes:
    """An SVG file with drawings in rows of three.

    Args:
        drawings: At least one.
        heading: Lines above them.
        legend: Shown below them.
    """
    wide, high = (max(getattr(drawing, side) for drawing in drawings) + _GAP for side in ("width", "height"))
    columns = min(_COLUMNS, len(drawings))
    width = max([columns * wide, *(_LETTER * len(line) + _GAP for line in heading)]) + _GAP
    top = _LINE * len(heading) + _GAP
    parts = [text(_GAP, _LINE * (row + 1), line, "title", "start") for row, line in enumerate(heading)]
    for index, drawing in enumerate(drawings):
        row, column = divmod(index, columns)
        parts.append(drawing.svg(_GAP + column * wide, top + row * high))
    x, y = float(_GAP), top + high * -(-len(drawings) // columns)
    for entry in legend:
        room = entry.mark.width + _LETTER * len(entry.name) + 2 * _GAP
        if x > _GAP and x + room > width:
            x, y = _GAP, y + _LINE
        parts += [entry.mark.svg(x, y), text(x + entry.mark.width + 6, y + 13, entry.name, "label", "start")]
        x += room
    height = y + (_LINE if legend else 0)
    ground = f'<rect width="{width:.0f}" height="{height:.0f}" class="ground"/>'
    names = ", ".join(drawing.says for drawing in drawings)
    whole = Drawing(width, height, f"<style>{_plain_style()}</style>{ground}{''.join(parts)}", names)
    return (whole.svg(namespace='xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" ') + "\n").encode()


@cache
def _plain_style() -> str:
    """The style sheet without variables, which many viewers of SVG files do not know."""
    _, _, rules = figure_style().partition("\n}\n")
    return re.sub(r"var\(--([\w-]+)\)", lambda found: figure_colours()[found[1]], rules)
