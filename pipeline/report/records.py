"""A sweep as its store has it, read once for everything that a report shows."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.prepared import own_datasets
from pipeline.spec import StudySpec, SweepSpec, parse_sweep
from pipeline.store import Member, TrialStore, Verdict
from pipeline.sweeps import best_verdict, known_sweep
from sept_core.results import TrialResult

__all__ = ["StudyRecords", "SweepRecords", "read_records"]


@dataclass(frozen=True)
class StudyRecords:
    """One study that has begun.

    Attributes:
        spec: As the sweep's stored spec has it; None for a study that the spec does not have.
        members: By number.
        verdicts: By number.
        best: The verdict that the one rule of choice picks; None where no trial has finished.
        result: The best trial's.
    """

    key: str
    spec: StudySpec | None
    members: dict[int, Member]
    verdicts: dict[int, Verdict]
    best: Verdict | None
    result: TrialResult | None


@dataclass(frozen=True)
class SweepRecords:
    """All studies of a sweep that have begun, in the order of the spec."""

    name: str
    spec: SweepSpec
    studies: tuple[StudyRecords, ...]


def read_records(store: TrialStore, sweep: str) -> SweepRecords:
    """Read a sweep's spec, members, verdicts and the results of the best ones.

    Raises:
        InputError: The store has no sweep of this name.
    """
    text = known_sweep(store, sweep)
    spec = parse_sweep(text, f"sweeps/{sweep}/spec.yaml", own=own_datasets(store.files))
    members: dict[str, dict[int, Member]] = {}
    for member in store.members(sweep):
        members.setdefault(member.study, {})[member.number] = member
    verdicts: dict[str, dict[int, Verdict]] = {}
    for verdict in store.verdicts(sweep):
        verdicts.setdefault(verdict.study, {})[verdict.number] = verdict
    best = {study: best_verdict(decided.values()) for study, decided in verdicts.items()}
    results = store.read_results((study, chosen.signature) for study, chosen in best.items() if chosen)
    specs = {study.key: study for study in spec.studies()}
    studies = []
    for key in sorted({*members, *verdicts}, key=lambda key: (list(specs).index(key) if key in specs else -1, key)):
        chosen = best.get(key)
        result = results.get((key, chosen.signature)) if chosen else None
        if chosen is None or result is None or result.state != "finished" or chosen.number not in members.get(key, {}):
            chosen = result = None
        studies.append(StudyRecords(key, specs.get(key), members.get(key, {}), verdicts.get(key, {}), chosen, result))
    return SweepRecords(sweep, spec, tuple(studies))
