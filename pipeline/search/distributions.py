"""A study's space as Optuna distributions, for the search and for the report."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.spec import Dimension, StudySpec

__all__ = ["distributions_of"]


def distributions_of(study: StudySpec) -> dict[str, BaseDistribution]:
    """The searched dimensions of a study, by name."""
    return {
        name: _distribution(dimension, study.declared[name].kind is int) for name, dimension in study.searched.items()
    }


def _distribution(dimension: Dimension, whole: bool) -> BaseDistribution:
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    low, high, step = dimension.low, dimension.high, dimension.step
    if low is None or high is None:
        raise ValueError("a fixed dimension has no distribution")
    if whole:
        return IntDistribution(int(low), int(high), log=dimension.log, step=int(step or 1))
    return FloatDistribution(float(low), float(high), log=dimension.log, step=None if step is None else float(step))
