"""The importance of hyper-parameters: PED-ANOVA (Watanabe et al., IJCAI 2023) from Optuna, study by study.

For each hyper-parameter it compares the distribution of the best quarter of the finished trials with that of all
finished trials. It uses no random numbers, so the same trials give the same importances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.reports.figures import Point
from pipeline.spec import StudySpec
from sept_core.hyper import Value

__all__ = ["FEWEST", "counted", "importances"]

FEWEST = 30
"""Fewest finished trials for an estimate."""
BEST = 0.25


def importances(study: StudySpec, points: Sequence[Point]) -> dict[str, float] | None:
    """Importance of each searched hyper-parameter, adding up to 1.

    Args:
        study: The study with its search space.
        points: Its trials; only those of `counted` are used.

    Returns:
        None if too few trials have finished; empty if all of them have the same value.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.samplers import RandomSampler

    from pipeline.search.distributions import distributions_of

    finished = counted(study, points)
    if len(finished) < FEWEST or not study.searched:
        return None
    if len({point.value for point in finished}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = distributions_of(study)
    history = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=0))
    history.add_trials(
        [
            optuna.trial.create_trial(
                value=point.value,
                params={name: point.params[name] for name in distributions},
                distributions=distributions,
            )
            for point in finished
        ]
    )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST)
    found = optuna.importance.get_param_importances(history, evaluator=evaluator)
    total = sum(found.values())
    return {name: value / total for name, value in sorted(found.items())} if total > 0 else {}


def counted(study: StudySpec, points: Sequence[Point]) -> list[Point]:
    """The trials that are used: finished, and within the current search space."""
    return [point for point in points if point.state == "finished" and _within(study, point.params)]


def _within(study: StudySpec, params: Mapping[str, Value]) -> bool:
    return all(name in params and dimension.contains(params[name]) for name, dimension in study.searched.items())
