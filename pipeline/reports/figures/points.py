"""A study's trials as points of figures: what each was, how it ended, and what the search saw of it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.reports.records import StudyRecords
from sept_core.hyper import Value

__all__ = ["Point", "points_of"]


@dataclass(frozen=True)
class Point:
    """One trial that has ended.

    Attributes:
        params: Of the searched hyper-parameters.
        value: What the search maximises, percent; of a pruned trial at its last report. Of held-out clips, except
            with ``selection: paper``, which measures the search itself on test clips.
        best: Whether it was chosen, for one test fold or several.
    """

    number: int
    params: dict[str, Value]
    state: str
    value: float
    best: bool


def points_of(study: StudyRecords) -> tuple[Point, ...]:
    """The trials of a study that reported anything, by number."""
    return tuple(
        Point(number, study.proposals[number].params, decision.state, decision.objective, number in study.chosen)
        for number, decision in sorted(study.decisions.items())
        if decision.objective is not None and number in study.proposals
    )
