"""Reports of a sweep from the trial store alone: the table, the base-new trade-off, how far it has come."""

from pipeline.report.collect import Accuracy, Gain, Row, SweepTable, collect, method_title
from pipeline.report.plots import plot_tradeoff
from pipeline.report.tables import chosen_lines, gain_lines, render_table, to_markdown
from pipeline.report.write import ReportFiles, write_report

__all__ = [
    "Accuracy",
    "Gain",
    "ReportFiles",
    "Row",
    "SweepTable",
    "chosen_lines",
    "collect",
    "gain_lines",
    "method_title",
    "plot_tradeoff",
    "render_table",
    "to_markdown",
    "write_report",
]
