"""A sweep's table for a terminal (rich) and for a file (Markdown). No number of ours in it is typed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.report.published import published_beside
from pipeline.report.rows import Row, SweepTable, TransferRow, method_title
from pipeline.sweeps import short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from pipeline.report.rows import Chosen

__all__ = ["chosen_lines", "chosen_title", "gain_lines", "legend", "render_table", "to_markdown"]

_COLUMNS = ("dataset", "method", "base", "new", "H", "val H", "trials")
_MORE_COLUMNS = ("H of means", "base F1", "new F1")  # in Markdown only: a terminal has eighty columns
_TRANSFER_COLUMNS = ("source", "tested on", "method", "accuracy", "F1", "trials")
_MEAN = "mean of targets"
_PUBLISHED_COLUMNS = ("method", "dataset", "base", "new", "H", "accuracy", "backbone", "protocol", "source")

_SELECTIONS = {
    "heldout": "val H: the same H on held-out clips of the training folds; the best trial of each study was chosen by "
    "it, never by test clips.",
    "nested": "val H: the same H of a training on one part of the base classes, over both parts; the best trial of "
    "each study was chosen by it, never by new classes or test clips.",
    "paper": "val H: H on the test clips themselves, and the best trial of each study was chosen by it: for comparison "
    "with published tables only, too good for unseen data.",
}
"""What the choice rests on, said with every table."""


def render_table(table: SweepTable) -> Table:
    """The table for a terminal, at most 80 columns wide; the best H of each dataset is bold."""
    from rich import box
    from rich.table import Table

    title = f"{table.sweep}: accuracy on test clips, %" + (f"\n{table.warning}" if table.warning else "")
    shown = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", show_edge=False, pad_edge=False)
    for name in _TRANSFER_COLUMNS if table.transfers else _COLUMNS:
        left = name in ("dataset", "source", "method", "tested on")
        shown.add_column(name, justify="left" if left else "right", no_wrap=True)
    best = _best(table)
    for dataset in table.datasets:
        rows = [row for row in table.rows if row.dataset == dataset]
        for row in rows:
            first = dataset if row is rows[0] else ""
            style = "bold" if row.signature in best else ""
            shown.add_row(first, *_cells(row), style=style, end_section=row is rows[-1])
        _add_transfers(shown, [row for row in table.transfers if row.dataset == dataset], best)
    return shown


def _add_transfers(shown: Table, rows: Sequence[TransferRow], best: set[str]) -> None:
    """A section for each test set, so that methods stand below each other and any number of targets fits."""
    if not rows:
        return
    source = rows[0].dataset
    targets = list(rows[0].targets)
    for place in (source, *targets, *([_MEAN] if len(targets) > 1 else [])):
        for row in rows:
            score = row.source if place == source else row.targets.get(place)
            accuracy = _spread(row, score.accuracy, score.std) if score else _spread(row, row.mean, row.mean_std)
            shown.add_row(
                source if place == source and row is rows[0] else "",
                (f"{place} (itself)" if place == source else place) if row is rows[0] else "",
                method_title(row.method),
                accuracy,
                f"{score.f1:.1f}" if score else "",
                str(sum(row.trials.values())),
                style="bold" if row.signature in best and place != source else "",
                end_section=row is rows[-1],
            )


def to_markdown(table: SweepTable) -> str:
    """The table, what was chosen, the gains and what the columns mean, as Markdown."""
    best = _best(table)
    columns = _transfer_columns(table) if table.transfers else (*_COLUMNS, *_MORE_COLUMNS)
    lines = [f"# {table.sweep}", ""]
    if table.warning:
        lines += [f"> **{table.warning}**", ""]
    lines += [_line(columns), _line(["---"] * 2 + ["---:"] * (len(columns) - 2))]
    for row, shown in _lines(table, columns):
        cells = [row.dataset, *shown]
        lines.append(_line([f"**{cell}**" for cell in cells] if row.signature in best else cells))
    lines += ["", *(f"{line}  " for line in legend(table))]
    if table.rows:
        lines.append("H of means: harmonic mean of the two means before it, as papers often print it. F1: macro F1.")
    lines += _f1_lines(table)
    if chosen := chosen_lines(table):
        lines += ["", f"## {chosen_title(table)}", "", *(f"- {line}" for line in chosen)]
    if table.gains or table.transfer_gains:
        lines += ["", "## Gain of SEPT over its baseline, points on test clips", ""]
        lines += [f"- {line}" for line in gain_lines(table)]
    lines += _published_lines(table)
    if table.without:
        lines += ["", f"No finished trial yet: {', '.join(table.without)}"]
    return "\n".join(lines) + "\n"


def legend(table: SweepTable) -> list[str]:
    """What the numbers are, from the trials themselves."""
    over = "mean ± standard deviation over replicas (test folds x seeds)"
    lines = []
    if table.rows:
        lines = [f"base, new, H: {over}; H is the mean of each replica's harmonic mean of base and new."]
        lines += [_SELECTIONS[selection] for selection in dict.fromkeys(row.selection for row in table.rows)]
    if table.transfers:
        lines += [
            f"Accuracy, {over}: trained on all classes of the source, tested on its test clips and on every target's.",
            "val: accuracy on the source's held-out clips; it alone chose the best trial of each study.",
        ]
    for dataset in table.datasets:
        row = next(row for row in table.studies if row.dataset == dataset)
        lines.append(
            f"{dataset}: encoder {row.encoder}, {row.protocol}, {row.shots} shots, "
            f"folds {', '.join(row.folds)}, seeds {', '.join(map(str, row.seeds))}."
        )
    return lines


def chosen_lines(table: SweepTable) -> list[str]:
    """The hyper-parameters that each search ended with, a line per study that had something to search."""
    return [
        f"{row.dataset}, {method_title(row.method)}: "
        + " ".join(f"{name}={short(value)}" for name, value in row.params.items())
        + f" (trial #{row.number}, {row.signature})"
        for row in table.studies
        if row.params
    ]


def chosen_title(table: SweepTable) -> str:
    """What the hyper-parameters of `chosen_lines` were chosen on."""
    return "Chosen on TEST clips" if table.warning else "Chosen on held-out clips"


def gain_lines(table: SweepTable) -> list[str]:
    """What SEPT changes, as measured, a line per dataset and baseline."""
    return [
        f"{gain.dataset}, {method_title(gain.baseline)} + SEPT against {method_title(gain.baseline)}: "
        f"base {gain.base:+.1f} ± {gain.base_std:.1f}, new {gain.new:+.1f} ± {gain.new_std:.1f}, "
        f"H {gain.h:+.1f} ± {gain.h_std:.1f} ({gain.replicas} paired replicas)"
        for gain in table.gains
    ] + [
        f"from {gain.dataset}, {method_title(gain.baseline)} + SEPT against {method_title(gain.baseline)}: "
        f"source {gain.source:+.1f} ± {gain.source_std:.1f}, mean of targets {gain.targets:+.1f} ± "
        f"{gain.targets_std:.1f} ({gain.replicas} paired replicas)"
        for gain in table.transfer_gains
    ]


def _best(table: SweepTable) -> set[str]:
    """Signatures of the rows with the highest H of their dataset, or the highest mean over targets of their source."""
    best: dict[str, tuple[float, str]] = {}
    values = [(row.dataset, row.test.h, row.signature) for row in table.rows]
    values += [(row.dataset, row.mean, row.signature) for row in table.transfers]
    for dataset, value, signature in values:
        if dataset not in best or value > best[dataset][0]:
            best[dataset] = (value, signature)
    return {signature for _, signature in best.values()}


def _lines(table: SweepTable, columns: Sequence[str]) -> Iterator[tuple[Chosen, list[str]]]:
    """The rows with their cells behind the first column."""
    for row in table.rows:
        more = [f"{value:.1f}" for value in (row.test.h_of_means, row.test.base_f1, row.test.new_f1)]
        yield row, _cells(row) + (more if _MORE_COLUMNS[0] in columns else [])
    for transfer in table.transfers:
        yield transfer, _transfer_cells(transfer, columns)


def _transfer_columns(table: SweepTable) -> tuple[str, ...]:
    targets = sorted({target for row in table.transfers for target in row.targets})
    return ("source", "method", "on source", *targets, _MEAN, "val", "trials")


def _transfer_cells(row: TransferRow, columns: Sequence[str]) -> list[str]:
    # A source is no target of its own.
    scores = [row.targets.get(target) for target in columns[3:-3]]
    return [
        method_title(row.method),
        _spread(row, row.source.accuracy, row.source.std),
        *("-" if score is None else _spread(row, score.accuracy, score.std) for score in scores),
        _spread(row, row.mean, row.mean_std),
        f"{row.validation:.1f}",
        str(sum(row.trials.values())),
    ]


def _f1_lines(table: SweepTable) -> list[str]:
    """Macro F1 of the cross-dataset rows, which have too many columns already."""
    lines = [
        f"- {method_title(row.method)} from {row.dataset}: on source {row.source.f1:.1f}, "
        + ", ".join(f"{target} {score.f1:.1f}" for target, score in row.targets.items())
        for row in table.transfers
    ]
    return ["", "## Macro F1, %", "", *lines] if lines else []


def _published_lines(table: SweepTable) -> list[str]:
    """Published rows of the same methods and datasets, apart from ours; nothing where there are none."""
    rows = published_beside(table.rows)
    if not rows:
        return []
    lines = [
        "",
        "## Published figures, not comparable one to one",
        "",
        "Other backbones, splits and ways to choose, as each row says; printed here as published.",
        "",
        _line(_PUBLISHED_COLUMNS),
        _line(["---"] * 2 + ["---:"] * 4 + ["---"] * 3),
    ]
    return lines + [_line([value or "-" for value in vars(row).values()]) for row in rows]


def _cells(row: Row) -> list[str]:
    test = row.test
    accuracies = ((test.base, test.base_std), (test.new, test.new_std), (test.h, test.h_std))
    return [
        method_title(row.method),
        *(_spread(row, mean, std) for mean, std in accuracies),
        f"{row.validation.h:.1f}",
        str(sum(row.trials.values())),
    ]


def _spread(row: Chosen, mean: float, std: float) -> str:
    # One replica has no spread.
    return f"{mean:.1f} ± {std:.1f}" if len(row.replicas) > 1 else f"{mean:.1f}"


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
