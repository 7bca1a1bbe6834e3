"""The one rule by which a search's configuration is chosen: for each test fold by that fold's replicas alone.

The replicas of test fold k train and validate on clips of the other folds, so that none of fold k's test clips is among
their validation clips. A trial's mean over all folds has no such property: fold k's test clips are validation clips of
the other folds' replicas. So fold k's place in a table is filled by the finished trial with the best mean validation
of fold k's replicas; of equals, by the one with the lowest number. What a table shows is therefore an estimate of the
*procedure* (a search and a choice), not of one configuration.

With one test fold this is the trial with the best objective. ``selection: paper`` chooses by the objective over all
folds, which it measures on test clips.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sept_core.averages import averages

if TYPE_CHECKING:
    from pipeline.store import Member, TrialStore, Verdict
    from sept_core.results import TrialConfig, TrialResult
    from sept_core.tested import Tested

__all__ = ["Composed", "choose", "chosen_value", "compose", "fold_values", "with_fold_values"]

_AT_ONCE = 256
"""Results in memory at a time where a store of an earlier release has to be read whole."""


def fold_values(config: TrialConfig, objective: float, replicas: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """What the choice for each test fold looks at in a finished trial, in percent.

    Args:
        config: The trial's.
        objective: Its validation objective, over all folds.
        replicas: Its rows, as in ``TrialResult``.

    Returns:
        By test fold the mean of ``val_h`` (cross-dataset: ``val_source``) over the fold's replicas; with
        ``selection: paper`` the objective for every fold.
    """
    if _by_objective(config):
        return dict.fromkeys(config.folds, objective)
    name = "val_source" if config.protocol == "cross-dataset" else "val_h"
    values: dict[str, list[float]] = {}
    for row in replicas:
        values.setdefault(str(row["fold"]), []).append(row[name])
    return {fold: statistics.fmean(values[fold]) for fold in config.folds if fold in values}


def _by_objective(config: TrialConfig) -> bool:
    """Whether the objective is all that the choice looks at, so that no replica need be read."""
    return config.selection == "paper" or len(config.folds) == 1


def choose(verdicts: Iterable[Verdict]) -> dict[str, Verdict]:
    """The finished trial that is chosen for each test fold.

    Args:
        verdicts: Of one row of a table: of one study, or of several that have other test folds each. A trial competes
            for the folds that it has `fold_values` of.
    """
    chosen: dict[str, Verdict] = {}
    for verdict in verdicts:
        for fold, value in verdict.fold_values.items() if verdict.state == "finished" else ():
            best = chosen.get(fold)
            if best is None or (-value, verdict.number) < (-best.fold_values[fold], best.number):
                chosen[fold] = verdict
    return chosen


def chosen_value(chosen: Mapping[str, Verdict]) -> float | None:
    """Mean validation over the test folds, of each fold's choice: what a row has as its validation. None of none."""
    values = [verdict.fold_values[fold] for fold, verdict in chosen.items()]
    return statistics.fmean(values) if values else None


def with_fold_values(store: TrialStore, members: Iterable[Member], verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts, those of earlier releases completed from their results, which are read many at a time.

    A finished trial whose result is gone stays as it is, and cannot be chosen until it was run again.
    """
    configs = {(member.study, member.number): member.config for member in members}
    completed: list[Verdict] = []
    lacking: list[tuple[int, Verdict, TrialConfig]] = []
    for index, verdict in enumerate(verdicts):
        completed.append(verdict)
        config = configs.get((verdict.study, verdict.number))
        if verdict.state != "finished" or verdict.fold_values or verdict.objective is None or config is None:
            continue
        if _by_objective(config):
            completed[index] = replace(verdict, fold_values=fold_values(config, verdict.objective, ()))
        else:
            lacking.append((index, verdict, config))
    for start in range(0, len(lacking), _AT_ONCE):
        some = lacking[start : start + _AT_ONCE]
        results = store.read_results((verdict.study, verdict.signature) for _, verdict, _ in some)
        for index, verdict, config in some:
            result = results.get((verdict.study, verdict.signature))
            if result is not None and result.state == "finished":
                values = fold_values(config, result.objective, result.replicas)
                completed[index] = replace(verdict, fold_values=values)
    return completed


@dataclass(frozen=True)
class Composed:
    """What a row of a table is computed from.

    Attributes:
        replicas: Each test fold's rows, of the trial that was chosen for it, in the order of the folds.
        validation, test: Their averages, named as in ``TrialResult``.
        tested: Which test clips were right, of the same trials.
    """

    replicas: tuple[dict[str, Any], ...]
    validation: dict[str, float]
    test: dict[str, float]
    tested: Tested


def compose(results: Mapping[str, TrialResult]) -> Composed:
    """Put a row together, exactly as a trial's own averages are computed from its replicas.

    Args:
        results: By test fold the result of the trial that was chosen for it; at least one.
    """
    replicas = tuple(row for fold, result in results.items() for row in result.replicas if row["fold"] == fold)
    tested = {fold: result.tested[fold] for fold, result in results.items() if fold in result.tested}
    return Composed(replicas, _averages(replicas, "val_"), _averages(replicas, "test_"), tested)


def _averages(replicas: Sequence[Mapping[str, Any]], part: str) -> dict[str, float]:
    return averages([{name.removeprefix(part): row[name] for name in row if name.startswith(part)} for row in replicas])
