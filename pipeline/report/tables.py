"""A sweep's table for a terminal (rich) and for a file (Markdown). No number in it is typed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.report.collect import Row, SweepTable, method_title
from pipeline.sweeps import short

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["chosen_lines", "gain_lines", "legend", "render_table", "to_markdown"]

_COLUMNS = ("dataset", "method", "base", "new", "H", "val H", "trials")

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

    title = f"{table.sweep}: accuracy on test clips, %"
    shown = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", show_edge=False, pad_edge=False)
    for name in _COLUMNS:
        shown.add_column(name, justify="left" if name in ("dataset", "method") else "right", no_wrap=True)
    best = _best_h(table)
    for dataset in table.datasets:
        rows = [row for row in table.rows if row.dataset == dataset]
        for row in rows:
            first = dataset if row is rows[0] else ""
            style = "bold" if row.signature in best else ""
            shown.add_row(first, *_cells(row), style=style, end_section=row is rows[-1])
    return shown


def to_markdown(table: SweepTable) -> str:
    """The table, what was chosen, the gains and what the columns mean, as Markdown."""
    best = _best_h(table)
    lines = [f"# {table.sweep}", "", _line(_COLUMNS), _line(["---"] * 2 + ["---:"] * (len(_COLUMNS) - 2))]
    for row in table.rows:
        cells = [row.dataset, *_cells(row)]
        lines.append(_line([f"**{cell}**" for cell in cells] if row.signature in best else cells))
    lines += ["", *legend(table), "", "## Chosen on held-out clips", ""]
    lines += [f"- {line}" for line in chosen_lines(table)]
    if table.gains:
        lines += ["", "## Gain of SEPT over its baseline, points on test clips", ""]
        lines += [f"- {line}" for line in gain_lines(table)]
    if table.without:
        lines += ["", f"No finished trial yet: {', '.join(table.without)}"]
    return "\n".join(lines) + "\n"


def legend(table: SweepTable) -> list[str]:
    """What the numbers are, from the trials themselves."""
    accuracy = "base, new, H: mean ± standard deviation over replicas (test folds x seeds); "
    lines = [accuracy + "H is the mean of each replica's harmonic mean of base and new."]
    lines += [_SELECTIONS[selection] for selection in dict.fromkeys(row.selection for row in table.rows)]
    for dataset in table.datasets:
        row = next(row for row in table.rows if row.dataset == dataset)
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
        for row in table.rows
        if row.params
    ]


def gain_lines(table: SweepTable) -> list[str]:
    """What SEPT changes, as measured, a line per dataset and baseline."""
    return [
        f"{gain.dataset}, {method_title(gain.baseline)} + SEPT against {method_title(gain.baseline)}: "
        f"base {gain.base:+.1f} ± {gain.base_std:.1f}, new {gain.new:+.1f} ± {gain.new_std:.1f}, "
        f"H {gain.h:+.1f} ± {gain.h_std:.1f} ({gain.replicas} paired replicas)"
        for gain in table.gains
    ]


def _best_h(table: SweepTable) -> set[str]:
    """Signatures of the rows with the highest H of their dataset."""
    return {
        max((row for row in table.rows if row.dataset == dataset), key=lambda row: row.test.h).signature
        for dataset in table.datasets
    }


def _cells(row: Row) -> list[str]:
    test = row.test
    # One replica has no spread.
    spread = len(row.replicas) > 1
    accuracies = ((test.base, test.base_std), (test.new, test.new_std), (test.h, test.h_std))
    return [
        method_title(row.method),
        *(f"{mean:.1f} ± {std:.1f}" if spread else f"{mean:.1f}" for mean, std in accuracies),
        f"{row.validation.h:.1f}",
        str(sum(row.trials.values())),
    ]


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
