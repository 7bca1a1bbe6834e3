"""The table of a sweep for a terminal, at most 80 columns wide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.reports.document import Sheet
from pipeline.reports.matrix import average_title, averages, methods_of
from pipeline.reports.rows import Row, TransferRow, method_title
from pipeline.reports.sweep_table import SweepTable
from pipeline.reports.tables import MEAN, best_rows, spread_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

__all__ = ["render_sheet", "render_table"]

_COLUMNS = ("dataset", "method", "base", "new", "H", "val H", "trials")
_TRANSFER_COLUMNS = ("source", "tested on", "method", "accuracy", "F1", "trials")
_AT_ONCE = 3
"""Datasets side by side."""


def render_table(table: SweepTable) -> Table:
    """The table for a terminal; the best headline of each dataset is bold."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"{table.sweep}: accuracy on test clips, %" + (f"\n{table.warning}" if table.warning else "")
    shown = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", show_edge=False, pad_edge=False)
    if table.few_shot:
        _add_few_shot(shown, table)
        return shown
    for name in _TRANSFER_COLUMNS if table.transfers else _COLUMNS:
        left = name in ("dataset", "source", "method", "tested on")
        shown.add_column(name, justify="left" if left else "right", no_wrap=True)
    best = best_rows(table)
    for dataset in table.datasets:
        rows = [row for row in table.rows if row.dataset == dataset]
        for row in rows:
            first = dataset if row is rows[0] else ""
            bold = ("method", "H") if row.study in best else ()
            cells = (
                Text(cell, "bold" if name in bold else "") for name, cell in zip(_COLUMNS[1:], _cells(row), strict=True)
            )
            shown.add_row(first, *cells, end_section=row is rows[-1])
        _add_transfers(shown, [row for row in table.transfers if row.dataset == dataset], best)
    for method, mean in averages(table).items() if table.transfers else ():
        place = (average_title(table), MEAN) if method == methods_of(table)[0] else ("", "")
        shown.add_row(*place, method_title(method), f"{mean:.1f}")
    return shown


def render_sheet(sheet: Sheet) -> Table:
    """A table of the report for a terminal."""
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, title=sheet.title, title_justify="left", show_edge=False, pad_edge=False)
    for name in sheet.columns:
        shown.add_column(name, justify="left" if name in sheet.words else "right")
    for above, row in zip(("", *(row[0] for row in sheet.rows)), sheet.rows, strict=False):
        shown.add_row("" if row[0] == above else row[0], *row[1:])
    return shown


def _add_few_shot(shown: Table, table: SweepTable) -> None:
    """Methods below each other and datasets side by side, a few at a time, and at last their average."""
    from rich.text import Text

    of = {(row.dataset, row.method): row for row in table.few_shot}
    best, means = best_rows(table), averages(table)
    columns = [*table.datasets, *([average_title(table)] if means else [])]
    for name in ("method", *columns[:_AT_ONCE]):
        shown.add_column(name, justify="right" if shown.columns else "left", no_wrap=True)
    for start in range(0, len(columns), _AT_ONCE):
        names = columns[start : start + _AT_ONCE]
        if start:
            shown.add_row("method", *names, style="bold")
        for method in methods_of(table):
            cells = []
            for name in names:
                row = of.get((name, method))
                if name not in table.datasets:
                    top = means[method] == max(means.values())
                    cells.append(Text(f"{means[method]:.1f}", "bold" if top else ""))
                elif row is None:
                    cells.append(Text("-"))
                else:
                    bold = "bold" if row.study in best else ""
                    cells.append(Text(spread_of(row, row.test.accuracy, row.test.std), bold))
            shown.add_row(method_title(method), *cells, end_section=method == methods_of(table)[-1])


def _add_transfers(shown: Table, rows: Sequence[TransferRow], best: set[str]) -> None:
    """A section for each test set, so that any number of targets fits."""
    if not rows:
        return
    source = rows[0].dataset
    targets = list(rows[0].targets)
    headline = MEAN if len(targets) > 1 else targets[0]
    for place in (source, *targets, *([MEAN] if len(targets) > 1 else [])):
        for row in rows:
            score = row.source if place == source else row.targets.get(place)
            accuracy = spread_of(row, score.accuracy, score.std) if score else spread_of(row, row.mean, row.mean_std)
            shown.add_row(
                source if place == source and row is rows[0] else "",
                (f"{place} (itself)" if place == source else place) if row is rows[0] else "",
                method_title(row.method),
                accuracy,
                f"{score.f1:.1f}" if score else "",
                row.trials_shown,
                style="bold" if row.study in best and place == headline else "",
                end_section=row is rows[-1],
            )


def _cells(row: Row) -> list[str]:
    test = row.test
    accuracies = ((test.base, test.base_std), (test.new, test.new_std), (test.h, test.h_std))
    return [
        method_title(row.method),
        *(spread_of(row, mean, std) for mean, std in accuracies),
        f"{row.validation.h:.1f}",
        row.trials_shown,
    ]
