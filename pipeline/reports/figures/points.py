"""The trials of a study as points of figures."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.reports.records import StudyRecords
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
    """

    number: int
    params: dict[str, Value]
    state: str
    value: float
    best: bool


def points_of(study: StudyRecords) -> tuple[Point, ...]:
    """The trials of a study with a report, by number."""
    return tuple(
        Point(number, study.proposals[number].params, decision.state, decision.objective, number in study.chosen)
        for number, decision in sorted(study.decisions.items())
        if decision.objective is not None and number in study.proposals
    )
