"""What a report lacks: folds of a row, studies without a finished trial, and results that are gone."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.reports.rows import Chosen, method_title
from pipeline.reports.sweep_table import SweepTable
from sept_core.trial_config import row_of_study

__all__ = ["folds_of", "is_whole", "missing_lines", "partial_lines", "several_folds"]

_AGAIN = "gone: launch the sweep again, which trains them again"


def folds_of(table: SweepTable, dataset: str) -> tuple[str, ...]:
    """The test folds of all rows of a dataset; those of its longest row first."""
    rows = sorted((row for row in table.studies if row.dataset == dataset), key=lambda row: -len(row.folds))
    return tuple(dict.fromkeys(fold for row in rows for fold in row.folds))


def is_whole(table: SweepTable, row: Chosen) -> bool:
    """Whether a row has all test folds of its dataset's rows: only such rows can be compared."""
    return set(row.folds) == set(folds_of(table, row.dataset))


def several_folds(table: SweepTable, selection: str) -> bool:
    """Whether any row with this selection has more than one test fold."""
    return any(len(row.folds) > 1 for row in table.studies if row.selection == selection)


def partial_lines(table: SweepTable, rows: Sequence[Chosen] | None = None) -> list[str]:
    """A line for each row (of all or of the given ones) without all test folds of its dataset's rows."""
    return [
        f"{row.dataset} {method_title(row.method)}: {'fold' if len(row.folds) == 1 else 'folds'} "
        f"{', '.join(row.folds)} only so far; not comparable with the other rows."
        for row in (table.studies if rows is None else rows)
        if not is_whole(table, row)
    ]


def missing_lines(table: SweepTable, row: str | None = None) -> list[str]:
    """Lines about studies without a finished trial, and about studies with results that are gone.

    Args:
        table: The sweep's result.
        row: Only for studies of this row; None for all.
    """

    def named(keys: tuple[str, ...]) -> str:
        return ", ".join(key for key in keys if row is None or row_of_study(key) == row)

    without, lost = named(table.without), named(table.lost)
    lines = [f"no finished trial yet: {without}"] if without else []
    return lines + ([f"results of {lost} are {_AGAIN}"] if lost else [])
