"""The result of a sweep, from the trial store: each study's best member, chosen by held-out clips, on test clips."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pipeline.report.rows import Accuracy, Chosen, Gain, Row, Score, SweepTable, TransferGain, TransferRow
from pipeline.store import Member, TrialStore, Verdict
from pipeline.sweeps import best_verdict, known_sweep
from sept_core.errors import SeptError
from sept_core.results import TrialResult

__all__ = ["collect"]

_C = TypeVar("_C", bound=Chosen)


def collect(store: TrialStore, sweep: str) -> SweepTable:
    """Read a sweep's members, verdicts and the results of the best ones.

    Raises:
        InputError: The store has no sweep of this name.
        SeptError: No trial of it has finished yet.
    """
    known_sweep(store, sweep)
    members: dict[str, dict[int, Member]] = {}
    for member in store.members(sweep):
        members.setdefault(member.study, {})[member.number] = member
    verdicts: dict[str, list[Verdict]] = {study: [] for study in members}
    for verdict in store.verdicts(sweep):
        verdicts.setdefault(verdict.study, []).append(verdict)
    rows: list[Row] = []
    transfers: list[TransferRow] = []
    without: list[str] = []
    for study, decided in verdicts.items():
        best = best_verdict(decided)
        result = store.read_result(study, best.signature) if best else None
        if best is None or result is None or result.state != "finished" or best.number not in members.get(study, {}):
            without.append(study)
        elif result.config.protocol == "cross-dataset":
            transfers.append(_transfer(members[study][best.number], result, decided))
        else:
            rows.append(_row(members[study][best.number], result, decided))
    if not rows and not transfers:
        raise SeptError(f"no trial of sweep '{sweep}' has finished yet; there is nothing to report")
    rows.sort(key=_place)
    transfers.sort(key=_place)
    return SweepTable(
        sweep=sweep,
        rows=tuple(rows),
        gains=tuple(_gains(rows)),
        without=tuple(sorted(without)),
        transfers=tuple(transfers),
        transfer_gains=tuple(_transfer_gains(transfers)),
    )


def _place(row: Chosen) -> tuple[str, str, bool, str]:
    """Dataset by dataset, zero-shot first, then each baseline followed by its SEPT twin."""
    return row.dataset, row.encoder, row.method != "zero-shot", row.method


def _row(member: Member, result: TrialResult, decided: list[Verdict]) -> Row:
    validation, test = Accuracy.of(result.validation), Accuracy.of(result.test)
    return Row(**_chosen(member, result, decided), validation=validation, test=test)


def _transfer(member: Member, result: TrialResult, decided: list[Verdict]) -> TransferRow:
    return TransferRow(
        **_chosen(member, result, decided),
        validation=result.validation["source"],
        source=Score.of(result.test, "source"),
        targets={target: Score.of(result.test, target) for target in sorted(result.config.targets)},
        mean=result.test["targets"],
        mean_std=result.test["targets_std"],
    )


def _chosen(member: Member, result: TrialResult, decided: list[Verdict]) -> dict[str, Any]:
    config = member.config
    states = [verdict.state for verdict in decided]
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
    }


def _gains(rows: Sequence[Row]) -> Iterator[Gain]:
    for row, twin in _twins(rows):
        pairs, values = _differences(row, twin, ("base", "new", "h"))
        if pairs:
            yield Gain(row.dataset, row.method, pairs, **values)


def _transfer_gains(rows: Sequence[TransferRow]) -> Iterator[TransferGain]:
    for row, twin in _twins(rows):
        pairs, values = _differences(row, twin, ("source", "targets"))
        if pairs:
            yield TransferGain(row.dataset, row.method, pairs, **values)


def _twins(rows: Sequence[_C]) -> Iterator[tuple[_C, _C]]:
    """Every baseline with its SEPT twin."""
    by_method = {(row.dataset, row.encoder, row.method): row for row in rows}
    for row in rows:
        twin = by_method.get((row.dataset, row.encoder, f"{row.method}+sept"))
        if twin is not None:
            yield row, twin


def _differences(row: Chosen, twin: Chosen, names: Sequence[str]) -> tuple[int, dict[str, float]]:
    """Replicas that both have, and mean and spread of what the second has more, replica by replica."""
    before = {(replica["fold"], replica["seed"]): replica for replica in row.replicas}
    pairs = [(before[key], after) for after in twin.replicas if (key := (after["fold"], after["seed"])) in before]
    values: dict[str, float] = {}
    for name in names if pairs else ():
        differences = [after[f"test_{name}"] - first[f"test_{name}"] for first, after in pairs]
        values[name] = statistics.fmean(differences)
        values[f"{name}_std"] = statistics.stdev(differences) if len(differences) > 1 else 0.0
    return len(pairs), values
