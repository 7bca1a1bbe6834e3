"""The figures of a report, made with `pipeline.drawing`: trade-off, transfer, and the trials of the search."""

from pipeline.reports.figures.coordinates import coordinates_figure
from pipeline.reports.figures.points import Point, points_of
from pipeline.reports.figures.searched import accuracies_figure, curves_figure, history_figure, searched_figures
from pipeline.reports.figures.tradeoff import tradeoff_figure, tradeoff_legend
from pipeline.reports.figures.transfer import few_shot_figure, transfer_figure

__all__ = [
    "Point",
    "accuracies_figure",
    "coordinates_figure",
    "curves_figure",
    "few_shot_figure",
    "history_figure",
    "points_of",
    "searched_figures",
    "tradeoff_figure",
    "tradeoff_legend",
    "transfer_figure",
]
