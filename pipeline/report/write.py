"""The report of a sweep as files in the store: table, numbers, picture."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipeline.report.collect import collect
from pipeline.report.plots import plot_tradeoff
from pipeline.report.rows import SweepTable
from pipeline.report.tables import to_markdown
from pipeline.report.transfer import plot_transfer
from pipeline.store import TrialStore

__all__ = ["ReportFiles", "write_report"]


@dataclass(frozen=True)
class ReportFiles:
    """Where a report lies: keys of the store.

    Attributes:
        table: Markdown.
        results: JSON with every number of the table and every replica.
        picture: PNG: ``tradeoff.png``, or ``transfer.png`` of a cross-dataset sweep.
    """

    table: str
    results: str
    picture: str


def write_report(store: TrialStore, sweep: str) -> tuple[SweepTable, ReportFiles]:
    """Collect a sweep's result and write ``sweeps/<sweep>/report/``; the same result gives the same files.

    Raises:
        InputError: The store has no sweep of this name.
        SeptError: No trial of it has finished yet.
    """
    table = collect(store, sweep)
    folder = f"sweeps/{sweep}/report"
    picture = "transfer.png" if table.transfers else "tradeoff.png"
    files = ReportFiles(f"{folder}/table.md", f"{folder}/results.json", f"{folder}/{picture}")
    store.files.write(files.table, to_markdown(table).encode())
    numbers = json.dumps(table.to_json(), sort_keys=True, indent=1, ensure_ascii=True) + "\n"
    store.files.write(files.results, numbers.encode())
    store.files.write(files.picture, plot_transfer(table) if table.transfers else plot_tradeoff(table))
    return table, files
