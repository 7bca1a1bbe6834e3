"""The trials of a study as points of figures."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.reports.records import StudyRecords
from pipeline.store import Decision
from sept_core.hyper import Value

__all__ = ["Point", "points_of"]


@dataclass(frozen=True)
class Point:
    """One trial that has ended.

    Attributes:
        params: Values of the searched hyper-parameters.
        value: The search objective, percent; for a pruned trial at its last report. On held-out clips, except with
            ``selection: paper``, which searches on test clips.
        best: Whether it was chosen for one test fold or several.
        curve: Epoch and objective of each report.
        accuracies: Accuracy on base and on new classes at the last report, of the same clips as ``value``; None in
            cross-dataset.
    """

    number: int
    params: dict[str, Value]
    state: str
    value: float
    best: bool
    curve: tuple[tuple[int, float], ...] = ()
    accuracies: tuple[float, float] | None = None


def _accuracies(decision: Decision) -> tuple[float, float] | None:
    metrics = decision.curve[-1].metrics if decision.curve else {}
    return (metrics["val/base"], metrics["val/new"]) if "val/base" in metrics and "val/new" in metrics else None


def points_of(study: StudyRecords) -> tuple[Point, ...]:
    """The trials of a study with a report, by number."""
    return tuple(
        Point(
            number,
            study.proposals[number].params,
            decision.state,
            decision.objective,
            number in study.chosen,
            tuple((report.epoch, report.objective) for report in decision.curve),
            _accuracies(decision),
        )
        for number, decision in sorted(study.decisions.items())
        if decision.objective is not None and number in study.proposals
    )
