"""The result of a sweep from the trial store: for each test fold, the chosen trial on test clips."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pipeline.reports.activity import Activity
from pipeline.reports.claims import clips_of
from pipeline.reports.paired import holm, paired_replicas, paired_test
from pipeline.reports.records import Pick, RowRecords, StudyRecords, SweepRecords, read_records
from pipeline.reports.rows import (
    OVER_ALL_FOLDS,
    Accuracy,
    Chosen,
    FewShotRow,
    FoldChoice,
    ForUse,
    Matched,
    Origin,
    Row,
    Score,
    TransferRow,
    merged,
)
from pipeline.reports.sweep_table import FewShotGain, Gain, SweepTable, TransferGain
from pipeline.reports.titles import method_place
from pipeline.search.selection import Composed, compose
from pipeline.store import Proposal, TrialStore
from pipeline.text import has_sept, with_sept
from sept_core.correct_counts import Tested
from sept_core.errors import SeptError
from sept_core.results import TrialResult

__all__ = ["collect", "differences_of", "paired_gains", "tabulate"]

_C = TypeVar("_C", bound=Chosen)
_G = TypeVar("_G", Gain, FewShotGain, TransferGain)
_T = TypeVar("_T")


def collect(store: TrialStore, sweep: str) -> SweepTable:
    """Read the trials and decisions of a sweep, and the results of the chosen trials.

    Raises:
        InputError: The store has no sweep of this name.
        SeptError: No trial of it has finished yet.
    """
    return tabulate(read_records(store, sweep))


def tabulate(records: SweepRecords) -> SweepTable:
    """The result of a sweep that has been read.

    Raises:
        SeptError: No trial of it has finished yet.
    """
    every = sorted((_ROWS[one.picks[0].proposal.config.protocol](one) for one in records.rows if one.picks), key=_place)
    finished = {one.key for one in records.studies if any(two.state == "finished" for two in one.decisions.values())}
    # With strict a row shows the folds that have begun, as if there were no others.
    apart = {study.key for study in records.spec.studies() if study.fold is not None}
    lost = tuple(sorted(study.key for study in records.studies if study.lost))
    if not every and lost:
        raise SeptError(f"results of {', '.join(lost)} are gone; launch the sweep again, which trains them again")
    if not every:
        raise SeptError(f"no trial of sweep '{records.name}' has finished yet; there is nothing to report")
    rows = [row for row in every if isinstance(row, Row)]
    few_shot = [row for row in every if isinstance(row, FewShotRow)]
    transfers = [row for row in every if isinstance(row, TransferRow)]
    return SweepTable(
        sweep=records.name,
        rows=tuple(rows),
        gains=paired_gains(rows, Gain),
        without=tuple(sorted(apart.union(study.key for study in records.studies) - finished)),
        transfers=tuple(transfers),
        transfer_gains=paired_gains(transfers, TransferGain),
        for_use=tuple(sorted(_for_use(records), key=_place)),
        lost=lost,
        few_shot=tuple(few_shot),
        few_shot_gains=paired_gains(few_shot, FewShotGain),
        axes={axis: tuple(values) for axis, values in records.spec.axes.items()},
        variants=tuple(records.spec.variants),
    )


def _place(row: Chosen | ForUse) -> tuple[str, str, bool, str, bool]:
    """Dataset by dataset, zero-shot first, then each baseline followed by its SEPT twin."""
    return row.dataset, row.encoder, *method_place(row.method)


def _row(records: RowRecords) -> Row:
    made = compose({pick.fold: pick.result for pick in records.picks})
    validation, test = Accuracy.of(made.validation), Accuracy.of(made.test)
    return Row(**_chosen(records, made), validation=validation, test=test)


def _few_shot(records: RowRecords) -> FewShotRow:
    made = compose({pick.fold: pick.result for pick in records.picks})
    test = Score.of(made.test, "accuracy")
    return FewShotRow(**_chosen(records, made), validation=made.validation["accuracy"], test=test)


def _transfer(records: RowRecords) -> TransferRow:
    made = compose({pick.fold: pick.result for pick in records.picks})
    targets = sorted(records.picks[0].proposal.config.targets)
    return TransferRow(
        **_chosen(records, made),
        validation=made.validation["source"],
        source=Score.of(made.test, "source"),
        targets={target: Score.of(made.test, target) for target in targets},
        mean=made.test["targets"],
        mean_std=made.test["targets_std"],
    )


_ROWS: dict[str, Callable[[RowRecords], Chosen]] = {
    "base-to-new": _row,
    "few-shot": _few_shot,
    "cross-dataset": _transfer,
}


def _chosen(records: RowRecords, made: Composed) -> dict[str, Any]:
    config = records.picks[0].proposal.config
    results = [pick.result for pick in records.picks]
    states = [decision.state for study in records.studies for decision in study.decisions.values()]
    return {
        "study": records.key,
        "dataset": config.dataset,
        "encoder": config.encoder,
        "protocol": config.protocol,
        "selection": config.selection,
        "method": records.method,
        "choices": _choices(records.picks),
        "shots": config.shots,
        "folds": tuple(pick.fold for pick in records.picks),
        "seeds": config.seeds,
        "replicas": made.replicas,
        "trials": {state: states.count(state) for state in ("finished", "pruned", "failed")},
        "per_fold": _per_fold(records),
        "ended": records.ended,
        "matched": _matched(records),
        "origins": tuple(_distinct(Origin(result.versions, result.machine) for result in results)),
        "warnings": tuple(_distinct(line for result in results for line in result.warnings)),
        "tested": made.tested,
    }


def _per_fold(records: RowRecords) -> dict[str, int]:
    """Number of ended trials by test fold, if each fold has a study of its own."""
    if all(study.key == records.key for study in records.studies):
        return {}
    folds = {
        proposal.study: proposal.config.folds for study in records.studies for proposal in study.proposals.values()
    }
    return {fold: len(study.decisions) for study in records.studies for fold in folds.get(study.key, ())}


def _matched(records: RowRecords) -> Matched | None:
    """The row chosen among fewer trials, if its twin has fewer."""
    if records.compared == records.ended:
        return None
    if not records.matched:
        return Matched(records.compared, (), (), {})
    made = compose({pick.fold: pick.result for pick in records.matched})
    return Matched(records.compared, _choices(records.matched), made.replicas, made.tested)


def _choices(picks: Sequence[Pick]) -> tuple[FoldChoice, ...]:
    return tuple(
        FoldChoice(
            fold=pick.fold,
            study=pick.proposal.study,
            number=pick.proposal.number,
            signature=pick.proposal.signature,
            params=dict(sorted(pick.proposal.params.items())),
            activity=Activity.of(pick.result.curve),
        )
        for pick in picks
    )


def _for_use(records: SweepRecords) -> Iterator[ForUse]:
    """The trial of every study that is best over all of its folds."""
    for row in records.rows:
        for study in row.studies:
            if study.best is not None and study.result is not None:
                yield _best(row.key, study, study.proposals[study.best.number], study.result)


def _best(row: str, study: StudyRecords, proposal: Proposal, result: TrialResult) -> ForUse:
    config = proposal.config
    several = len(config.folds) > 1 and config.selection != "paper" and config.epochs
    return ForUse(
        study=study.key,
        row=row,
        dataset=config.dataset,
        encoder=config.encoder,
        method=config.method,
        selection=config.selection,
        number=proposal.number,
        signature=proposal.signature,
        params=dict(sorted(proposal.params.items())),
        folds=config.folds,
        validation=result.validation,
        test=result.test,
        caution=OVER_ALL_FOLDS if several and len(study.decisions) > 1 else "",
    )


def _distinct(values: Iterable[_T]) -> list[_T]:
    """Every value once, in order; also for values without a hash."""
    found: list[_T] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _corrected(gains: Sequence[_G]) -> tuple[_G, ...]:
    """The gains with the p values of the headline corrected for multiple comparisons."""
    headline = gains[0].parts[-1] if gains else ""
    adjusted = holm([gain.tests[headline].p for gain in gains])
    claims = holm([gain.tests[headline].p_claim for gain in gains])
    return tuple(
        replace(gain, p_holm=p, p_claim_holm=claim) for gain, p, claim in zip(gains, adjusted, claims, strict=True)
    )


def paired_gains(rows: Sequence[Chosen], kind: type[_G]) -> tuple[_G, ...]:
    """The gains of all twins among the rows, corrected for their number.

    Args:
        rows: The rows of one protocol.
        kind: The class of its gains.
    """
    gains = (_gain(row, twin, kind) for row, twin in _twins(rows))
    return _corrected([gain for gain in gains if gain is not None])


def _gain(row: Chosen, twin: Chosen, kind: type[_G]) -> _G | None:
    """The gain of a twin; None if they have no replica in common."""
    targets: tuple[str, ...] = tuple(getattr(row, "targets", ()))  # of cross-dataset
    pairs, values = differences_of(_compared(row), _compared(twin), kind.parts, targets)
    return kind(row.dataset, row.method, pairs, **values, activities=_activities(row, twin)) if pairs else None


def _twins(rows: Sequence[_C]) -> Iterator[tuple[_C, _C]]:
    """Every baseline with its SEPT twin."""
    by_method = {(row.dataset, row.encoder, row.method): row for row in rows}
    for row in rows:
        if has_sept(row.method):
            continue
        twin = by_method.get((row.dataset, row.encoder, with_sept(row.method)))
        if twin is not None:
            yield row, twin


def _compared(row: Chosen) -> tuple[tuple[dict[str, Any], ...], Tested]:
    """The replicas that the gain of the row compares, chosen among as many trials as its twin has, and their counts."""
    return (row.replicas, row.tested) if row.matched is None else (row.matched.replicas, row.matched.tested)


def _activities(row: Chosen, twin: Chosen) -> tuple[Activity, ...]:
    """How much SEPT acted in each chosen trial of the twin that the gain compares, if this is known for all."""
    folds = {replica["fold"] for replica in _compared(row)[0]}
    chosen = twin.choices if twin.matched is None else twin.matched.choices
    acted = [choice.activity for choice, _ in merged(choice for choice in chosen if choice.fold in folds)]
    return () if None in acted else tuple(one for one in acted if one is not None)


def differences_of(
    compared: tuple[Sequence[dict[str, Any]], Tested],
    other: tuple[Sequence[dict[str, Any]], Tested],
    names: Sequence[str],
    targets: Sequence[str] = (),
) -> tuple[int, dict[str, Any]]:
    """Number of replicas in both; and mean, spread and test of the paired differences, the second minus the first.

    Args:
        compared, other: Replicas, and correctly classified test clips.
        names: Names of the compared accuracies.
        targets: Cross-dataset: names of the targets.
    """
    (replicas, counted), (others, counted_too) = compared, other
    pairs = paired_replicas(replicas, others)
    values: dict[str, Any] = {"tests": {}}
    for name in names if pairs else ():
        differences = [after[f"test_{name}"] - first[f"test_{name}"] for first, after in pairs]
        values[name] = statistics.fmean(differences)
        values[f"{name}_std"] = statistics.stdev(differences) if len(differences) > 1 else 0.0
        clips = clips_of(name, pairs, counted, counted_too, targets)
        folds = [after["fold"] for _, after in pairs]
        values["tests"][name] = paired_test(differences, folds, clips, crossed=name == "targets")
    return len(pairs), values
