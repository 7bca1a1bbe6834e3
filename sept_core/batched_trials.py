"""Several trials trained in common batches: a grid over learning rates, weights and margins at once.

    runs = [TrialRun(make_config(inputs, "coop+sept", {"lr": lr}), inputs) for lr in (0.002, 0.02, 0.2)]
    while not all(run.finished for run in runs):
        advance_together([run for run in runs if not run.finished])
    print([run.result().validation["h"] for run in runs])

Configurations with the same dataset, baseline, ``n_ctx`` and ``n_neighbors`` differ only in numbers that do not enter
the text tower (learning rate, lambda, factors on margins, weights, scales, warm-up), so their replicas are simply more
contexts of one pass (`training.train_epochs`). Gradients never mix. This fills a GPU that one small configuration
leaves idle.

Each trial ends with the result that it has alone up to rounding, not bit for bit: a matrix product may round a row
differently in a larger batch. Since a trial's result must be a function of its signature, a search does not use this:
results in a trial store come from trials trained alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from sept_core.results import Report
from sept_core.training import NonFiniteError, train_epochs
from sept_core.trial import TrialRun

__all__ = ["advance_together"]


def advance_together(runs: Sequence[TrialRun]) -> list[Report | NonFiniteError | None]:
    """`TrialRun.advance` of every run; runs whose trainings have the same shape share their batches.

    Args:
        runs: Runs that are not finished; their numbers of epochs and their report intervals may differ.

    Returns:
        For each run what `advance` would return or raise. Leave out a run that failed from then on; it does not affect
        the others. The seconds of an epoch are divided evenly among its runs.
    """
    failed: dict[int, NonFiniteError] = {}
    losses: dict[int, dict[str, float]] = {}
    goals = [run.next_epoch for run in runs]
    while groups := _behind(runs, goals, failed):
        for together in groups:
            started = time.perf_counter()
            trainings = [runs[index].training for index in together]
            reported = [at for at, index in enumerate(together) if trainings[at].epoch + 1 == goals[index]]
            outcomes = train_epochs(trainings, reported)
            share = (time.perf_counter() - started) / len(together)
            for index, outcome in zip(together, outcomes, strict=True):
                runs[index].seconds += share
                if isinstance(outcome, NonFiniteError):
                    failed[index] = outcome
                else:
                    losses[index] = outcome
    # A learner that does not train (zero-shot) has no losses.
    return [failed.get(index) or run.report(losses.get(index, {})) for index, run in enumerate(runs)]


def _behind(runs: Sequence[TrialRun], goals: Sequence[int], failed: dict[int, NonFiniteError]) -> list[list[int]]:
    """The runs that have not trained up to their goals, grouped by the shape of their trainings."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, (run, goal) in enumerate(zip(runs, goals, strict=True)):
        if index not in failed and run.training.epoch < goal:
            groups.setdefault(run.training.shape, []).append(index)
    return list(groups.values())
