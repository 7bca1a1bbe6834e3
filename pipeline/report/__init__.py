"""Reports of a sweep from the trial store alone: HTML, Markdown, numbers, a picture, and LaTeX."""

from pipeline.report.account import rerun_command
from pipeline.report.collect import collect, tabulate
from pipeline.report.describe import describe
from pipeline.report.html import to_html
from pipeline.report.latex import to_latex
from pipeline.report.markdown import to_markdown
from pipeline.report.records import read_records
from pipeline.report.rows import Accuracy, Row, Score, TransferRow, method_title
from pipeline.report.sweep_table import Gain, SweepTable, TransferGain
from pipeline.report.tables import chosen_lines, chosen_title, gain_lines, legend, render_table
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
    "describe",
    "gain_lines",
    "legend",
    "method_title",
    "read_records",
    "render_table",
    "rerun_command",
    "tabulate",
    "to_html",
    "to_latex",
    "to_markdown",
    "write_report",
]
