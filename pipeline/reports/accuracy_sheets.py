"""The sheets of a report with accuracies on test clips, shaped for each protocol as papers print them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from pipeline.reports.activity import hardly_acted
from pipeline.reports.document import Sheet
from pipeline.reports.matrix import average_title, averages, methods_of, whole_datasets
from pipeline.reports.rows import Chosen, method_title
from pipeline.reports.sweep_table import AnyGain, SweepTable
from pipeline.reports.tables import MEAN, best_rows, p_value, signed, spread_of
from pipeline.text import with_sept

__all__ = ["WORDS", "accuracy_sheets", "moved_by", "over_sources"]

WORDS = frozenset(
    {
        "dataset",
        "source",
        "method",
        "baseline",
        "significant",
        "backbone",
        "protocol",
        "published in",
        "selection",
        "test folds",
    }
)
"""Columns with words instead of numbers."""
_UNFOLDED = 12
"""Rows of details that are shown without unfolding."""


def accuracy_sheets(table: SweepTable) -> tuple[Sheet, ...]:
    """The sheets, in reading order."""
    if table.few_shot:
        return _few_shot_sheet(table), _details_sheet(table)
    if table.transfers:
        return _transfer_sheet(table), _f1_sheet(table)
    sheets = [_accuracy_sheet(table), _averages_sheet(table)]
    if len(table.datasets) > 1:
        sheets.append(_matrix(table))
    if any(row.test.all is not None for row in table.rows):
        sheets.append(_all_sheet(table))
    return tuple(sheets)


def _accuracy_sheet(table: SweepTable) -> Sheet:
    gains = table.gain_of
    twins = ("gain in H", "p") if gains else ()
    rows = []
    for row in table.rows:
        test = row.test
        accuracies = ((test.base, test.base_std), (test.new, test.new_std), (test.h, test.h_std))
        gain = gains.get((row.dataset, row.method))
        moved = (moved_by(gain, "h"), p_value(gain.tests["h"].p)) if gain else ("", "")
        rows.append(
            (
                row.dataset,
                method_title(row.method),
                *(spread_of(row, mean, std) for mean, std in accuracies),
                *(moved if gains else ()),
                f"{row.validation.h:.1f}",
                row.trials_shown,
            )
        )
    columns = ("dataset", "method", "base", "new", "H", *twins, "val H", "trials")
    return Sheet(columns, tuple(rows), WORDS, strong=_strong(table, table.rows), strong_in=frozenset({"method", "H"}))


def _averages_sheet(table: SweepTable) -> Sheet:
    """Other averages of the same predictions."""
    rows = tuple(
        (
            row.dataset,
            method_title(row.method),
            *(f"{value:.1f}" for value in (row.test.h_of_means, row.test.base_f1, row.test.new_f1)),
        )
        for row in table.rows
    )
    columns = ("dataset", "method", "H of means", "base F1", "new F1")
    return Sheet(columns, rows, WORDS, title="H of means and macro F1, %", folded=True)


def _all_sheet(table: SweepTable) -> Sheet:
    """Base and new clips ranked among all names."""
    rows = []
    for row in table.rows:
        test = row.test
        accuracies = (
            (test.all, test.all_std),
            (test.all_base, test.all_base_std),
            (test.all_new, test.all_new_std),
            (test.all_h, test.all_h_std),
        )
        cells = ["-" if mean is None else spread_of(row, mean, std or 0.0) for mean, std in accuracies]
        f1 = "-" if test.all_f1 is None else f"{test.all_f1:.1f}"
        rows.append((row.dataset, method_title(row.method), *cells, f1))
    columns = ("dataset", "method", "all", "all base", "all new", "all H", "all F1")
    return Sheet(columns, tuple(rows), WORDS, title="All classes at once, %")


def _transfer_sheet(table: SweepTable) -> Sheet:
    targets = sorted({target for row in table.transfers for target in row.targets})
    rows: list[tuple[str, ...]] = []
    for row in table.transfers:
        # A source is not a target of itself.
        scores = [row.targets.get(target) for target in targets]
        rows.append(
            (
                row.dataset,
                method_title(row.method),
                spread_of(row, row.source.accuracy, row.source.std),
                *("-" if score is None else spread_of(row, score.accuracy, score.std) for score in scores),
                spread_of(row, row.mean, row.mean_std),
                f"{row.validation:.1f}",
                row.trials_shown,
            )
        )
    rows += [(*line, "", "") for line in over_sources(table)]
    columns = ("source", "method", "on source", *targets, MEAN, "val", "trials")
    bold = frozenset({"method", MEAN})
    return Sheet(columns, tuple(rows), WORDS, strong=_strong(table, table.transfers), strong_in=bold)


def over_sources(table: SweepTable) -> list[tuple[str, ...]]:
    """The averages over several sources, a line per method: name, method, on source, targets by name, their mean.

    That of a target is over the sources that it is a target of.
    """
    targets = sorted({target for row in table.transfers for target in row.targets})
    sources = whole_datasets(table)
    if len(sources) < 2:
        return []
    lines = []
    for method in methods_of(table):
        rows = [row for row in table.transfers if row.method == method and row.dataset in sources]
        scores = [[row.targets[target].accuracy for row in rows if target in row.targets] for target in targets]
        values = [[row.source.accuracy for row in rows], *scores, [row.mean for row in rows]]
        means = (f"{statistics.fmean(some):.1f}" if some else "-" for some in values)
        lines.append((f"{average_title(table)} over sources", method_title(method), *means))
    return lines


def _f1_sheet(table: SweepTable) -> Sheet:
    """Macro F1 of the cross-dataset rows, which would not fit into their table."""
    targets = sorted({target for row in table.transfers for target in row.targets})
    rows = tuple(
        (
            row.dataset,
            method_title(row.method),
            f"{row.source.f1:.1f}",
            *(f"{row.targets[target].f1:.1f}" if target in row.targets else "-" for target in targets),
        )
        for row in table.transfers
    )
    return Sheet(("source", "method", "on source", *targets), rows, WORDS, title="Macro F1, %")


def _matrix(table: SweepTable) -> Sheet:
    """H of every method on every dataset, and the mean over the datasets on which all methods have all folds."""
    methods, means = methods_of(table), averages(table)
    h = {(row.dataset, row.method): row.test.h for row in table.rows}
    rows = []
    for dataset in table.datasets:
        values = [h.get((dataset, method)) for method in methods]
        rows.append((dataset, *("-" if value is None else f"{value:.1f}" for value in values)))
    strong = frozenset[int]()
    if means:
        rows.append((average_title(table).replace("average", "mean"), *(f"{mean:.1f}" for mean in means.values())))
        strong = frozenset({len(rows) - 1})
    columns = ("dataset", *(method_title(method) for method in methods))
    return Sheet(columns, tuple(rows), WORDS, title="H by dataset and method", strong=strong)


def _few_shot_sheet(table: SweepTable) -> Sheet:
    """Methods below each other, datasets side by side, and their average."""
    of = {(row.dataset, row.method): row for row in table.few_shot}
    methods, means, best = methods_of(table), averages(table), best_rows(table)
    average = [average_title(table)] if means else []
    rows, strong = [], set[tuple[int, str]]()
    for index, method in enumerate(methods):
        found = [of.get((name, method)) for name in table.datasets]
        strong |= {(index, row.dataset) for row in found if row is not None and row.study in best}
        if means and means[method] == max(means.values()):
            strong.add((index, average[0]))
        cells = ("-" if row is None else spread_of(row, row.test.accuracy, row.test.std) for row in found)
        rows.append((method_title(method), *cells, *((f"{means[method]:.1f}",) if means else ())))
    return Sheet(
        ("method", *table.datasets, *average), tuple(rows), WORDS, grouped=False, strong_cells=frozenset(strong)
    )


def _details_sheet(table: SweepTable) -> Sheet:
    """What does not fit into the table of few-shot."""
    gains = {(gain.dataset, with_sept(gain.baseline)): gain for gain in table.few_shot_gains}
    rows = []
    for row in table.few_shot:
        gain = gains.get((row.dataset, row.method))
        moved = (moved_by(gain, "accuracy"), p_value(gain.tests["accuracy"].p)) if gain else ("", "")
        rows.append(
            (
                row.dataset,
                method_title(row.method),
                spread_of(row, row.test.accuracy, row.test.std),
                *(moved if gains else ()),
                f"{row.test.f1:.1f}",
                f"{row.validation:.1f}",
                row.trials_shown,
            )
        )
    columns = ("dataset", "method", "accuracy", *(("gain in accuracy", "p") if gains else ()), "F1", "val", "trials")
    title = "Gain, macro F1, validation and trials"
    return Sheet(columns, tuple(rows), WORDS, title=title, folded=len(rows) > _UNFOLDED)


def _strong(table: SweepTable, rows: Sequence[Chosen]) -> frozenset[int]:
    best = best_rows(table)
    return frozenset(index for index, row in enumerate(rows) if row.study in best)


def moved_by(gain: AnyGain, part: str) -> str:
    """A gain with its spread; that of the headline with a mark if SEPT hardly acted."""
    moved = f"{signed(getattr(gain, part))} ± {getattr(gain, f'{part}_std'):.1f}"
    mark = hardly_acted(gain.activities, short=True) if part == gain.parts[-1] else ""
    return f"{moved} ({mark})" if mark else moved
