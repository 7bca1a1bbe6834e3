"""Reports of a sweep from the trial store alone: HTML, Markdown, numbers, a picture, and LaTeX."""

from pipeline.reports.background import rerun_command
from pipeline.reports.build_document import describe
from pipeline.reports.collect import collect, tabulate
from pipeline.reports.html import to_html
from pipeline.reports.latex import to_latex
from pipeline.reports.markdown import to_markdown
from pipeline.reports.records import read_records
from pipeline.reports.rows import Accuracy, FewShotRow, Row, Score, TransferRow, method_title
from pipeline.reports.sweep_table import FewShotGain, Gain, SweepTable, TransferGain
from pipeline.reports.tables import chosen_lines, chosen_title, gain_lines, legend
from pipeline.reports.terminal import render_sheet, render_table
from pipeline.reports.write import ReportFiles, write_report

__all__ = [
    "Accuracy",
    "FewShotGain",
    "FewShotRow",
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
    "render_sheet",
    "render_table",
    "rerun_command",
    "tabulate",
    "to_html",
    "to_latex",
    "to_markdown",
    "write_report",
]
