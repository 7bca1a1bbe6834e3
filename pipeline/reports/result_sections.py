"""The sections of a report with the results: headline, gain of SEPT, published results, trade-off."""

from __future__ import annotations

from pipeline.reports.accuracy_sheets import WORDS, accuracy_sheets, moved_by
from pipeline.reports.activity import IDLE, Activity, acted_note, hardly_acted, percent
from pipeline.reports.budgets import no_gain_notes
from pipeline.reports.conclusion import gain_notes, headline_test, shown_gains
from pipeline.reports.document import Figure, Section, Sheet
from pipeline.reports.figures import few_shot_figure, tradeoff_figure, tradeoff_legend, transfer_figure
from pipeline.reports.matrix import average_title, averages, methods_of
from pipeline.reports.missing_results import missing_lines
from pipeline.reports.published import published_beside, published_notes
from pipeline.reports.rows import method_title
from pipeline.reports.sweep_table import SweepTable
from pipeline.reports.tables import (
    ESTIMATE,
    TITLES,
    bold_means,
    chosen_title,
    legend,
    p_value,
)
from pipeline.text import short

__all__ = ["result_sections"]

_ACTED = ("active intra, %", "active inter, %", "SEPT's gradient, %")
"""Columns of the chosen trials, if there are any with these figures."""


def result_sections(table: SweepTable) -> list[Section]:
    """The sections, in reading order."""
    sections = [_headline(table)]
    # What differs along an axis has pictures of its own.
    if not table.axes:
        sections.append(_tradeoff(table) if table.rows else _accuracies(table))
    if table.all_gains:
        sections.append(_gain(table))
    if any(row.searched for row in table.studies):
        sections.append(Section("chosen", chosen_title(table), sheets=(_chosen(table),), notes=_chosen_notes(table)))
    sections += _published(table)
    return sections


def _headline(table: SweepTable) -> Section:
    notes = [*legend(table), bold_means(table)]
    if table.rows:
        notes.append(
            "H of means: harmonic mean of mean base and mean new accuracy, as papers often print it. F1: macro F1."
        )
    if any(row.test.all is not None for row in table.rows):
        notes.append(
            "All classes at once: the same clips ranked among all names, base and new; all base and all new are the "
            "accuracies of each group, all H is the H of these two. '-': not measured by an earlier release."
        )
    if table.gains or table.few_shot_gains:
        notes.append(
            f"gain in {TITLES.get(table.headline, table.headline)}: SEPT minus its baseline, replica by replica, at "
            "equal numbers of trials; p: paired test over replicas (shots and seeds on these clips), not corrected, "
            "see below."
        )
    if any(hardly_acted(gain.activities) for gain in table.all_gains):
        notes.append(f"Hardly acted: SEPT did little, {IDLE} (or of so many of the chosen trials); see below.")
    notes += [f"{line}." for line in no_gain_notes(table)]
    notes += [f"{line[0].upper()}{line[1:]}." for line in missing_lines(table)]
    return Section("result", "Accuracy on test clips, %", sheets=accuracy_sheets(table), notes=tuple(notes))


def _chosen(table: SweepTable) -> Sheet:
    """The chosen hyper-parameters of each search, a line per chosen trial."""
    rows = [row for row in table.studies if row.searched]
    names = sorted({name for row in rows for choice in row.choices for name in choice.params})
    apart = any(len(row.merged) > 1 for row in rows)
    acted = _ACTED if table.says_activity else ()
    lines = tuple(
        (
            row.dataset,
            method_title(row.method),
            *([", ".join(folds)] if apart else ()),
            *(short(choice.params[name]) if name in choice.params else "" for name in names),
            *(_activity(choice.activity) if acted else ()),
            f"#{choice.number}",
        )
        for row in rows
        for choice, folds in row.merged
    )
    folds = ("test folds",) if apart else ()
    return Sheet(("dataset", "method", *folds, *names, *acted, "trial"), lines, WORDS)


def _activity(activity: Activity | None) -> tuple[str, str, str]:
    """The cells of ``_ACTED``; empty for a trial without SEPT, or of an earlier release."""
    if activity is None:
        return "", "", ""
    mark = f" ({hardly_acted([activity])})" if activity.idle else ""
    return percent(activity.intra), percent(activity.inter), percent(activity.gradient) + mark


def _chosen_notes(table: SweepTable) -> tuple[str, ...]:
    """Notes about rows with several trials, and about how much SEPT acted."""
    notes = []
    if any(row.searched and len(row.merged) > 1 for row in table.studies):
        notes.append(f"{ESTIMATE} The folds share search spaces, pruners and proposals, except with selection: strict.")
    if table.says_activity:
        notes.append(acted_note())
    return tuple(notes)


def _gain(table: SweepTable) -> Section:
    first, named = "source" if table.transfers else "dataset", table.headline
    parts = table.all_gains[0].parts
    shown = "H" if named == "h" else named
    claimed = shown_gains(table)
    others = [part for part in parts if part != named]
    moved, tests = [], []
    for index, gain in enumerate(table.all_gains):
        test = headline_test(gain)
        who = (gain.dataset, method_title(gain.baseline))
        open_to_claim = test.smallest_claim < 1
        moved.append(
            (
                *who,
                *(moved_by(gain, part) for part in parts),
                "yes" if index in claimed else "no",
                p_value(gain.p_claim_holm) if open_to_claim else "-",
                f"{test.replicas} / {test.folds} / {test.sources or '-'}",
            )
        )
        tests.append(
            (
                *who,
                *(p_value(p) for p in (test.p, gain.p_holm, test.p_folds)),
                *((p_value(test.p_claim), p_value(gain.p_claim_holm)) if open_to_claim else ("-", "-")),
                *(p_value(gain.tests[part].p) for part in others),
            )
        )
    columns = (first, "baseline", *(TITLES.get(part, part) for part in parts), "significant", "p")
    gains = Sheet((*columns, "replicas / folds / sources of clips"), tuple(moved), WORDS)
    names = [f"p {shown}{what}" for what in ("", ", Holm", ", folds", ", claim", ", claim, Holm")]
    columns = (first, "baseline", *names, *(f"p {part}" for part in others))
    more = Sheet(columns, tuple(tests), WORDS, title="All paired tests", folded=True)
    return Section(
        "gain", "Gain of SEPT over its baseline, points", sheets=(gains, more), notes=tuple(gain_notes(table))
    )


def _published(table: SweepTable) -> list[Section]:
    """Published results of the same methods and datasets, separate from ours, if there are any."""
    found = published_beside(table.studies)
    if not found:
        return []
    columns = ("method", "dataset", "base", "new", "H", "accuracy", "backbone", "protocol", "published in", "selection")
    lead = (
        "As published, with other backbones, splits and ways to choose, as listed in each row. None of them is "
        "part of an average or a test of ours."
    )
    rows = tuple(tuple(value or "-" for value in (*vars(row).values(), row.selection)) for row in found)
    return [
        Section(
            "published",
            "Published results, not directly comparable",
            lead=(lead,),
            sheets=(Sheet(columns, rows, WORDS, grouped=False),),
            notes=published_notes(found),
        )
    ]


def _tradeoff(table: SweepTable) -> Section:
    # What differs along an axis has a picture of its own.
    plain = [row for row in table.rows if "@" not in row.method]
    methods = [method for method in methods_of(table) if "@" not in method]
    by_dataset = {row.dataset: [one for one in plain if one.dataset == row.dataset] for row in plain}
    lead = (
        "Arrows lead from each baseline to its SEPT twin; up and to the right is better. Small marks are replicas; "
        "thin lines join those with the same test fold and seed. Dashed curves join points of equal H."
    )
    return Section(
        "tradeoff",
        "Base-new trade-off",
        lead=(f"{lead} {table.warning}." if table.warning else lead,),
        legend=tuple(tradeoff_legend(methods)),
        figures=tuple(Figure(tradeoff_figure(rows)) for rows in by_dataset.values()),
        picture="tradeoff.svg",
    )


def _accuracies(table: SweepTable) -> Section:
    methods = methods_of(table)
    by_source = {name: [row for row in table.transfers if row.dataset == name] for name in table.datasets}
    figures = [transfer_figure(rows) for rows in by_source.values() if rows]
    if table.few_shot:
        figures = [few_shot_figure(table.few_shot, averages(table), average_title(table))]
    what = "transfer" if table.transfers else "few-shot"
    lead = "Thin bars are the standard deviation over replicas."
    return Section(
        what,
        "Across datasets" if table.transfers else "Accuracy by dataset",
        lead=(f"{lead} {table.warning}." if table.warning else lead,),
        legend=tuple(tradeoff_legend(methods)),
        figures=tuple(Figure(svg, wide=True) for svg in figures),
        picture=f"{what}.svg",
    )
