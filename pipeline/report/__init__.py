"""Reports of a sweep from the trial store alone: the table, the base-new trade-off, how far it has come."""

from pipeline.report.collect import collect
from pipeline.report.plots import plot_tradeoff
from pipeline.report.rows import Accuracy, Gain, Row, Score, SweepTable, TransferGain, TransferRow, method_title
from pipeline.report.tables import chosen_lines, chosen_title, gain_lines, legend, render_table, to_markdown
from pipeline.report.transfer import plot_transfer
from pipeline.report.write import ReportFiles, write_report

__all__ = [
    "Accuracy",
    "Gain",
    "ReportFiles",
    "Row",
    "Score",
    "SweepTable",
    "TransferGain",
    "TransferRow",
    "chosen_lines",
    "chosen_title",
    "collect",
    "gain_lines",
    "legend",
    "method_title",
    "plot_tradeoff",
    "plot_transfer",
    "render_table",
    "to_markdown",
    "write_report",
]
