"""The sections of a report with the results: headline, gain of SEPT, published results, trade-off."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from pipeline.reports.activity import IDLE, Activity, acted_note, hardly_acted, percent
from pipeline.reports.budgets import no_gain_notes
from pipeline.reports.conclusion import gain_notes, gains_of, headline_test, shown_gains
from pipeline.reports.document import Figure, Section, Sheet
from pipeline.reports.figures import tradeoff_figure, tradeoff_legend, transfer_figure
from pipeline.reports.missing_results import is_whole, missing_lines
from pipeline.reports.published import published_beside, published_notes
from pipeline.reports.rows import Chosen, method_title
from pipeline.reports.sweep_table import Gain, SweepTable, TransferGain
from pipeline.reports.tables import (
    ESTIMATE,
    MEAN,
    best_rows,
    bold_means,
    chosen_title,
    legend,
    p_value,
    signed,
    spread_of,
)
from pipeline.text import short

__all__ = ["result_sections"]

_ACTED = ("active intra, %", "active inter, %", "SEPT's gradient, %")
"""Columns of the chosen trials, if there are any with these figures."""
_WORDS = frozenset(
    {"dataset", "source", "method", "baseline", "significant", "backbone", "protocol", "published in", "test folds"}
)


def result_sections(table: SweepTable) -> list[Section]:
    """The sections, in reading order."""
    sections = [_headline(table), _transfer(table) if table.transfers else _tradeoff(table)]
    if table.gains or table.transfer_gains:
        sections.append(_gain(table))
    if any(row.searched for row in table.studies):
        sections.append(Section("chosen", chosen_title(table), sheets=(_chosen(table),), notes=_chosen_notes(table)))
    sections += _published(table)
    return sections


def _headline(table: SweepTable) -> Section:
    sheets = [_transfer_sheet(table) if table.transfers else _accuracy_sheet(table)]
    if table.rows:
        sheets.append(_averages_sheet(table))
    if len(table.datasets) > 1 and table.rows:
        sheets.append(_matrix(table))
    if among_all := any(row.test.all is not None for row in table.rows):
        sheets.append(_all_sheet(table))
    if table.transfers:
        sheets.append(_f1_sheet(table))
    notes = [*legend(table), bold_means(table)]
    if table.rows:
        notes.append(
            "H of means: harmonic mean of mean base and mean new accuracy, as papers often print it. F1: macro F1."
        )
    if among_all:
        notes.append(
            "All classes at once: the same clips ranked among all names, base and new; all base and all new are the "
            "accuracies of each group, all H is the H of these two. '-': not measured by an earlier release."
        )
    if table.gains:
        notes.append(
            "gain in H: SEPT minus its baseline, replica by replica, at equal numbers of trials; p: paired test over "
            "replicas (shots and seeds on these clips), not corrected, see below."
        )
    if any(hardly_acted(gain.activities) for gain in gains_of(table)):
        notes.append(f"Hardly acted: SEPT did little, {IDLE} (or of so many of the chosen trials); see below.")
    notes += [f"{line}." for line in no_gain_notes(table)]
    notes += [f"{line[0].upper()}{line[1:]}." for line in missing_lines(table)]
    return Section("result", "Accuracy on test clips, %", sheets=tuple(sheets), notes=tuple(notes))


def _accuracy_sheet(table: SweepTable) -> Sheet:
    gains = table.gain_of
    twins = ("gain in H", "p") if gains else ()
    rows = []
    for row in table.rows:
        test = row.test
        accuracies = ((test.base, test.base_std), (test.new, test.new_std), (test.h, test.h_std))
        gain = gains.get((row.dataset, row.method))
        moved = (_moved(gain, "h"), p_value(gain.tests["h"].p)) if gain else ("", "")
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
    return Sheet(columns, tuple(rows), _WORDS, strong=_strong(table, table.rows), strong_in=frozenset({"method", "H"}))


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
    return Sheet(columns, rows, _WORDS, title="H of means and macro F1, %", folded=True)


def _moved(gain: Gain | TransferGain, part: str) -> str:
    """A gain with its spread; that of the headline with a mark if SEPT hardly acted."""
    moved = f"{signed(getattr(gain, part))} ± {getattr(gain, f'{part}_std'):.1f}"
    mark = hardly_acted(gain.activities, short=True) if part in ("h", "targets") else ""
    return f"{moved} ({mark})" if mark else moved


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
    return Sheet(columns, tuple(rows), _WORDS, title="All classes at once, %")


def _transfer_sheet(table: SweepTable) -> Sheet:
    targets = sorted({target for row in table.transfers for target in row.targets})
    rows = []
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
    columns = ("source", "method", "on source", *targets, MEAN, "val", "trials")
    bold = frozenset({"method", MEAN})
    return Sheet(columns, tuple(rows), _WORDS, strong=_strong(table, table.transfers), strong_in=bold)


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
    return Sheet(("source", "method", "on source", *targets), rows, _WORDS, title="Macro F1, %")


def _matrix(table: SweepTable) -> Sheet:
    """H of every method on every dataset, and the mean over the datasets on which all methods have all folds."""
    methods = list(dict.fromkeys(row.method for row in table.rows))
    methods.sort(key=lambda method: (method != "zero-shot", method))
    h = {(row.dataset, row.method): row.test.h for row in table.rows}
    rows = []
    for dataset in table.datasets:
        values = [h.get((dataset, method)) for method in methods]
        rows.append((dataset, *("-" if value is None else f"{value:.1f}" for value in values)))
    compared = {(row.dataset, row.method) for row in table.rows if is_whole(table, row)}
    whole = [dataset for dataset in table.datasets if all((dataset, method) in compared for method in methods)]
    strong = frozenset[int]()
    if len(whole) > 1:
        means = (statistics.fmean(h[dataset, method] for dataset in whole) for method in methods)
        every = "mean" if len(whole) == len(table.datasets) else f"mean of {len(whole)}"
        rows.append((every, *(f"{mean:.1f}" for mean in means)))
        strong = frozenset({len(rows) - 1})
    columns = ("dataset", *(method_title(method) for method in methods))
    return Sheet(columns, tuple(rows), _WORDS, title="H by dataset and method", strong=strong)


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
    return Sheet(("dataset", "method", *folds, *names, *acted, "trial"), lines, _WORDS)


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
    first, named = ("source", "targets") if table.transfers else ("dataset", "h")
    parts = ("source", "targets") if table.transfers else ("base", "new", "h")
    titles = {"h": "H", "targets": MEAN, "source": "on source"}
    shown = {"h": "H", "targets": "targets"}[named]
    claimed = shown_gains(table)
    others = [part for part in parts if part != named]
    moved, tests = [], []
    for index, gain in enumerate(gains_of(table)):
        test = headline_test(gain)
        who = (gain.dataset, method_title(gain.baseline))
        open_to_claim = test.smallest_claim < 1
        moved.append(
            (
                *who,
                *(_moved(gain, part) for part in parts),
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
    columns = (first, "baseline", *(titles.get(part, part) for part in parts), "significant", "p")
    gains = Sheet((*columns, "replicas / folds / sources of clips"), tuple(moved), _WORDS)
    names = [f"p {shown}{what}" for what in ("", ", Holm", ", folds", ", claim", ", claim, Holm")]
    columns = (first, "baseline", *names, *(f"p {part}" for part in others))
    more = Sheet(columns, tuple(tests), _WORDS, title="All paired tests", folded=True)
    return Section(
        "gain", "Gain of SEPT over its baseline, points", sheets=(gains, more), notes=tuple(gain_notes(table))
    )


def _published(table: SweepTable) -> list[Section]:
    """Published results of the same methods and datasets, separate from ours, if there are any."""
    found = published_beside(table.rows)
    if not found:
        return []
    columns = ("method", "dataset", "base", "new", "H", "accuracy", "backbone", "protocol", "published in")
    rows = tuple(tuple(value or "-" for value in vars(row).values()) for row in found)
    return [
        Section(
            "published",
            "Published results, not directly comparable",
            lead=("As published, with other backbones, splits and ways to choose, as listed in each row.",),
            sheets=(Sheet(columns, rows, _WORDS, grouped=False),),
            notes=published_notes(found),
        )
    ]


def _tradeoff(table: SweepTable) -> Section:
    methods = sorted({row.method for row in table.rows}, key=lambda method: (method != "zero-shot", method))
    by_dataset = {name: [row for row in table.rows if row.dataset == name] for name in table.datasets}
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


def _transfer(table: SweepTable) -> Section:
    methods = sorted({row.method for row in table.transfers}, key=lambda method: (method != "zero-shot", method))
    by_source = {name: [row for row in table.transfers if row.dataset == name] for name in table.datasets}
    return Section(
        "transfer",
        "Across datasets",
        lead=("Thin bars are the standard deviation over replicas.",),
        legend=tuple(tradeoff_legend(methods)),
        figures=tuple(Figure(transfer_figure(rows), wide=True) for rows in by_source.values()),
        picture="transfer.svg",
    )


def _strong(table: SweepTable, rows: Sequence[Chosen]) -> frozenset[int]:
    best = best_rows(table)
    return frozenset(index for index, row in enumerate(rows) if row.study in best)
