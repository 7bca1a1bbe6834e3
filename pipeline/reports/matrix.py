"""The headline of every method on every dataset, and its average over datasets, as papers print it."""

from __future__ import annotations

import statistics

from pipeline.reports.missing_results import is_whole
from pipeline.reports.sweep_table import SweepTable
from pipeline.reports.titles import method_place

__all__ = ["average_title", "averages", "methods_of", "whole_datasets"]


def methods_of(table: SweepTable) -> tuple[str, ...]:
    """The methods of the table: zero-shot first, each baseline before its SEPT twin."""
    return tuple(sorted(dict.fromkeys(row.method for row in table.studies), key=method_place))


def whole_datasets(table: SweepTable) -> tuple[str, ...]:
    """The datasets (cross-dataset: sources) on which all methods have all folds, so that they can be averaged."""
    compared = {(row.dataset, row.method) for row in table.studies if is_whole(table, row)}
    return tuple(name for name in table.datasets if all((name, method) in compared for method in methods_of(table)))


def averages(table: SweepTable) -> dict[str, float]:
    """By method the mean of its headlines over the `whole_datasets`; empty if these are fewer than two."""
    whole = whole_datasets(table)
    if len(whole) < 2:
        return {}
    of = {(row.dataset, row.method): row.headline for row in table.studies}
    return {method: statistics.fmean(of[name, method] for name in whole) for method in methods_of(table)}


def average_title(table: SweepTable) -> str:
    """The title of `averages`, which says so if not all datasets are included."""
    count = len(whole_datasets(table))
    return "average" if count == len(table.datasets) else f"average of {count}"
