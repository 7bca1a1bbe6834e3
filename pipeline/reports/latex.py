"""Writes the headline table as LaTeX for a paper; needs the package booktabs only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.reports.accuracy_sheets import over_sources
from pipeline.reports.activity import IDLE, hardly_acted
from pipeline.reports.conclusion import claim_scope, shown_gains
from pipeline.reports.matrix import average_title, averages, methods_of
from pipeline.reports.missing_results import partial_lines
from pipeline.reports.rows import Chosen, method_title
from pipeline.reports.sweep_table import AnyGain, SweepTable
from pipeline.reports.tables import MEAN, TITLES, best_rows, bold_means, shots_of, signed
from pipeline.text import with_sept

__all__ = ["to_latex"]

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}
_SPECIAL = re.compile("|".join(map(re.escape, _ESCAPES)))


def to_latex(table: SweepTable) -> str:
    """A ``table`` environment; the best method of each dataset is bold, as the caption explains."""
    columns, rows = _few_shot(table) if table.few_shot else _by_dataset(table)
    words = 1 if table.few_shot else 2
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{_caption(table)}}}",
        f"  \\label{{tab:{re.sub(r'[^A-Za-z0-9-]', '-', table.sweep)}}}",
        f"  \\begin{{tabular}}{{{'l' * words}{'r' * (len(columns) - words)}}}",
        "    \\toprule",
        f"    {' & '.join(columns)} \\\\",
        *rows,
    ]
    return "\n".join([*lines, "    \\bottomrule", "  \\end{tabular}", "\\end{table}"]) + "\n"


def _few_shot(table: SweepTable) -> tuple[Sequence[str], list[str]]:
    """Columns and rows, methods below each other and datasets side by side."""
    of = {(row.dataset, row.method): row for row in table.few_shot}
    gains = {(gain.dataset, with_sept(gain.baseline)): gain for gain in table.few_shot_gains}
    best, means, claimed = best_rows(table), averages(table), _claimed(table)
    lines = ["    \\midrule"]
    for method in methods_of(table):
        cells = [escape(method_title(method))]
        for dataset in table.datasets:
            row = of.get((dataset, method))
            if row is None:
                cells.append("--")
                continue
            gain = gains.get((dataset, method))
            marks = _marks(gain, claimed) if gain else ""
            cell = _spread(row, row.test.accuracy, row.test.std)
            cell = f"\\textbf{{{cell}}}" if row.study in best else cell
            cells.append(f"{cell}$^{{{marks}}}$" if marks else cell)
        if means:
            mean = f"{means[method]:.1f}"
            cells.append(f"\\textbf{{{mean}}}" if means[method] == max(means.values()) else mean)
        lines.append(f"    {' & '.join(cells)} \\\\")
    average = [average_title(table).capitalize()] if means else []
    return ["Method", *map(escape, table.datasets), *average], lines


def _by_dataset(table: SweepTable) -> tuple[Sequence[str], list[str]]:
    """Columns and rows, a block for each dataset or source."""
    first, columns, rows = _transfer(table) if table.transfers else _accuracy(table)
    best, lines = best_rows(table), list[str]()
    dataset = ""
    for row, cells in rows:
        if row.dataset != dataset:
            lines.append("    \\midrule")
        name = escape(row.dataset) if row.dataset != dataset else ""
        shown = [escape(method_title(row.method)), *cells]
        if row.study in best:
            headline = {"Method", "H", MEAN.capitalize()}
            shown = [
                f"\\textbf{{{cell}}}" if column in headline else cell
                for column, cell in zip(["Method", *columns], shown, strict=True)
            ]
        lines.append(f"    {' & '.join([name, *shown])} \\\\")
        dataset = row.dataset
    return [first, "Method", *columns], lines + (_over_sources(table) if table.transfers else [])


def _over_sources(table: SweepTable) -> list[str]:
    """A block with the averages over sources, if there are several."""
    lines = []
    for index, (name, method, *means) in enumerate(over_sources(table)):
        lines += [] if index else ["    \\midrule"]
        cells = [
            "" if index else escape(name.capitalize()),
            escape(method),
            *(mean.replace("-", "--") for mean in means),
        ]
        lines.append(f"    {' & '.join([*cells, *([''] if table.transfer_gains else [])])} \\\\")
    return lines


def escape(words: str) -> str:
    """Text without a special meaning in LaTeX."""
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], words)


_Lines = list[tuple[Chosen, list[str]]]


def _accuracy(table: SweepTable) -> tuple[str, Sequence[str], _Lines]:
    gains, claimed, among_all = table.gain_of, _claimed(table), _among_all(table)
    rows: _Lines = []
    for row in table.rows:
        test, gain = row.test, gains.get((row.dataset, row.method))
        cells = [_spread(row, *pair) for pair in ((test.base, test.base_std), (test.new, test.new_std))]
        cells.append(_spread(row, test.h, test.h_std))
        if gains:
            cells.append(_moved(gain, gain.h, claimed) if gain else "")
        if among_all:
            cells.append("--" if test.all is None else _spread(row, test.all, test.all_std or 0.0))
        rows.append((row, cells))
    columns = ("Base", "New", "H", *(("$\\Delta$H",) if gains else ()), *(("All",) if among_all else ()))
    return "Dataset", columns, rows


def _among_all(table: SweepTable) -> bool:
    return any(row.test.all is not None for row in table.rows)


def _transfer(table: SweepTable) -> tuple[str, Sequence[str], _Lines]:
    targets = sorted({target for row in table.transfers for target in row.targets})
    gains, claimed = {(gain.dataset, with_sept(gain.baseline)): gain for gain in table.transfer_gains}, _claimed(table)
    rows: _Lines = []
    for row in table.transfers:
        scores = [row.targets.get(target) for target in targets]
        cells = [_spread(row, row.source.accuracy, row.source.std)]
        cells += ["--" if score is None else _spread(row, score.accuracy, score.std) for score in scores]
        cells.append(_spread(row, row.mean, row.mean_std))
        if gains:
            gain = gains.get((row.dataset, row.method))
            cells.append(_moved(gain, gain.targets, claimed) if gain else "")
        rows.append((row, cells))
    columns = ("On source", *map(escape, targets), MEAN.capitalize(), *(("$\\Delta$mean",) if gains else ()))
    return "Source", columns, rows


def _claimed(table: SweepTable) -> set[tuple[str, str]]:
    """Dataset and baseline of each gain that is claimed."""
    gains = table.all_gains
    return {(gains[index].dataset, gains[index].baseline) for index in shown_gains(table)}


def _moved(gain: AnyGain, points: float, claimed: set[tuple[str, str]]) -> str:
    marks = _marks(gain, claimed)
    return f"${signed(points)}{f'^{{{marks}}}' if marks else ''}$"


def _marks(gain: AnyGain, claimed: set[tuple[str, str]]) -> str:
    marks = "*" if (gain.dataset, gain.baseline) in claimed else ""
    return marks + ("\\dagger" if hardly_acted(gain.activities) else "")


def _spread(row: Chosen, mean: float, std: float) -> str:
    # One replica has no spread.
    return f"{mean:.1f} $\\pm$ {std:.1f}" if len(row.replicas) > 1 else f"{mean:.1f}"


def _caption(table: SweepTable) -> str:
    encoders = ", ".join(dict.fromkeys(row.encoder for row in table.studies))
    shots = shots_of(table.studies)
    words = f"Accuracy on test clips in percent, mean and standard deviation over replicas ({encoders}, {shots} shots"
    words += f", {', '.join(dict.fromkeys(row.protocol for row in table.studies))})."
    if table.all_gains:
        if table.few_shot:
            minus = "*: SEPT minus its baseline, replica by replica, is"
        else:
            name = f"the {MEAN}" if table.transfers else TITLES[table.headline]
            words += f" Difference in {name}: SEPT minus its baseline, replica by replica."
            minus = "*:"
        words += f" {minus} beyond the variation of {claim_scope(table)} (5 %, Holm)." if shown_gains(table) else ""
    if _among_all(table):
        words += " All: base and new clips among all names."
    words += f" {bold_means(table)}"
    if table.warning:
        words += f" {table.warning}."
    words += "".join(f" {line}" for line in partial_lines(table))
    words += "".join(f" Data: {line}." for line in table.data_warnings)
    idle = any(hardly_acted(gain.activities) for gain in table.all_gains)
    return escape(words) + (f" $^{{\\dagger}}$: {escape(f'SEPT hardly acted ({IDLE}).')}" if idle else "")
