"""Draws figures as SVG text: as parts of a page, which use its colours, or as files."""

from pipeline.drawing.confusion import confusion_figure
from pipeline.drawing.looks import Look, colour_of, look_of
from pipeline.drawing.panel import Drawing, Panel
from pipeline.drawing.picture import Legend, figure_style, picture_file
from pipeline.drawing.scales import Linear, Log, Scale, Words, spread

__all__ = [
    "Drawing",
    "Legend",
    "Linear",
    "Log",
    "Look",
    "Panel",
    "Scale",
    "Words",
    "colour_of",
    "confusion_figure",
    "figure_style",
    "look_of",
    "picture_file",
    "spread",
]
