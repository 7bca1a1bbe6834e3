"""The sections about the axes and variants of a sweep: curves along each axis, and tables of variants."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.drawing import Legend
from pipeline.reports.collect import differences_of
from pipeline.reports.document import Figure, Section, Sheet
from pipeline.reports.figures.axis import Line, axis_figure
from pipeline.reports.figures.marks import trial_legend
from pipeline.reports.missing_results import is_whole
from pipeline.reports.rows import Chosen, method_title
from pipeline.reports.sweep_table import SweepTable
from pipeline.reports.tables import p_value, signed
from pipeline.spec.cells import VARIANT
from sept_core.protocol_facts import protocol_of

__all__ = ["axis_sections", "axis_sheets"]

_AVERAGE = "average"
_BARS = (
    "Bars: standard deviation over replicas (test folds x seeds). An average is over the datasets, for methods that "
    "have all test folds on each; it has no bar."
)
_PARTS = {"h": "H", "accuracy": "accuracy", "targets": "mean of targets"}


@dataclass(frozen=True)
class _Placed:
    """A row and its cell: the label on each axis that its method depends on."""

    row: Chosen
    method: str
    labels: Mapping[str, str]

    @classmethod
    def of(cls, row: Chosen) -> _Placed:
        method, _, cell = row.method.partition("@")
        return cls(row, method, dict(one.split("=", 1) for one in cell.split(",") if one))

    def without(self, axis: str) -> str:
        """The method with the rest of its cell."""
        cell = ",".join(f"{name}={label}" for name, label in self.labels.items() if name != axis)
        return f"{self.method}@{cell}" if cell else self.method


def axis_sections(table: SweepTable) -> list[Section]:
    """A section for each axis and one for the variants; none for a sweep without."""
    placed = [_Placed.of(row) for row in table.studies]
    sections = [
        *(_axis_section(table, axis, labels, placed) for axis, labels in table.axes.items()),
        *([_variant_section(table, table.variants, placed)] if table.variants else []),
    ]
    # Nothing of an axis or variant may have finished yet.
    return [section for section in sections if section.sheets[0].rows]


def axis_sheets(table: SweepTable) -> list[Sheet]:
    """The tables of these sections, for a terminal."""
    return [sheet for section in axis_sections(table) for sheet in section.sheets]


def _axis_section(table: SweepTable, axis: str, labels: tuple[str, ...], placed: Sequence[_Placed]) -> Section:
    *others, first = protocol_of(table.studies[0].protocol).compared
    parts = (first, *others)
    lines = {part: _lines(table, axis, labels, placed, part) for part in parts}
    headline = lines[parts[0]]
    figures = [
        Figure(axis_figure(of_panel, labels, axis, _PARTS.get(part, part), title))
        for dataset in headline
        for panels in zip(*(_panels(lines[part][dataset], dataset).items() for part in parts), strict=True)
        for part, (title, of_panel) in zip(parts, panels, strict=True)
    ]
    rows = [
        (dataset, method_title(line.method), *("" if value is None else f"{value:.1f}" for value in line.values))
        for dataset, of_dataset in headline.items()
        for line in of_dataset
    ]
    columns = ("dataset", "method", *labels)
    title = f"{_titled(parts[0])} on test clips, %, by {axis}"
    lead = (
        f"Each value of {axis} has a search of its own, with the same budget unless the sweep sets others, and each "
        "point is the result of the configurations that it chose. A line without marks is a method that does not "
        "depend on it: compare with it, since SEPT's gains are tested only where its baseline has the same cell."
    )
    return Section(
        f"axis-{axis}",
        f"Along {axis}",
        lead=(lead, *([table.warning] if table.warning else [])),
        sheets=(Sheet(columns, tuple(rows), frozenset({"dataset", "method"}), title=title),),
        legend=_legend(line.method.partition("@")[0] for of_dataset in headline.values() for line in of_dataset),
        figures=tuple(figures),
        picture=f"axis-{axis}.svg",
        notes=(_BARS,),
    )


def _titled(part: str) -> str:
    return _PARTS[part][0].upper() + _PARTS[part][1:]


def _legend(methods: Iterable[str]) -> tuple[Legend, ...]:
    return tuple(trial_legend(dict.fromkeys(methods)))


def _panels(lines: Sequence[Line], dataset: str) -> dict[str, list[Line]]:
    """The lines of a dataset by the title of their panel: those at one place on the other axes, and those that depend
    on none."""
    cells = dict.fromkeys(line.method.partition("@")[2] for line in lines)
    plain = [line for line in lines if "@" not in line.method]
    apart = [cell for cell in cells if cell] or [""]
    return {
        dataset + "".join(f", {one.replace('=', ' ', 1)}" for one in cell.split(",") if one): [
            *(plain if cell else []),
            *(line for line in lines if line.method.partition("@")[2] == cell),
        ]
        for cell in apart
    }


def _lines(
    table: SweepTable, axis: str, labels: tuple[str, ...], placed: Sequence[_Placed], part: str
) -> dict[str, list[Line]]:
    """By dataset, and for their average, a line for each method."""
    found: dict[str, list[Line]] = {}
    whole: set[tuple[str, str]] = set()
    for dataset in table.datasets:
        of: dict[str, dict[str | None, Chosen]] = {}
        for one in placed:
            if one.row.dataset == dataset and VARIANT not in one.labels:
                of.setdefault(one.without(axis), {})[one.labels.get(axis)] = one.row
        lines = [_line(method, rows, labels, part) for method, rows in of.items()]
        if lines:
            found[dataset] = lines
        whole |= {
            (dataset, method) for method, rows in of.items() if all(is_whole(table, row) for row in rows.values())
        }
    methods = [
        {line.method for line in lines if None not in line.values and (dataset, line.method) in whole}
        for dataset, lines in found.items()
    ]
    common = [
        line.method for lines in [*found.values()][:1] for line in lines if all(line.method in own for own in methods)
    ]
    if len(found) > 1 and common:
        every = [{line.method: line for line in lines} for lines in found.values()]
        found[_AVERAGE] = [
            Line(
                method,
                tuple(
                    statistics.fmean(lines[method].values[at] or 0.0 for lines in every) for at in range(len(labels))
                ),
                (0.0,) * len(labels),
                every[0][method].depends,
            )
            for method in common
        ]
    return found


def _line(method: str, rows: Mapping[str | None, Chosen], labels: tuple[str, ...], part: str) -> Line:
    depends = None not in rows
    chosen = [rows.get(label if depends else None) for label in labels]
    measured = [None if row is None else [float(one[f"test_{part}"]) for one in row.replicas] for row in chosen]
    return Line(
        method,
        tuple(None if values is None else statistics.fmean(values) for values in measured),
        tuple(0.0 if values is None or len(values) < 2 else statistics.stdev(values) for values in measured),
        depends,
    )


def _variant_section(table: SweepTable, variants: tuple[str, ...], placed: Sequence[_Placed]) -> Section:
    part = table.headline
    rows: list[tuple[str, ...]] = []
    changes: list[tuple[str, ...]] = []
    of = {(one.without(VARIANT), one.labels.get(VARIANT, ""), one.row.dataset): one.row for one in placed}
    methods = [method for method, variant, _ in of if variant]
    for method in dict.fromkeys(methods):
        for variant in ("", *variants):
            own = [of.get((method, variant, dataset)) for dataset in table.datasets]
            if not any(own):
                continue
            name = variant or "as it is"
            values = [None if row is None else row.headline for row in own]
            known = [row.headline for row in own if row is not None and is_whole(table, row)]
            mean = [f"{statistics.fmean(known):.1f}"] if len(known) == len(values) > 1 else [""] * (len(values) > 1)
            cells = ("" if value is None else f"{value:.1f}" for value in values)
            rows.append((method_title(method), name, *cells, *mean))
            if variant:
                plain = [of.get((method, "", dataset)) for dataset in table.datasets]
                changes.append((method_title(method), name, *map(_change, plain, own, [part] * len(own))))
    average = (_AVERAGE,) * (len(table.datasets) > 1)
    words = frozenset({"method", "variant"})
    title = f"{_titled(part)} on test clips, %"
    lead = (
        "Each variant has a search of its own, with the same budget unless the sweep sets others, in which some "
        "hyper-parameters have a fixed value; each number is the result of the configurations that it chose."
    )
    note = (
        "Difference: the variant minus the method as it is, replica by replica: mean ± standard deviation, and p of a "
        "paired test over replicas (sign flips), not corrected for several comparisons."
    )
    return Section(
        "variants",
        "Variants",
        lead=(lead, *([table.warning] if table.warning else [])),
        sheets=(
            Sheet(("method", "variant", *table.datasets, *average), tuple(rows), words, title=title),
            Sheet(("method", "variant", *table.datasets), tuple(changes), words, title="Difference, points"),
        ),
        notes=(note,),
    )


def _change(plain: Chosen | None, own: Chosen | None, part: str) -> str:
    """Mean, spread and p of the paired differences of two rows."""
    if plain is None or own is None:
        return ""
    pairs, values = differences_of((plain.replicas, plain.tested), (own.replicas, own.tested), (part,))
    if not pairs:
        return ""
    return f"{signed(values[part])} ± {values[f'{part}_std']:.1f} (p {p_value(values['tests'][part].p)})"
