from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.store import Decision
from pipeline.watch.remaining import StudyWork, seconds_left, trial_seconds
from sept_core.results import Report

LAUNCHED = 1_760_000_000_000
DAY = 24 * 3600 * 1000


def decision(number: int, began_ms: int, trained_s: float, beside_s: float = 0.0) -> Decision:
    """A trial of two reports, trained without a break; testing and the like take ``beside_s`` more."""
    curve = tuple(
        Report(epoch, {"val/h": 50.0}, part * trained_s, began_ms + round(1000 * part * trained_s))
        for epoch, part in ((1, 0.5), (2, 1.0))
    )
    decided = began_ms + round(1000 * (trained_s + beside_s))
    return Decision("s", number, f"{number:016d}", "finished", 2, 50.0, curve, decided)


def test_what_trials_of_this_launch_took_counts_from_training_to_decision() -> None:
    ended = [decision(0, LAUNCHED - DAY, 100.0), decision(1, LAUNCHED + 1000, 20.0, beside_s=5.0)]
    assert trial_seconds(ended, LAUNCHED) == [25.0]


def test_the_gap_between_two_launches_counts_nowhere() -> None:
    # Begun before, decided a day later in this launch.
    over = replace(decision(0, LAUNCHED - DAY, 100.0), decided_ms=LAUNCHED + 10_000)
    assert trial_seconds([over], LAUNCHED) == [100.0]
    first, last = over.curve
    resumed = replace(over, curve=(first, replace(last, timestamp_ms=LAUNCHED + 9_000)))
    assert trial_seconds([resumed], LAUNCHED) == [100.0]


def test_a_trial_without_a_report_says_nothing() -> None:
    assert (
        trial_seconds([replace(decision(0, LAUNCHED, 1.0), curve=(), state="failed", objective=None)], LAUNCHED) == []
    )


@pytest.mark.parametrize(
    ("trials", "done", "parallel", "workers", "seconds"),
    [
        (8, [], 4, 2, 40.0),
        (8, [0.5, 0.5], 4, 2, 35.0),
        (8, [], 1, 2, 80.0),  # the study allows one at a time
        (8, [], 4, 100, 20.0),
        (1, [0.9], 4, 2, 0.5),
    ],
)
def test_work_is_spread_over_workers_and_what_a_study_allows(
    trials: int, done: list[float], parallel: int, workers: int, seconds: float
) -> None:
    ended = [decision(0, LAUNCHED, 8.0), decision(1, LAUNCHED, 10.0, beside_s=2.0)]
    left = seconds_left([StudyWork(ended, trials, done, parallel)], workers, LAUNCHED)
    assert left == pytest.approx(seconds)


def test_studies_add_up_and_those_that_are_done_do_not_matter() -> None:
    slow, quick = [decision(0, LAUNCHED, 100.0)], [decision(0, LAUNCHED, 1.0)]
    left = [StudyWork(slow, 2, [], 2), StudyWork(quick, 10, [], 2), StudyWork([], 0, [], 2)]
    assert seconds_left(left, 2, LAUNCHED) == pytest.approx(105.0)


def test_nothing_is_said_before_there_is_something_to_tell_it_from() -> None:
    known, unknown = StudyWork([decision(0, LAUNCHED, 10.0)], 3, [], 2), StudyWork([], 3, [], 2)
    assert seconds_left([known, unknown], 2, LAUNCHED) is None
    assert seconds_left([known], 0, LAUNCHED) is None
    assert seconds_left([], 2, LAUNCHED) is None
    assert seconds_left([known], 2, LAUNCHED) is not None
