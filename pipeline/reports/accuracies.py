"""Accuracies of a row of a report, with their spread over replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Accuracy", "Score"]


@dataclass(frozen=True)
class Accuracy:
    """Percent over the replicas of a row (folds x seeds): means and sample standard deviations.

    Attributes:
        h: Mean of the replicas' harmonic means of base and new; the headline.
        h_of_means: Harmonic mean of the mean base and the mean new accuracy, as papers often print it.
        base_f1, new_f1: Macro F1, means over replicas.
        all: Accuracy on test clips of both groups, ranked among all names; None for results of earlier releases, which
            did not measure it.
        all_base, all_new, all_h: The same on base clips and on new clips, and the mean of the replicas' harmonic means
            of these two.
        all_f1: Macro F1 over all names.
    """

    base: float
    new: float
    h: float
    base_std: float
    new_std: float
    h_std: float
    h_of_means: float
    base_f1: float
    new_f1: float
    all: float | None = None
    all_base: float | None = None
    all_new: float | None = None
    all_h: float | None = None
    all_std: float | None = None
    all_base_std: float | None = None
    all_new_std: float | None = None
    all_h_std: float | None = None
    all_f1: float | None = None

    @classmethod
    def of(cls, metrics: Mapping[str, float]) -> Accuracy:
        """From averages that are named as in a ``TrialResult``."""
        measured = [name for name in cls.__dataclass_fields__ if name in metrics or not name.startswith("all")]
        return cls(**{name: metrics[name] for name in measured})


@dataclass(frozen=True)
class Score:
    """Percent over the replicas of a row on one dataset: mean accuracy, its sample standard deviation, macro F1."""

    accuracy: float
    std: float
    f1: float

    @classmethod
    def of(cls, metrics: Mapping[str, float], name: str) -> Score:
        """From averages that are named as in a ``TrialResult``."""
        return cls(metrics[name], metrics[f"{name}_std"], metrics[f"{name}_f1"])
