"""What a report says where a baseline and its SEPT twin have different numbers of trials."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.report.rows import SweepTable, method_title

__all__ = ["budget_notes", "budget_sentence"]


def budget_notes(table: SweepTable) -> list[str]:
    """For each row whose gain looks at a part of its trials: at which, and why; in one note."""
    cut = [
        f"{row.dataset} {method_title(row.method)}, the first {_span(row.matched.compared)} of {_span(row.members)}"
        for row in table.studies
        if row.matched is not None
    ]
    if not cut:
        return []
    note = (
        "Gains compare both methods at equal numbers of trials, since the best of more trials is higher by choice "
        f"alone: {'; '.join(cut)}. The rows of the table show whole budgets."
    )
    return [note]


def budget_sentence(table: SweepTable) -> str:
    """The same for the verdict, short; empty where both had as many everywhere."""
    cut = sum(row.matched is not None for row in table.studies)
    if not cut:
        return ""
    if cut == 1:
        row = next(row for row in table.studies if row.matched is not None)
        assert row.matched is not None
        what = f"of {row.dataset} {method_title(row.method)} the first {_span(row.matched.compared)} of "
        return f"Compared at equal numbers of trials: {what}{_span(row.members)}."
    return f"Compared at equal numbers of trials: of {cut} methods, which had more than their twins, only the first."


def _span(counts: Mapping[str, int]) -> str:
    least, most = min(counts.values()), max(counts.values())
    return str(least) if least == most else f"{least} to {most}"
