"""The ablation of a row: each variant against the chosen configurations, replica by replica.

Variants and chosen configurations are on the same test folds, seeds and shots. Nothing is chosen among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pipeline.data.stored_spec import stored_spec
from pipeline.reports.collect import differences_of, tabulate
from pipeline.reports.document import Section, Sheet
from pipeline.reports.find_row import pick_row
from pipeline.reports.paired import interval, paired_replicas
from pipeline.reports.records import RowRecords, SweepRecords, read_records
from pipeline.reports.rows import PAPER_WARNING, method_title
from pipeline.reports.tables import TITLES, p_value, signed
from pipeline.search.selection import compose
from pipeline.spec import VARIANTS, Ablation, ablation_name
from pipeline.spec.known_sweep import known_sweep
from pipeline.store import Lease, TrialStore, root_option_of
from pipeline.text import has_sept
from sept_core.errors import InputError
from sept_core.protocol_facts import Protocol, protocol_of
from sept_core.results import TrialResult

__all__ = [
    "AblationTable",
    "VariantRow",
    "ablation_cells",
    "ablation_notes",
    "ablation_row",
    "ablation_sections",
    "read_ablations",
    "without_sept",
]

CHOSEN = "chosen (SEPT)"
_HEADLINES = {"h": "H", "accuracy": "accuracy", "targets": "the mean of the targets"}


@dataclass(frozen=True)
class VariantRow:
    """One variant, percent and points on test clips, over the test folds for which it has finished.

    Attributes:
        state: ``finished`` if all of its trainings have; ``failed`` if none has and one failed.
        folds: Test folds.
        replicas: Replicas, all paired with one of the chosen configuration.
        validation: Mean H of held-out clips (cross-dataset: accuracy on the source).
        test: Means: base, new and H; cross-dataset: source and targets.
        difference: Headline (H, or the mean of the targets) minus that of the chosen configuration; None for itself.
        interval: Its 95 % confidence interval, of sign flips over replicas; None with fewer than six replicas.
        p: Two-sided p value of sign flips over replicas.
    """

    name: str
    state: Literal["finished", "unfinished", "failed"]
    folds: tuple[str, ...] = ()
    replicas: int = 0
    validation: float | None = None
    test: Mapping[str, float] | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None


@dataclass(frozen=True)
class AblationTable:
    """The ablation of one row.

    Attributes:
        name: Name of the sweep that has trained the variants.
        row: Key of the row.
        parts: Names of the shown accuracies; the last one is compared.
        rows: The chosen configurations first.
        remarks: By variant, as in `Ablation`.
        paper: Whether configurations were chosen on test clips.
    """

    name: str
    row: str
    dataset: str
    method: str
    parts: tuple[str, ...]
    rows: tuple[VariantRow, ...]
    remarks: Mapping[str, str]
    paper: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def ablation_row(store: TrialStore, sweep: str, wanted: str) -> RowRecords:
    """The row that a person wants to ablate.

    Args:
        store: The trial store.
        sweep: Name of the sweep.
        wanted: The row, as in `pick_row`.

    Raises:
        InputError: No such sweep or row, the row is without SEPT, or the sweep is running.
        SeptError: No trial of the sweep has finished yet.
    """
    known_sweep(store, sweep, wanted)
    lease = Lease(store.files, sweep)
    holder = lease.holder()
    if holder is not None and lease.alive(holder):
        raise InputError(
            f"sweep '{sweep}' is being run by process {holder.pid} on {holder.host}: what it chooses may still change",
            where=store.files.address(f"sweeps/{sweep}"),
            fix=f"wait for its end, or stop it: sept sweep stop {sweep}{root_option_of(store.files)}",
        )
    records = read_records(store, sweep)
    key = pick_row(tabulate(records), wanted).study
    if not has_sept(key):
        known = [row.key for row in records.rows if has_sept(row.key) and row.picks]
        fix = f"give a row with SEPT: {', '.join(known)}" if known else "the sweep has no finished trial with SEPT"
        raise InputError(f"'{key}' is without SEPT, of which an ablation removes parts", fix=fix)
    return next(row for row in records.rows if row.key == key)


def read_ablations(store: TrialStore, records: SweepRecords, rows: Iterable[RowRecords]) -> tuple[AblationTable, ...]:
    """The ablations of these rows of a sweep, of those that have one of the trials that are chosen now."""
    named = [
        (ablation_name(records.name, row.key, {pick.fold: pick.proposal.config for pick in row.picks}), row)
        for row in rows
        if has_sept(row.key) and row.picks
    ]
    known = set(store.sweeps()) if named else set()
    return tuple(_table(store, name, row) for name, row in named if name in known)


def _table(store: TrialStore, name: str, row: RowRecords) -> AblationTable:
    ablation = stored_spec(store, name).ablation
    assert ablation is not None  # its name is that of an ablation
    config = row.picks[0].proposal.config
    protocol = protocol_of(config.protocol)
    parts = protocol.compared
    chosen = {pick.fold: pick.result for pick in row.picks}
    targets = sorted(config.targets)
    rows = [_variant(CHOSEN, chosen, chosen, len(chosen), protocol, targets)]
    rows += [
        _variant(variant, chosen, results, count, protocol, targets)
        for variant, results, count in _results(store, name, ablation)
    ]
    return AblationTable(
        name=name,
        row=row.key,
        dataset=config.dataset,
        method=config.method,
        parts=parts,
        rows=tuple(rows),
        remarks=ablation.remarks,
        paper=config.selection == "paper",
    )


def _results(store: TrialStore, name: str, ablation: Ablation) -> Iterator[tuple[str, dict[str, TrialResult], int]]:
    """Each variant with its ended results by test fold, and its number of test folds."""
    proposals = {
        (proposal.config.method, fold, repr(sorted(proposal.params.items()))): proposal
        for proposal in store.proposals(name)
        for fold in proposal.config.folds
    }
    wanted = {
        (variant, fold): proposals.get((one.method, fold, repr(sorted(one.hyper.items()))))
        for one in ablation.trials
        for fold, variant in one.folds.items()
    }
    found = store.read_results(
        dict.fromkeys((proposal.study, proposal.signature) for proposal in wanted.values() if proposal is not None)
    )
    for variant in VARIANTS:
        of = {fold: proposal for (other, fold), proposal in wanted.items() if other == variant}
        ended = {
            fold: result
            for fold, proposal in of.items()
            if proposal is not None and (result := found.get((proposal.study, proposal.signature))) is not None
        }
        if of:
            yield variant, ended, len(of)


def _variant(
    name: str,
    chosen: Mapping[str, TrialResult],
    results: Mapping[str, TrialResult],
    count: int,
    protocol: Protocol,
    targets: Sequence[str],
) -> VariantRow:
    """One row, from the finished results by test fold."""
    finished = {fold: results[fold] for fold in chosen if fold in results and results[fold].state == "finished"}
    if not finished:
        return VariantRow(name, "failed" if results else "unfinished")
    made, before = compose(finished), compose({fold: chosen[fold] for fold in finished})
    failed = any(result.state == "failed" for result in results.values())
    row = VariantRow(
        name,
        "finished" if len(finished) == count else "failed" if failed else "unfinished",
        tuple(finished),
        len(made.replicas),
        made.validation[protocol.objective],
        {part: made.test[part] for part in protocol.compared},
    )
    if name == CHOSEN:
        return row
    headline = protocol.headline
    _, values = differences_of((before.replicas, before.tested), (made.replicas, made.tested), (headline,), targets)
    pairs = paired_replicas(before.replicas, made.replicas)
    moved = [other[f"test_{headline}"] - one[f"test_{headline}"] for one, other in pairs]
    p = values["tests"][headline].p
    return replace(row, difference=values[headline], interval=interval(moved), p=p)


def ablation_cells(table: AblationTable) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The columns and rows of a table, as text; at most 100 characters wide on a terminal."""
    # What is compared comes first, where a phone shows it without scrolling.
    *others, headline = table.parts
    compared = (TITLES.get(headline, headline), "change", "95 % interval", "p")
    rest = (*(TITLES.get(part, part) for part in others), "val H" if headline == "h" else "val")
    columns = ("variant", *compared, *rest)
    cells = []
    for row in table.rows:
        if row.test is None:
            cells.append((row.name, row.state, *[""] * (len(columns) - 1)))
            continue
        ends = f"{signed(row.interval[0])} to {signed(row.interval[1])}" if row.interval else "-"
        moved = ("", "", "") if row.difference is None else (signed(row.difference), ends, p_value(row.p or 0.0))
        part = "" if row.state == "finished" else f", {row.state}"
        cells.append(
            (
                row.name,
                f"{row.test[headline]:.1f}",
                *moved,
                *(f"{row.test[name]:.1f}" for name in others),
                f"{row.validation:.1f}",
                f"{len(row.folds)} / {row.replicas}{part}",
            )
        )
    return (*columns, "folds / replicas"), cells


def ablation_notes(tables: Sequence[AblationTable]) -> list[str]:
    """What the variants are, and how to read the differences."""
    headline = _HEADLINES[tables[0].parts[-1]]
    change = (
        f"change: variant minus chosen in {headline} on test clips, replica by replica, on the same folds, seeds and "
        "shots. Interval and p: sign flips over replicas (shots and seeds on these clips), not corrected for the "
        "number of variants; '-': fewer than 6 replicas have no 95 % interval."
    )
    fair = (
        "The chosen configurations are the best of their search on validation clips, and their variants are not: val "
        "favours the chosen ones, test clips do not. SEPT off keeps what was chosen together with SEPT, such as lr; "
        "the gain of SEPT compares with a baseline that had a search of its own."
    )
    meanings = (
        "intra only: without the push from other classes (margin_inter 0). inter only: without the pull to own "
        "neighbours (margin_intra 1e6). no margins: pulls to distance 0 and pushes without limit. constant margins: "
        "one margin for all own and one for all other neighbours, the means of the hand-crafted ones. N: neighbours "
        "per class. T: templates behind a margin."
    )
    return [change, fair, meanings]


def without_sept(table: AblationTable) -> list[str]:
    """What switching SEPT off changes, in one sentence; none if it has not been trained."""
    off = next((row for row in table.rows if row.name == VARIANTS[0] and row.difference is not None), None)
    if off is None or off.difference is None:
        return []
    headline = _HEADLINES[table.parts[-1]]
    ends = f", 95 % interval {signed(off.interval[0])} to {signed(off.interval[1])}" if off.interval else ""
    where = f"{table.dataset}, {method_title(table.method)}"
    return [f"{where}: switching SEPT off changes {headline} by {signed(off.difference)} points{ends}."]


def ablation_sections(tables: Sequence[AblationTable]) -> list[Section]:
    """The section of a report; empty without an ablation."""
    if not tables:
        return []
    sheets = []
    remarks = []
    for table in tables:
        columns, cells = ablation_cells(table)
        title = f"{table.dataset}, {method_title(table.method)}"
        sheets.append(Sheet(columns, tuple(cells), frozenset({"variant"}), title=title, grouped=False))
        remarks += [f"{title}, {name}: {remark}." for name, remark in table.remarks.items()]
    lead = "The chosen configuration of each test fold with one thing changed, and trained again for this fold."
    lead += "".join(f" {line}" for table in tables for line in without_sept(table))
    if any(table.paper for table in tables):
        lead += f" {PAPER_WARNING}."
    return [
        Section(
            "ablation",
            "Was it the method? Variants of the chosen configurations, %",
            lead=(lead,),
            sheets=tuple(sheets),
            notes=(*ablation_notes(tables), *remarks),
        )
    ]
