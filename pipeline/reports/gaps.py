"""What a report says of what it lacks: folds of a row, studies without a finished trial, results that are gone."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.reports.rows import Chosen, method_title
from pipeline.reports.sweep_table import SweepTable
from sept_core.results import row_of_study

__all__ = ["folds_of", "is_whole", "missing_lines", "partial_lines", "several_folds"]

_AGAIN = "gone: launch the sweep again, which trains them once more"


def folds_of(table: SweepTable, dataset: str) -> tuple[str, ...]:
    """The test folds that any row of a dataset has; those of its longest row first."""
    rows = sorted((row for row in table.studies if row.dataset == dataset), key=lambda row: -len(row.folds))
    return tuple(dict.fromkeys(fold for row in rows for fold in row.folds))


def is_whole(table: SweepTable, row: Chosen) -> bool:
    """Whether a row has every test fold that another row of its dataset has: only such rows can be compared."""
    return set(row.folds) == set(folds_of(table, row.dataset))


def several_folds(table: SweepTable, selection: str) -> bool:
    """Whether any row that was chosen in this way has more than one test fold."""
    return any(len(row.folds) > 1 for row in table.studies if row.selection == selection)


def partial_lines(table: SweepTable, rows: Sequence[Chosen] | None = None) -> list[str]:
    """A line for each row, of all or of these, that lacks test folds which others of its dataset have."""
    return [
        f"{row.dataset} {method_title(row.method)}: {'fold' if len(row.folds) == 1 else 'folds'} "
        f"{', '.join(row.folds)} only so far; not comparable with the rows beside it."
        for row in (table.studies if rows is None else rows)
        if not is_whole(table, row)
    ]


def missing_lines(table: SweepTable, row: str | None = None) -> list[str]:
    """Which studies have no finished trial yet, and of which the results are gone.

    Args:
        table: The sweep's result.
        row: Only of this row's studies; None for all.
    """

    def named(keys: tuple[str, ...]) -> str:
        return ", ".join(key for key in keys if row is None or row_of_study(key) == row)

    without, lost = named(table.without), named(table.lost)
    lines = [f"no finished trial yet: {without}"] if without else []
    return lines + ([f"results of {lost} are {_AGAIN}"] if lost else [])
