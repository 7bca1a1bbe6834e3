"""The result of a sweep, from the trial store: each study's best member, chosen by held-out clips, on test clips."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.store import Member, TrialStore, Verdict
from pipeline.sweeps import best_verdict, known_sweep
from sept_core.errors import SeptError
from sept_core.results import TrialResult

__all__ = ["Accuracy", "Gain", "Row", "SweepTable", "collect", "method_title"]

_TITLES = {"coop": "CoOp", "cocoop": "CoCoOp", "kgcoop": "KgCoOp", "dept": "DePT"}


@dataclass(frozen=True)
class Accuracy:
    """Percent over a trial's replicas (folds x seeds): means and sample standard deviations.

    Attributes:
        h: Mean of the replicas' harmonic means of base and new; the headline.
        h_of_means: Harmonic mean of the mean base and the mean new accuracy, as papers often print it.
    """

    base: float
    new: float
    h: float
    base_std: float
    new_std: float
    h_std: float
    h_of_means: float

    @classmethod
    def of(cls, metrics: Mapping[str, float]) -> Accuracy:
        """From the metrics of a ``TrialResult``."""
        return cls(**{name: metrics[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Row:
    """One study: its best member and how many trials stand behind the choice.

    Attributes:
        params: What the search chose; empty where there was nothing to search.
        selection: What the search measured trials on, as in ``TrialConfig``.
        validation: What the member was chosen by.
        test: On test clips; never looked at in choosing.
        replicas: One mapping per fold and seed, as in ``TrialResult``.
        trials: Trials by state (``finished``, ``pruned``, ``failed``).
    """

    study: str
    dataset: str
    encoder: str
    protocol: str
    selection: str
    method: str
    number: int
    signature: str
    params: dict[str, int | float | str]
    shots: int
    folds: tuple[str, ...]
    seeds: tuple[int, ...]
    validation: Accuracy
    test: Accuracy
    replicas: tuple[dict[str, Any], ...]
    trials: dict[str, int]
    versions: dict[str, str]
    machine: str

    @property
    def baseline(self) -> str:
        """The method without SEPT."""
        return self.method.removesuffix("+sept")


@dataclass(frozen=True)
class Gain:
    """SEPT minus its baseline on test clips, in points: mean and spread of the differences replica by replica.

    Both train on the same draws of the same folds, so the differences are paired.
    """

    dataset: str
    baseline: str
    replicas: int
    base: float
    new: float
    h: float
    base_std: float
    new_std: float
    h_std: float


@dataclass(frozen=True)
class SweepTable:
    """A sweep's result.

    Attributes:
        rows: One per study that has a finished member, in the order of the sweep's datasets and methods.
        gains: One per dataset and baseline where both it and its SEPT twin have a row.
        without: Keys of studies that have no finished member.
    """

    sweep: str
    rows: tuple[Row, ...]
    gains: tuple[Gain, ...]
    without: tuple[str, ...]

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets of the rows, in order."""
        return tuple(dict.fromkeys(row.dataset for row in self.rows))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for ``results.json``."""
        return asdict(self)


def method_title(method: str) -> str:
    """A method as papers write it: ``coop+sept`` is ``CoOp + SEPT``."""
    baseline = method.removesuffix("+sept")
    title = _TITLES.get(baseline, baseline)
    return title if baseline == method else f"{title} + SEPT"


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
    without: list[str] = []
    for study, decided in verdicts.items():
        best = best_verdict(decided)
        result = store.read_result(study, best.signature) if best else None
        if best is None or result is None or best.number not in members.get(study, {}):
            without.append(study)
        else:
            rows.append(_row(members[study][best.number], result, decided))
    if not rows:
        raise SeptError(f"no trial of sweep '{sweep}' has finished yet; there is nothing to report")
    rows.sort(key=lambda row: (row.dataset, row.encoder, _rank(row.method)))
    return SweepTable(sweep, tuple(rows), tuple(_gains(rows)), tuple(sorted(without)))


def _rank(method: str) -> tuple[bool, str]:
    """Zero-shot first, then each baseline followed by its SEPT twin."""
    return method != "zero-shot", method


def _row(member: Member, result: TrialResult, decided: list[Verdict]) -> Row:
    config = member.config
    states = [verdict.state for verdict in decided]
    return Row(
        study=member.study,
        dataset=config.dataset,
        encoder=config.encoder,
        protocol=config.protocol,
        selection=config.selection,
        method=config.method,
        number=member.number,
        signature=member.signature,
        params=dict(sorted(member.params.items())),
        shots=config.shots,
        folds=config.folds,
        seeds=config.seeds,
        validation=Accuracy.of(result.validation),
        test=Accuracy.of(result.test),
        replicas=result.replicas,
        trials={state: states.count(state) for state in ("finished", "pruned", "failed")},
        versions=result.versions,
        machine=result.machine,
    )


def _gains(rows: list[Row]) -> list[Gain]:
    twins = {(row.dataset, row.encoder, row.method): row for row in rows}
    gains = []
    for row in rows:
        twin = twins.get((row.dataset, row.encoder, f"{row.method}+sept"))
        if twin is None:
            continue
        before = {(replica["fold"], replica["seed"]): replica for replica in row.replicas}
        pairs = [(before[key], after) for after in twin.replicas if (key := (after["fold"], after["seed"])) in before]
        if not pairs:
            continue
        values: dict[str, float] = {}
        for name in ("base", "new", "h"):
            differences = [after[f"test_{name}"] - first[f"test_{name}"] for first, after in pairs]
            values[name] = statistics.fmean(differences)
            values[f"{name}_std"] = statistics.stdev(differences) if len(differences) > 1 else 0.0
        gains.append(Gain(row.dataset, row.method, len(pairs), **values))
    return gains
