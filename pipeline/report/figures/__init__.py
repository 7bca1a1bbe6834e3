"""Figures of a report as SVG, written as text: they take the page's colours, and thousands of them are cheap."""

from pipeline.report.figures.confusion import confusion_figure
from pipeline.report.figures.coordinates import coordinates_figure
from pipeline.report.figures.points import Point, points_of
from pipeline.report.figures.searched import history_figure, searched_figures
from pipeline.report.figures.tradeoff import Legend, tradeoff_figure, tradeoff_legend
from pipeline.report.figures.transfer import transfer_figure

__all__ = [
    "Legend",
    "Point",
    "confusion_figure",
    "coordinates_figure",
    "history_figure",
    "points_of",
    "searched_figures",
    "tradeoff_figure",
    "tradeoff_legend",
    "transfer_figure",
]
