"""The search of one study: what to try next and when to stop a trial, as pure functions of the history.

With ``parallel`` = W, proposal n is computed from exactly the outcomes of trials 0..n-W and the parameters (not the
outcomes) of trials n-W+1..n-1, by a sampler seeded with (seed, study, n). Whether trial n is pruned at a step is
computed from exactly the outcomes of trials 0..n-W and its own curve up to that step. So timing, crashes and existing
results do not change which trials a study consists of, and there is no state to save: each answer rebuilds a small
Optuna study in memory from the history.

Why not one live Optuna study that receives results as they arrive? Its answers would depend on the order in which
trials happen to end, and a killed search could not be continued as the same search.

If a space was narrowed between two launches, trials outside of it are unchanged, and the sampler ignores them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.search.distributions import distributions_of
from pipeline.spec import StudySpec
from pipeline.store.records import Decision
from sept_core.hyper import Value
from sept_core.results import Report

__all__ = ["Params", "Past", "propose", "pruned_at", "visible"]

Params = dict[str, Value]

_STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
# A proposal that repeats an earlier trial is retried this many times; then the space counts as exhausted.
_ATTEMPTS = 20


@dataclass(frozen=True)
class Past:
    """One trial of a study as the search sees it: its parameters and, once it has ended, its decision."""

    params: Params
    decision: Decision | None


def visible(study: StudySpec, number: int) -> int:
    """Number of trials whose outcomes determine proposal and pruning of trial ``number``: 0..number-W."""
    return max(0, number - study.parallel + 1)


def propose(study: StudySpec, history: Sequence[Past]) -> Params:
    """Parameters of the next trial, number ``len(history)``.

    Early outcomes (of the last W-1 trials) are ignored. An ablation lists its configurations.

    Raises:
        ValueError: An outcome that the proposal depends on is not known yet.
    """
    number = len(history)
    if study.listed:
        return dict(study.listed[number].hyper)
    distributions = distributions_of(study)
    trials = _trials(study, history, number, distributions)
    earlier = [study.constants | past.params for past in history]
    params: Params = {}
    for attempt in range(_ATTEMPTS + 1):
        optuna_study = _study(trials, _sampler(study, number, attempt))
        params = {name: _plain(value) for name, value in sorted(optuna_study.ask(distributions).params.items())}
        if study.constants | params not in earlier:
            break
    return params


def pruned_at(
    study: StudySpec, number: int, history: Sequence[Past], curve: Sequence[Report], epochs: int
) -> int | None:
    """Number of reports after which trial ``number`` is pruned, or None if it is not.

    Decisions are made at each report in order, except at the last one of a training (``epochs``): stopping there would
    save nothing.

    Raises:
        ValueError: An outcome that the decision depends on is not known yet.
    """
    judge = _Judge(study, number, history)
    for count, report in enumerate(curve, start=1):
        if report.epoch < epochs and judge.stops(curve[:count]):
            return count
    return None


class _Judge:
    """The pruner of one trial, its history rebuilt once for a whole curve."""

    def __init__(self, study: StudySpec, number: int, history: Sequence[Past]) -> None:
        self._pruner = _pruner(study)
        # The pruner ignores parameters, which may be outside of a space that was narrowed since.
        bare = [Past({}, past.decision) for past in history[: visible(study, number)]]
        self._study = _study(_trials(study, bare, number, {}), RandomSampler(seed=0))

    def stops(self, curve: Sequence[Report]) -> bool:
        return self._pruner.prune(self._study, _trial(TrialState.RUNNING, {}, {}, curve))


def _trials(
    study: StudySpec, history: Sequence[Past], number: int, distributions: Mapping[str, BaseDistribution]
) -> list[FrozenTrial]:
    """The history that trial ``number`` may see as Optuna trials; only trials in the study's space."""
    known = visible(study, number)
    trials = []
    for index, past in enumerate(history):
        if index < known and past.decision is None:
            raise ValueError(f"trial {number} of {study.key} depends on trial {index}, which has not ended")
        if not all(study.space[name].contains(value) for name, value in past.params.items()):
            continue
        if index >= known or past.decision is None:
            trials.append(_trial(TrialState.RUNNING, past.params, distributions))
            continue
        state = _STATES[past.decision.state]
        value = past.decision.objective if state is TrialState.COMPLETE else None
        trials.append(_trial(state, past.params, distributions, past.decision.curve, value))
    return trials


def _trial(
    state: TrialState,
    params: Params,
    distributions: Mapping[str, BaseDistribution],
    curve: Sequence[Report] = (),
    value: float | None = None,
) -> FrozenTrial:
    return create_trial(
        state=state,
        value=value,
        params={name: params[name] for name in distributions},
        distributions=dict(distributions),
        intermediate_values={report.epoch: report.objective for report in curve},
    )


def _study(trials: Sequence[FrozenTrial], sampler: BaseSampler) -> optuna.Study:
    # Optuna announces each new study, and there is one for every answer.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(trials)
    return study


def _sampler(study: StudySpec, number: int, attempt: int) -> BaseSampler:
    settings = study.sampler
    key = json.dumps([settings.seed, study.key, number, attempt])
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
    if settings.name == "random":
        return RandomSampler(seed=seed)
    return TPESampler(
        seed=seed,
        n_startup_trials=settings.n_startup_trials,
        n_ei_candidates=24,
        multivariate=settings.multivariate,
        group=settings.group,
        constant_liar=settings.constant_liar,
    )


def _pruner(study: StudySpec) -> BasePruner:
    if study.pruner.name == "none":
        return NopPruner()
    return MedianPruner(
        n_startup_trials=study.pruner.n_startup_trials,
        n_warmup_steps=study.pruner.n_warmup_epochs,
        interval_steps=1,
        n_min_trials=1,
    )


def _plain(value: Any) -> Value:
    return value if isinstance(value, int | str) else float(value)
