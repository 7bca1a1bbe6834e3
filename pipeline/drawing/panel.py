"""A plot area as SVG text: axes, grid, marks. Colours are CSS classes of ``figures.css``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import escape

from pipeline.drawing.scales import Scale

__all__ = ["Drawing", "Panel", "drawn_mark", "number", "text"]

_TOP, _BOTTOM, _LEFT, _RIGHT = 26, 42, 46, 12
_SUBTITLE = 18


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    # Adding zero makes a negative zero positive.
    return f"{round(value, 1) + 0.0:g}"


def text(x: float, y: float, words: str, style: str = "tick", anchor: str = "middle", turned: int = 0) -> str:
    """A line of text."""
    place = f'x="{number(x)}" y="{number(y)}"'
    turn = f' transform="rotate({turned} {number(x)} {number(y)})"' if turned else ""
    return f'<text {place} class="{style}" text-anchor="{anchor}"{turn}>{escape(words)}</text>'


@dataclass(frozen=True)
class Drawing:
    """An SVG element; a template of a page includes it as it is.

    Attributes:
        width, height: Pixels.
        inner: Content of the element, escaped.
        says: Text for screen readers.
    """

    width: float
    height: float
    inner: str
    says: str

    def svg(self, x: float = 0, y: float = 0, *, namespace: str = "") -> str:
        """The element, at a position within another one."""
        place = f'x="{number(x)}" y="{number(y)}" ' if x or y else ""
        size = f'viewBox="0 0 {number(self.width)} {number(self.height)}" '
        size += f'width="{number(self.width)}" height="{number(self.height)}"'
        return f'<svg {namespace}{place}{size} role="img" aria-label="{escape(self.says)}">{self.inner}</svg>'

    def __html__(self) -> str:
        return self.svg()


def _around(count: int, radii: Sequence[float], turned: float = -90.0) -> list[tuple[float, float]]:
    """Corners at equal angles, the radii in turn; the first one points up unless turned."""
    angles = [math.radians(turned + 360 * at / count) for at in range(count)]
    return [
        (radii[at % len(radii)] * math.cos(one), radii[at % len(radii)] * math.sin(one))
        for at, one in enumerate(angles)
    ]


_ARM = 0.42
_PLUS = ((-_ARM, -1.2), (_ARM, -1.2), (_ARM, -_ARM), (1.2, -_ARM), (1.2, _ARM), (_ARM, _ARM))
_CORNERS: dict[str, Sequence[tuple[float, float]]] = {
    "up": _around(3, (1.35,)),
    "down": _around(3, (1.35,), 90.0),
    "pentagon": _around(5, (1.2,)),
    "hexagon": _around(6, (1.15,)),
    "star": _around(10, (1.5, 0.7)),
    "plus": (*_PLUS, *((-across, -down) for across, down in _PLUS)),
}
"""Corners of shapes of size 1 around the middle."""


def drawn_mark(x: float, y: float, shape: str, style: str, size: float) -> str:
    """A ``dot``, ``square``, ``diamond``, ``cross``, or one of the shapes in ``_CORNERS``, at a position in pixels."""
    if shape == "dot":
        return f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(size)}" class="{style}"/>'
    if shape == "square":
        side = number(1.8 * size)
        corner = f'x="{number(x - 0.9 * size)}" y="{number(y - 0.9 * size)}"'
        return f'<rect {corner} width="{side}" height="{side}" class="{style}"/>'
    if shape == "diamond":
        reach = number(1.35 * size)
        path = f"M{number(x)} {number(y - 1.35 * size)}l{reach} {reach} -{reach} {reach} -{reach} -{reach}z"
        return f'<path d="{path}" class="{style}"/>'
    if shape in _CORNERS:
        ends = " ".join(f"{number(x + size * across)},{number(y + size * down)}" for across, down in _CORNERS[shape])
        return f'<polygon points="{ends}" class="{style}"/>'
    path = f"M{number(x - size)} {number(y - size)}l{number(2 * size)} {number(2 * size)}"
    path += f"m0 {number(-2 * size)}l{number(-2 * size)} {number(2 * size)}"
    return f'<path d="{path}" class="{style}"/>'


class Panel:
    """A plot area with a scale for x and one for y. Marks are drawn in the order in which they are added.

    Args:
        across: Scale of x.
        up: Scale of y.
        labels: Labels of x and y; an empty one takes no room.
        title: Shown above the panel.
        subtitle: Shown below the title, in small print.
        size: Width and height of the whole drawing in pixels.
    """

    def __init__(
        self,
        across: Scale,
        up: Scale,
        labels: tuple[str, str],
        title: str = "",
        subtitle: str = "",
        size: tuple[int, int] = (360, 250),
    ) -> None:
        self._across, self._up = across, up
        self.width, self.height = size
        self.left, self.right = _LEFT + (14 if labels[1] else 0), self.width - _RIGHT
        self.top, self.bottom = (_TOP if title else 10) + (_SUBTITLE if subtitle else 0), self.height - _BOTTOM
        self.parts: list[str] = []
        self._axes(labels, title, subtitle)

    def x(self, value: float | str) -> float:
        """Pixel of a value on x."""
        return self.left + (self.right - self.left) * self._across.at(value)

    def y(self, value: float | str) -> float:
        """Pixel of a value on y."""
        return self.bottom - (self.bottom - self.top) * self._up.at(value)

    def line(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """A line through points (values)."""
        path = " ".join(f"{number(self.x(x))},{number(self.y(y))}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" class="{style}"/>')

    def level(self, value: float | None) -> None:
        """A dotted line across the panel at a value of y, if there is one."""
        if value is not None:
            self.parts.append(f'<path d="M{self.left} {number(self.y(value))}H{self.right}" class="level"/>')

    def mark(self, x: float, y: float, shape: str, style: str, size: float = 4.0) -> None:
        """A mark at a position in pixels."""
        self.parts.append(drawn_mark(x, y, shape, style, size))

    def drawn(self, says: str) -> Drawing:
        """The whole drawing; ``says`` is the text for screen readers."""
        return Drawing(self.width, self.height, "".join(self.parts), says)

    def _axes(self, labels: tuple[str, str], title: str, subtitle: str) -> None:
        for place, name in self._across.ticks():
            x = self.left + (self.right - self.left) * place
            self.parts.append(f'<path d="M{number(x)} {self.top}V{self.bottom}" class="grid"/>')
            self.parts.append(text(x, self.bottom + 14, name))
        for place, name in self._up.ticks():
            y = self.bottom - (self.bottom - self.top) * place
            self.parts.append(f'<path d="M{self.left} {number(y)}H{self.right}" class="grid"/>')
            self.parts.append(text(self.left - 5, y + 3.5, name, anchor="end"))
        self.parts.append(f'<path d="M{self.left} {self.top}V{self.bottom}H{self.right}" class="axis"/>')
        middle = (self.left + self.right) / 2
        self.parts.append(text(middle, self.height - 10, labels[0], "label"))
        if labels[1]:
            self.parts.append(text(13, (self.top + self.bottom) / 2, labels[1], "label", turned=-90))
        if title:
            self.parts.append(text(middle, 15, title, "title"))
        if subtitle:
            self.parts.append(text(middle, 32, subtitle, "tick"))
