"""The texts about the table of a sweep that all forms of the report share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.reports.activity import idle_remark
from pipeline.reports.budgets import UNEQUAL, budget_notes, budgets_differ, no_gain_notes
from pipeline.reports.matrix import averages
from pipeline.reports.missing_results import folds_of, is_whole, partial_lines, several_folds
from pipeline.reports.rows import Chosen, method_title
from pipeline.reports.sweep_table import SweepTable
from pipeline.text import short, with_sept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.reports.paired import PairedTest
    from pipeline.reports.rows import Chosen
    from pipeline.reports.sweep_table import AnyGain

__all__ = [
    "ESTIMATE",
    "MEAN",
    "TITLES",
    "best_rows",
    "bold_means",
    "chosen_lines",
    "chosen_title",
    "folds_shown",
    "gain_lines",
    "legend",
    "p_value",
    "shots_of",
    "signed",
    "spread_of",
]

MEAN = "mean of targets"
TITLES = {"h": "H", "targets": MEAN, "source": "on source"}
"""Titles of columns with accuracies, if they differ from the names."""

_SELECTIONS = {
    "heldout": "{val}: the same {what} on held-out clips of the training folds. Each test fold uses the trial with the "
    "best {val} of this fold's replicas alone, so its choice uses no test clip of the fold",
    "strict": "{val}: the same {what} on held-out clips of the training folds. Each test fold has a search of its own: "
    "its proposals, prunings and choice use no test clip of the fold.",
    "nested": "{val}: the same {what} of a training on one part of the base classes, over both parts, on clips of the "
    "training folds. Each test fold uses the trial that is best on this fold's replicas alone: its choice uses neither "
    "a new class nor a test clip of the fold",
    "paper": "{val}: {what} on the test clips themselves, by which the best trial of each study was chosen: for "
    "comparison with published tables only, too good for unseen data.",
}
"""What the choice is based on, shown with every table."""
_SHARED = {
    "heldout": "; only proposals and prunings use means over all folds, whose held-out clips are test clips of other "
    "folds (selection: strict avoids that too)",
    "nested": "; only proposals and prunings use means over all folds",
}
"""What several test folds share in addition."""
_TRANSFERS = (
    "The trial of each test fold is chosen by val on this fold's replicas alone: the choice uses neither a test clip "
    "of the fold nor a target."
)
_AVERAGE = "average: the mean over the datasets on which every method has all test folds."
ESTIMATE = (
    "With several test folds a row may have a different trial for each: it estimates the procedure (a search and its "
    "choice), not one configuration (sept best shows the best one)."
)
"""The meaning of a row with several trials."""


def legend(table: SweepTable) -> list[str]:
    """The meaning of the numbers."""
    over = "mean ± standard deviation over replicas (test folds x seeds)"
    lines = []
    if table.rows:
        lines = [f"base, new, H: {over}; H is the mean of each replica's harmonic mean of base and new."]
        lines += _selections(table, "val H", "H")
    if table.few_shot:
        lines = [f"Accuracy, {over}: trained on all classes, tested on all."]
        lines += _selections(table, "val", "accuracy")
        lines += [_AVERAGE] if averages(table) else []
    if table.transfers:
        lines += [
            f"Accuracy, {over}: trained on all classes of the source, tested on test clips of it and of every target.",
            "val: accuracy on the source's held-out clips. " + _TRANSFERS,
        ]
    if table.transfers and averages(table):
        lines.append(
            "Average over sources: over those for which every method has all test folds; that of a target is over the "
            "sources that it is a target of."
        )
    if any(len(row.folds) > 1 and row.selection != "paper" for row in table.studies):
        lines.append(ESTIMATE)
    for dataset in table.datasets:
        rows = [row for row in table.studies if row.dataset == dataset]
        row = rows[0]
        encoders = ", ".join(dict.fromkeys(one.encoder for one in rows))
        lines.append(
            f"{dataset}: encoder {encoders}, {row.protocol}, {shots_of(rows)} shots, "
            f"folds {', '.join(folds_of(table, dataset))}, seeds {', '.join(map(str, row.seeds))}."
        )
    return lines + partial_lines(table) + [f"Data: {line}." for line in table.data_warnings]


def _selections(table: SweepTable, val: str, what: str) -> list[str]:
    """A line for each selection of the rows.

    Args:
        table: The sweep's result.
        val: Title of the column with the search objective.
        what: What the objective is.
    """
    return [
        _SELECTIONS[selection].format(val=val, what=what).removesuffix(".")
        + (_SHARED.get(selection, "") if several_folds(table, selection) else "")
        + "."
        for selection in dict.fromkeys(row.selection for row in table.studies)
    ]


def chosen_lines(table: SweepTable) -> list[str]:
    """The chosen hyper-parameters of each search, a line per chosen trial."""
    return [
        f"{row.dataset}, {method_title(row.method)}{folds_shown(row, folds)}: "
        + " ".join(f"{name}={short(value)}" for name, value in choice.params.items())
        + f" (trial #{choice.number}, {choice.signature})"
        for row in table.studies
        if row.searched
        for choice, folds in row.merged
    ]


def folds_shown(row: Chosen, folds: Sequence[str]) -> str:
    """Such as ``, folds 2, 4``; empty if these are all folds of the row."""
    if len(folds) == len(row.folds):
        return ""
    return f", fold{'' if len(folds) == 1 else 's'} {', '.join(folds)}"


def chosen_title(table: SweepTable) -> str:
    """The title of `chosen_lines`."""
    return "Chosen on TEST clips" if table.warning else "Chosen on held-out clips, separately for each test fold"


def gain_lines(table: SweepTable) -> list[str]:
    """The gains of SEPT, a line per dataset and baseline, and remarks if budgets differ."""
    return (
        [
            f"{gain.dataset}, {method_title(with_sept(gain.baseline))} against {method_title(gain.baseline)}: "
            f"base {signed(gain.base)} ± {gain.base_std:.1f}, new {signed(gain.new)} ± {gain.new_std:.1f}, "
            f"H {signed(gain.h)} ± {gain.h_std:.1f} ({_pairs(gain.tests['h'])}){_acted(gain)}"
            for gain in table.gains
        ]
        + [
            f"{gain.dataset}, {method_title(with_sept(gain.baseline))} against {method_title(gain.baseline)}: "
            f"accuracy {signed(gain.accuracy)} ± {gain.accuracy_std:.1f} ({_pairs(gain.tests['accuracy'])})"
            f"{_acted(gain)}"
            for gain in table.few_shot_gains
        ]
        + [
            f"from {gain.dataset}, {method_title(with_sept(gain.baseline))} against {method_title(gain.baseline)}: "
            f"source {signed(gain.source)} ± {gain.source_std:.1f}, mean of targets {signed(gain.targets)} ± "
            f"{gain.targets_std:.1f} ({_pairs(gain.tests['targets'])}){_acted(gain)}"
            for gain in table.transfer_gains
        ]
        + no_gain_notes(table)
        + budget_notes(table)
    )


def _acted(gain: AnyGain) -> str:
    return f"; {remark}" if (remark := idle_remark(gain.activities)) else ""


def _pairs(test: PairedTest) -> str:
    folds = "1 fold" if test.folds == 1 else f"{test.folds} folds"
    pairs = f"{test.replicas} paired replicas, p {p_value(test.p)}; {folds}, p {p_value(test.p_folds)}"
    return pairs if test.smallest_claim == 1 else f"{pairs}; folds and clips, p {p_value(test.p_claim)}"


def shots_of(rows: Sequence[Chosen]) -> str:
    """The numbers of shots of rows, such as ``1, 4, 16``."""
    # On an axis of shots, zero-shot has those of the sweep, which it does not use.
    along = [row for row in rows if "shots=" in row.method] or rows
    return ", ".join(dict.fromkeys(str(row.shots) for row in along))


def best_rows(table: SweepTable) -> set[str]:
    """Names of the rows with the highest headline (H, accuracy, mean over targets) of their dataset or source.

    Rows without all test folds of their dataset are left out. In a sweep with axes none is the highest: it would
    compare 1 with 16 shots, or two encoders.
    """
    if table.axes:
        return set()
    best: dict[str, tuple[float, str]] = {}
    values = [(row.dataset, row.headline, row.study) for row in table.studies if is_whole(table, row)]
    for dataset, value, study in values:
        if dataset not in best or value > best[dataset][0]:
            best[dataset] = (value, study)
    return {study for _, study in best.values()}


_HIGHEST = {
    "h": "H of each dataset",
    "accuracy": "accuracy on each dataset",
    "targets": "mean of targets of each source",
}


def bold_means(table: SweepTable) -> str:
    """The meaning of the bold rows of `best_rows`."""
    what = _HIGHEST[table.headline]
    unequal = f" {UNEQUAL}" if budgets_differ(table) else ""
    return f"Bold: highest {what}{unequal}, whether or not the difference is significant."


def signed(value: float) -> str:
    """A difference with its sign; zero after rounding is +0.0."""
    return f"{round(value, 1) + 0.0:+.1f}"


def p_value(p: float) -> str:
    """A p value for printing."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def spread_of(row: Chosen, mean: float, std: float) -> str:
    """A mean with its standard deviation over replicas."""
    # One replica has no spread.
    return f"{mean:.1f} ± {std:.1f}" if len(row.replicas) > 1 else f"{mean:.1f}"
