"""Writes the report of a sweep into the store: page, text, numbers, picture and, if asked for, a LaTeX table."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipeline.drawing import picture_file
from pipeline.reports.ablation import read_ablations
from pipeline.reports.build_document import describe
from pipeline.reports.collect import tabulate
from pipeline.reports.html import to_html
from pipeline.reports.latex import to_latex
from pipeline.reports.markdown import to_markdown
from pipeline.reports.noise_rows import noisy_json, noisy_rows
from pipeline.reports.records import read_records
from pipeline.reports.space_pairs import space_pairs, stored_spaces
from pipeline.reports.sweep_table import SweepTable
from pipeline.store import TrialStore

__all__ = ["ReportFiles", "write_report"]


@dataclass(frozen=True)
class ReportFiles:
    """Keys of the files of a report in the store.

    Attributes:
        page: One HTML file with everything in it.
        table: The same as Markdown, without most figures.
        results: JSON with every number of the table and every replica.
        picture: SVG: ``tradeoff.svg``, or ``transfer.svg`` of a cross-dataset sweep.
        latex: The headline table; None if not asked for.
    """

    page: str
    table: str
    results: str
    picture: str
    latex: str | None = None

    @property
    def shown(self) -> tuple[str, ...]:
        """The files for people."""
        return (self.page, self.table, self.picture)


def write_report(store: TrialStore, sweep: str, *, latex: bool = False) -> tuple[SweepTable, ReportFiles]:
    """Collect the result of a sweep and write ``sweeps/<sweep>/report/``; the same store gives the same files.

    Args:
        store: The store.
        sweep: Name of the sweep.
        latex: Whether to also write ``table.tex``.

    Raises:
        InputError: The store has no sweep of this name.
        SeptError: No trial of it has finished yet.
    """
    records = read_records(store, sweep)
    table = tabulate(records)
    pairs = space_pairs(table)
    spaces = list(zip(pairs, stored_spaces(store, pairs), strict=True))
    ablations = read_ablations(store, records, records.rows)
    noisy = noisy_rows(store, table.studies)
    document = describe(table, records, spaces, ablations, noisy)
    pictured = next(section for section in document.sections if section.picture)
    folder = f"sweeps/{sweep}/report"
    files = ReportFiles(
        page=f"{folder}/report.html",
        table=f"{folder}/report.md",
        results=f"{folder}/results.json",
        picture=f"{folder}/{pictured.picture}",
        latex=f"{folder}/table.tex" if latex else None,
    )
    content = table.to_json() | ({"ablations": [one.to_json() for one in ablations]} if ablations else {})
    if any(one.noisy for one in noisy):
        content["noise"] = noisy_json(noisy)
    numbers = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=True) + "\n"
    store.files.write(files.page, to_html(document).encode())
    store.files.write(files.table, to_markdown(document).encode())
    store.files.write(files.results, numbers.encode())
    drawings = [figure.svg for figure in pictured.figures]
    store.files.write(files.picture, picture_file(drawings, [table.warning] if table.warning else [], pictured.legend))
    if files.latex is not None:
        store.files.write(files.latex, to_latex(table).encode())
    return table, files
