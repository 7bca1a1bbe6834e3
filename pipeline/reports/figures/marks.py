"""The legend of figures in which every mark is a trial."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.drawing import Drawing, Legend, look_of
from pipeline.drawing.panel import drawn_mark
from pipeline.reports.rows import method_title

__all__ = ["ZERO_SHOT", "legend_entry", "trial_legend"]

ZERO_SHOT = Legend(Drawing(20, 20, '<path d="M0 10H20" class="level"/>', "zero-shot"), "zero-shot")
"""The level of zero-shot."""


def trial_legend(methods: Iterable[str]) -> list[Legend]:
    """The mark of each method's trials."""
    looks = ((look_of(method), method_title(method)) for method in methods)
    return [legend_entry([(look.shape, f"trial {look.colour}", 4.0)], title) for look, title in looks]


def legend_entry(marks: Sequence[tuple[str, str, float]], name: str) -> Legend:
    """The meaning of marks on top of each other, each with shape, class and size as in `drawn_mark`."""
    drawn = "".join(drawn_mark(10, 10, shape, style, size) for shape, style, size in marks)
    return Legend(Drawing(20, 20, drawn, name), name)
