"""Reads a sweep from the store, once for all sections of a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.data.stored_spec import stored_spec
from pipeline.search.selection import best_decision, choose, with_fold_values
from pipeline.spec import StudySpec, SweepSpec
from pipeline.spec.cells import in_cell
from pipeline.store import Decision, Proposal, TrialStore, root_option_of
from pipeline.text import has_sept, with_sept, without_sept
from sept_core.errors import InputError
from sept_core.results import TrialResult
from sept_core.trial_config import parts_of_key, row_of_study

__all__ = ["Pick", "RowRecords", "StudyRecords", "SweepRecords", "read_records"]

_Results = Mapping[tuple[str, str], TrialResult]


@dataclass(frozen=True)
class StudyRecords:
    """One study that has begun.

    Attributes:
        spec: From the stored spec of the sweep; None for a study that is not in the spec.
        proposals: By number.
        decisions: By number; those of earlier releases are completed by `with_fold_values`.
        best: The decision of the trial that is best over all folds; None if no trial has finished.
        result: The result of this trial.
        chosen: Numbers of the trials chosen for one test fold or several.
        lost: Whether a result is gone that the row, the gain or the best configuration needs.
    """

    key: str
    spec: StudySpec | None
    proposals: dict[int, Proposal]
    decisions: dict[int, Decision]
    best: Decision | None
    result: TrialResult | None
    chosen: frozenset[int]
    lost: bool


@dataclass(frozen=True)
class Pick:
    """A test fold and the trial that was chosen for it."""

    fold: str
    proposal: Proposal
    result: TrialResult


@dataclass(frozen=True)
class RowRecords:
    """One row of a report: a study, or, with ``selection: strict``, all studies of a method, one for each test fold.

    Attributes:
        picks: One for each test fold with a finished trial, in the order of the folds; empty if a result is gone.
        method: The method with its cell in a sweep with axes, such as ``coop@shots=4``; with several encoders the cell
            names the encoder too. Dataset and method identify a row of a table.
        ended: Number of ended trials by test fold.
        matched: The picks among only as many first trials of each fold as the SEPT twin (or baseline) has too; the same
            as ``picks`` if it has the same number, more, or none.
        compared: Number of trials that ``matched`` was chosen among, by test fold.
    """

    key: str
    studies: tuple[StudyRecords, ...]
    picks: tuple[Pick, ...]
    method: str
    ended: dict[str, int]
    matched: tuple[Pick, ...]
    compared: dict[str, int]


@dataclass(frozen=True)
class SweepRecords:
    """All studies of a sweep that have begun, in the order of the spec, and their rows."""

    name: str
    spec: SweepSpec
    studies: tuple[StudyRecords, ...]
    rows: tuple[RowRecords, ...]


@dataclass(frozen=True)
class _Row:
    """The trials and decisions of a row by study and number, from which the choice is made."""

    key: str
    proposals: dict[tuple[str, int], Proposal]
    decisions: dict[tuple[str, int], Decision]

    @property
    def ended(self) -> list[tuple[str, int]]:
        """Study and number of the ended trials."""
        return [key for key in self.decisions if key in self.proposals]

    @property
    def counts(self) -> dict[str, int]:
        """Number of ended trials by test fold."""
        return {fold: len(self.numbers(fold)) for fold in dict.fromkeys(self._folds())}

    def numbers(self, fold: str) -> list[int]:
        """Numbers of the ended trials of a test fold, in order."""
        return sorted(number for study, number in self.ended if fold in self.proposals[study, number].config.folds)

    def _folds(self) -> Iterator[str]:
        for key in self.ended:
            yield from self.proposals[key].config.folds

    def choose(self, first: Mapping[str, int] | None = None) -> dict[str, Decision]:
        """The chosen decision by test fold; with ``first``, only among this number of first trials of each fold."""
        decisions = [self.decisions[key] for key in self.ended]
        if first is None:
            return choose(decisions)
        found: dict[str, Decision] = {}
        for fold, limit in first.items():
            first_ones = set(self.numbers(fold)[:limit])
            among = [
                decision for decision in decisions if decision.number in first_ones and fold in decision.fold_values
            ]
            found |= {name: decision for name, decision in choose(among).items() if name == fold}
        return found


def read_records(store: TrialStore, sweep: str) -> SweepRecords:
    """Read the spec, trials and decisions of a sweep, and the results that the report shows.

    Raises:
        InputError: The store has no sweep of this name, or it is an ablation, which chooses nothing.
    """
    spec = stored_spec(store, sweep)
    if spec.ablation is not None:
        source, row = spec.ablation.sweep, spec.ablation.row
        option = root_option_of(store.files)
        raise InputError(
            f"'{sweep}' is an ablation of {row}, and nothing is chosen among its variants",
            where=store.files.address(f"sweeps/{sweep}"),
            fix=f"see the report of its sweep: sept report {source}{option}, or sept ablate {source} {row}{option}",
        )
    proposals = store.proposals(sweep)
    decisions = with_fold_values(store, proposals, store.decisions(sweep))
    specs = {study.key: study for study in spec.studies()}
    place = {key: at for at, key in enumerate(specs)}
    by_study: dict[str, list[Decision]] = {}
    for decision in decisions:
        by_study.setdefault(decision.study, []).append(decision)
    keys = sorted({one.study for one in proposals} | by_study.keys(), key=lambda key: (place.get(key, -1), key))
    rows = {row: _Row(row, {}, {}) for row in map(row_of_study, keys)}
    # Sorted by study, so that folds are in the order of the spec.
    for proposal in sorted(proposals, key=lambda one: (place.get(one.study, -1), one.study, one.number)):
        rows[row_of_study(proposal.study)].proposals[proposal.study, proposal.number] = proposal
    for decision in decisions:
        rows[row_of_study(decision.study)].decisions[decision.study, decision.number] = decision
    chosen = {row.key: row.choose() for row in rows.values()}
    limits = {row.key: _limits(row, rows) for row in rows.values()}
    matched = {
        row.key: row.choose(limits[row.key]) if limits[row.key] != row.counts else chosen[row.key]
        for row in rows.values()
    }
    best = {key: best_decision(by_study.get(key, ())) for key in keys}
    shown = [decision for found in (*chosen.values(), *matched.values()) for decision in found.values()]
    shown += [decision for decision in best.values() if decision is not None]
    results = store.read_results(dict.fromkeys((decision.study, decision.signature) for decision in shown))
    studies = tuple(
        _study(key, specs.get(key), rows[row], best[key], (chosen[row], matched[row]), results)
        for key, row in zip(keys, map(row_of_study, keys), strict=True)
    )
    made = tuple(
        RowRecords(
            key=row.key,
            studies=tuple(study for study in studies if row_of_study(study.key) == row.key),
            picks=_picks(row, chosen[row.key], results),
            method=_method(row.key, several="encoder" in spec.axes),
            ended=row.counts,
            matched=_picks(row, matched[row.key], results),
            compared=limits[row.key],
        )
        for row in rows.values()
    )
    return SweepRecords(sweep, spec, studies, made)


def _method(key: str, *, several: bool) -> str:
    parts = parts_of_key(key)
    return in_cell(parts.method, parts.cell, parts.encoder if several else None)


def _limits(row: _Row, rows: Mapping[str, _Row]) -> dict[str, int]:
    """The number of trials of each test fold that the gain uses: the ended ones of the row or its twin, the fewer."""
    twin = rows.get(without_sept(row.key) if has_sept(row.key) else with_sept(row.key))
    if twin is None:
        return row.counts
    others = twin.counts
    return {fold: min(count, others.get(fold, count)) for fold, count in row.counts.items()}


def _study(
    key: str,
    spec: StudySpec | None,
    row: _Row,
    best: Decision | None,
    chosen: tuple[Mapping[str, Decision], Mapping[str, Decision]],
    results: _Results,
) -> StudyRecords:
    """One study. ``chosen``: the decisions for its row and for its gain, by test fold."""
    proposals = {number: proposal for (study, number), proposal in row.proposals.items() if study == key}
    decisions = {number: decision for (study, number), decision in row.decisions.items() if study == key}
    needed = [decision for found in chosen for decision in found.values() if decision.study == key]
    # A decision of an earlier release has no values by fold if its result is gone.
    lost = any(_result(decision, results) is None for decision in needed) or any(
        decision.state == "finished" and not decision.fold_values for decision in decisions.values()
    )
    result = _result(best, results) if best else None
    if best is not None and (result is None or best.number not in proposals):
        best, result, lost = None, None, True
    numbers = frozenset(decision.number for decision in chosen[0].values() if decision.study == key)
    return StudyRecords(key, spec, proposals, decisions, best, result, numbers, lost)


def _result(decision: Decision, results: _Results) -> TrialResult | None:
    """The result of a finished trial; None if it is gone."""
    result = results.get((decision.study, decision.signature))
    return result if result is not None and result.state == "finished" else None


def _picks(row: _Row, chosen: Mapping[str, Decision], results: _Results) -> tuple[Pick, ...]:
    picks = []
    for fold in _in_order(row, chosen):
        decision = chosen[fold]
        result = _result(decision, results)
        if result is None:
            return ()
        picks.append(Pick(fold, row.proposals[decision.study, decision.number], result))
    return tuple(picks)


def _in_order(row: _Row, folds: Iterable[str]) -> list[str]:
    """The folds in the order of the configurations."""
    order = dict.fromkeys(fold for proposal in row.proposals.values() for fold in proposal.config.folds)
    return [fold for fold in order if fold in folds]
