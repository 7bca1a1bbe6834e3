"""The figures of a report, made with `pipeline.drawing`: trade-off, transfer, and the trials of the search."""

from pipeline.report.figures.coordinates import coordinates_figure
from pipeline.report.figures.points import Point, points_of
from pipeline.report.figures.searched import history_figure, searched_figures
from pipeline.report.figures.tradeoff import tradeoff_figure, tradeoff_legend
from pipeline.report.figures.transfer import transfer_figure

__all__ = [
    "Point",
    "coordinates_figure",
    "history_figure",
    "points_of",
    "searched_figures",
    "tradeoff_figure",
    "tradeoff_legend",
    "transfer_figure",
]
