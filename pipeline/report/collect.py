"""The result of a sweep, from the trial store: each study's best member, chosen by held-out clips, on test clips."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pipeline.report.claims import clips_of
from pipeline.report.paired import holm, paired_test
from pipeline.report.records import StudyRecords, SweepRecords, read_records
from pipeline.report.rows import Accuracy, Chosen, Gain, Row, Score, SweepTable, TransferGain, TransferRow
from pipeline.store import TrialStore
from sept_core.errors import SeptError

__all__ = ["collect", "tabulate"]

_C = TypeVar("_C", bound=Chosen)
_G = TypeVar("_G", Gain, TransferGain)


def collect(store: TrialStore, sweep: str) -> SweepTable:
    """Read a sweep's members, verdicts and the results of the best ones.

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
    rows: list[Row] = []
    transfers: list[TransferRow] = []
    without: list[str] = []
    for study in records.studies:
        if study.result is None:
            without.append(study.key)
        elif study.result.config.protocol == "cross-dataset":
            transfers.append(_transfer(study))
        else:
            rows.append(_row(study))
    if not rows and not transfers:
        raise SeptError(f"no trial of sweep '{records.name}' has finished yet; there is nothing to report")
    rows.sort(key=_place)
    transfers.sort(key=_place)
    return SweepTable(
        sweep=records.name,
        rows=tuple(rows),
        gains=_corrected([*_gains(rows)], "h"),
        without=tuple(sorted(without)),
        transfers=tuple(transfers),
        transfer_gains=_corrected([*_transfer_gains(transfers)], "targets"),
    )


def _place(row: Chosen) -> tuple[str, str, bool, str]:
    """Dataset by dataset, zero-shot first, then each baseline followed by its SEPT twin."""
    return row.dataset, row.encoder, row.method != "zero-shot", row.method


def _row(study: StudyRecords) -> Row:
    assert study.result is not None
    validation, test = Accuracy.of(study.result.validation), Accuracy.of(study.result.test)
    return Row(**_chosen(study), validation=validation, test=test)


def _transfer(study: StudyRecords) -> TransferRow:
    assert study.result is not None
    result = study.result
    return TransferRow(
        **_chosen(study),
        validation=result.validation["source"],
        source=Score.of(result.test, "source"),
        targets={target: Score.of(result.test, target) for target in sorted(result.config.targets)},
        mean=result.test["targets"],
        mean_std=result.test["targets_std"],
    )


def _chosen(study: StudyRecords) -> dict[str, Any]:
    assert study.result is not None
    assert study.best is not None
    result, member = study.result, study.members[study.best.number]
    config = member.config
    states = [verdict.state for verdict in study.verdicts.values()]
    return {
        "study": member.study,
        "dataset": config.dataset,
        "encoder": config.encoder,
        "protocol": config.protocol,
        "selection": config.selection,
        "method": config.method,
        "number": member.number,
        "signature": member.signature,
        "params": dict(sorted(member.params.items())),
        "shots": config.shots,
        "folds": config.folds,
        "seeds": config.seeds,
        "replicas": result.replicas,
        "trials": {state: states.count(state) for state in ("finished", "pruned", "failed")},
        "versions": result.versions,
        "machine": result.machine,
        "warnings": result.warnings,
        "tested": result.tested,
    }


def _corrected(gains: Sequence[_G], headline: str) -> tuple[_G, ...]:
    """The gains with the headline's p values corrected for there being several of them."""
    adjusted = holm([gain.tests[headline].p for gain in gains])
    claims = holm([gain.tests[headline].p_claim for gain in gains])
    return tuple(
        replace(gain, p_holm=p, p_claim_holm=claim) for gain, p, claim in zip(gains, adjusted, claims, strict=True)
    )


def _gains(rows: Sequence[Row]) -> Iterator[Gain]:
    for row, twin in _twins(rows):
        pairs, values = _differences(row, twin, ("base", "new", "h"))
        if pairs:
            yield Gain(row.dataset, row.method, pairs, **values)


def _transfer_gains(rows: Sequence[TransferRow]) -> Iterator[TransferGain]:
    for row, twin in _twins(rows):
        pairs, values = _differences(row, twin, ("source", "targets"), [*row.targets])
        if pairs:
            yield TransferGain(row.dataset, row.method, pairs, **values)


def _twins(rows: Sequence[_C]) -> Iterator[tuple[_C, _C]]:
    """Every baseline with its SEPT twin."""
    by_method = {(row.dataset, row.encoder, row.method): row for row in rows}
    for row in rows:
        twin = by_method.get((row.dataset, row.encoder, f"{row.method}+sept"))
        if twin is not None:
            yield row, twin


def _differences(
    row: Chosen, twin: Chosen, names: Sequence[str], targets: Sequence[str] = ()
) -> tuple[int, dict[str, Any]]:
    """Replicas that both have, and mean, spread and test of what the second has more, replica by replica."""
    before = {(replica["fold"], replica["seed"]): replica for replica in row.replicas}
    pairs = [(before[key], after) for after in twin.replicas if (key := (after["fold"], after["seed"])) in before]
    values: dict[str, Any] = {"tests": {}}
    for name in names if pairs else ():
        differences = [after[f"test_{name}"] - first[f"test_{name}"] for first, after in pairs]
        values[name] = statistics.fmean(differences)
        values[f"{name}_std"] = statistics.stdev(differences) if len(differences) > 1 else 0.0
        clips = clips_of(name, pairs, row.tested, twin.tested, targets)
        folds = [after["fold"] for _, after in pairs]
        values["tests"][name] = paired_test(differences, folds, clips, crossed=name == "targets")
    return len(pairs), values
