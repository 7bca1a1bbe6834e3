"""The rule by which a configuration is chosen: for each test fold by that fold's replicas alone.

The replicas of test fold k train and validate on clips of the other folds, so that none of fold k's test clips is among
their validation clips. This is not true of a trial's mean over all folds: fold k's test clips are validation clips of
the other folds' replicas. So for fold k a table uses the finished trial with the best mean validation of fold k's
replicas; of equal ones, the one with the lowest number. A table therefore estimates the *procedure* (a search and a
choice), not one configuration.

With one test fold this is the trial with the best objective. ``selection: paper`` chooses by the objective over all
folds, which it measures on test clips.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sept_core.averages import averages
from sept_core.protocol_facts import protocol_of

if TYPE_CHECKING:
    from pipeline.store import Decision, Proposal, TrialStore
    from sept_core.correct_counts import Tested
    from sept_core.results import TrialResult
    from sept_core.trial_config import TrialConfig

__all__ = ["Composed", "best_decision", "choose", "chosen_value", "compose", "fold_values", "with_fold_values"]

_AT_ONCE = 256
"""Results in memory at a time if all results of a store of an earlier release must be read."""


def fold_values(config: TrialConfig, objective: float, replicas: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The values of a finished trial by which the choice for each test fold is made, in percent.

    Args:
        config: Configuration of the trial.
        objective: Its validation objective, over all folds.
        replicas: Its rows, as in ``TrialResult``.

    Returns:
        By test fold the mean of the objective (``val_h``, ``val_accuracy`` or ``val_source``) over the fold's replicas;
        with ``selection: paper`` the objective for every fold.
    """
    if _by_objective(config):
        return dict.fromkeys(config.folds, objective)
    name = f"val_{protocol_of(config.protocol).objective}"
    values: dict[str, list[float]] = {}
    for row in replicas:
        values.setdefault(str(row["fold"]), []).append(row[name])
    return {fold: statistics.fmean(values[fold]) for fold in config.folds if fold in values}


def _by_objective(config: TrialConfig) -> bool:
    """Whether the choice depends only on the objective, so that no replicas need be read."""
    return config.selection == "paper" or len(config.folds) == 1


def choose(decisions: Iterable[Decision]) -> dict[str, Decision]:
    """The finished trial that is chosen for each test fold.

    Args:
        decisions: The decisions of one row of a table: of one study, or of several with different test folds. A trial
            competes for the folds in its `fold_values`.
    """
    chosen: dict[str, Decision] = {}
    for decision in decisions:
        for fold, value in decision.fold_values.items() if decision.state == "finished" else ():
            best = chosen.get(fold)
            if best is None or (-value, decision.number) < (-best.fold_values[fold], best.number):
                chosen[fold] = decision
    return chosen


def best_decision(decisions: Iterable[Decision]) -> Decision | None:
    """The finished trial with the highest validation objective, over all test folds; of equal ones, the lowest number.

    The configuration for use (``sept best``, ``sept export``). With several test folds this choice has seen test clips
    of each fold, as validation clips of the others; for a table, `choose` chooses for each fold separately.

    Returns:
        None if no trial has finished: a pruned trial has the value of an unfinished training, and no test metrics.
    """
    finished = [decision for decision in decisions if decision.state == "finished" and decision.objective is not None]
    return min(finished, key=lambda decision: (-(decision.objective or 0.0), decision.number), default=None)


def chosen_value(chosen: Mapping[str, Decision]) -> float | None:
    """The validation of a row: the mean over the test folds of each fold's choice. None if there is none."""
    values = [decision.fold_values[fold] for fold, decision in chosen.items()]
    return statistics.fmean(values) if values else None


def with_fold_values(store: TrialStore, proposals: Iterable[Proposal], decisions: Iterable[Decision]) -> list[Decision]:
    """The decisions; those of earlier releases are completed from their results, which are read in batches.

    A finished trial whose result is missing is unchanged, and cannot be chosen until it has run again.
    """
    configs = {(proposal.study, proposal.number): proposal.config for proposal in proposals}
    completed: list[Decision] = []
    lacking: list[tuple[int, Decision, TrialConfig]] = []
    for index, decision in enumerate(decisions):
        completed.append(decision)
        config = configs.get((decision.study, decision.number))
        if decision.state != "finished" or decision.fold_values or decision.objective is None or config is None:
            continue
        if _by_objective(config):
            completed[index] = replace(decision, fold_values=fold_values(config, decision.objective, ()))
        else:
            lacking.append((index, decision, config))
    for start in range(0, len(lacking), _AT_ONCE):
        some = lacking[start : start + _AT_ONCE]
        results = store.read_results((decision.study, decision.signature) for _, decision, _ in some)
        for index, decision, config in some:
            result = results.get((decision.study, decision.signature))
            if result is not None and result.state == "finished":
                values = fold_values(config, result.objective, result.replicas)
                completed[index] = replace(decision, fold_values=values)
    return completed


@dataclass(frozen=True)
class Composed:
    """The basis of a row of a table.

    Attributes:
        replicas: Each test fold's rows, of the trial that was chosen for it, in the order of the folds.
        validation, test: Their averages, named as in ``TrialResult``.
        tested: Correctly classified test clips of the same trials.
    """

    replicas: tuple[dict[str, Any], ...]
    validation: dict[str, float]
    test: dict[str, float]
    tested: Tested


def compose(results: Mapping[str, TrialResult]) -> Composed:
    """Compute a row, exactly as a trial's own averages are computed from its replicas.

    Args:
        results: By test fold the result of the trial that was chosen for it; at least one.
    """
    replicas = tuple(row for fold, result in results.items() for row in result.replicas if row["fold"] == fold)
    tested = {fold: result.tested[fold] for fold, result in results.items() if fold in result.tested}
    return Composed(replicas, _averages(replicas, "val_"), _averages(replicas, "test_"), tested)


def _averages(replicas: Sequence[Mapping[str, Any]], part: str) -> dict[str, float]:
    return averages([{name.removeprefix(part): row[name] for name in row if name.startswith(part)} for row in replicas])
