"""Texts of a report about baselines and SEPT twins with different numbers of trials."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.reports.missing_results import is_whole
from pipeline.reports.rows import Chosen, Matched, method_title
from pipeline.reports.sweep_table import SweepTable
from pipeline.text import with_sept
from sept_core.trial_config import row_of_study

__all__ = ["UNEQUAL", "budget_notes", "budget_sentence", "budgets_differ", "no_gain_notes"]

UNEQUAL = "(whole budgets, which differ)"
"""Added to the highest of rows that were chosen among different numbers of trials."""


def budget_notes(table: SweepTable) -> list[str]:
    """One note on all rows of whose trials the gain uses only the first ones, with the reason."""
    cut = [
        f"{row.dataset} {method_title(row.method)}, the first {_span(matched.compared)} of {_span(row.ended)}"
        for row, matched in _cut(table)
    ]
    if not cut:
        return []
    note = (
        "Gains compare both methods at equal numbers of trials, because the best of more trials is higher by chance: "
        f"{'; '.join(cut)}. The rows of the table show whole budgets."
    )
    return [note]


def budget_sentence(table: SweepTable) -> str:
    """The same in short for the conclusion; empty if both methods have equal numbers everywhere."""
    cut = _cut(table)
    if not cut:
        return ""
    if len(cut) == 1:
        row, matched = cut[0]
        what = f"the first {_span(matched.compared)} of {_span(row.ended)} for {row.dataset} {method_title(row.method)}"
        return f"Compared at equal numbers of trials: {what}."
    return (
        f"Compared at equal numbers of trials: only the first trials of {len(cut)} methods with more than their twins."
    )


def no_gain_notes(table: SweepTable) -> list[str]:
    """Why a row has no gain, although its twin is in the table too."""
    twins = {(row.dataset, row.baseline, row.method) for row in table.studies}
    notes = []
    for row in table.studies:
        twin = row.baseline if row.method != row.baseline else with_sept(row.baseline)
        gone = row.study in map(row_of_study, table.lost)
        if (row.dataset, row.baseline, twin) in twins and row.matched and not row.matched.choices and not gone:
            pair = f"{method_title(with_sept(row.baseline))} against {method_title(row.baseline)}"
            first = f"the first {_span(row.matched.compared)} trials of {method_title(row.method)}"
            notes.append(f"{row.dataset}, {pair}: no gain: none of {first} finished")
    return notes


def budgets_differ(table: SweepTable) -> bool:
    """Whether the searched rows of a dataset were chosen among different numbers of trials."""
    counts: dict[tuple[str, str], set[int]] = {}
    for row in table.studies:
        for fold, count in row.ended.items() if row.searched and is_whole(table, row) else ():
            counts.setdefault((row.dataset, fold), set()).add(count)
    return any(len(numbers) > 1 for numbers in counts.values())


def _cut(table: SweepTable) -> list[tuple[Chosen, Matched]]:
    """The rows of whose trials the gain uses only the first ones."""
    gains = {(gain.dataset, gain.baseline) for gain in table.all_gains}
    return [
        (row, row.matched) for row in table.studies if row.matched is not None and (row.dataset, row.baseline) in gains
    ]


def _span(counts: Mapping[str, int]) -> str:
    least, most = min(counts.values()), max(counts.values())
    return str(least) if least == most else f"{least} to {most}"
