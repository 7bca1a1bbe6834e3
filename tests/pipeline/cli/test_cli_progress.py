from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
import synthetic_results as made
from rich.console import Console

from pipeline.cli.progress import BarProgress, LineProgress, Tally, make_progress


def plans(cases: list[made.Case]) -> list[Any]:
    return [
        SimpleNamespace(key=key, dataset="FSDD", encoder="mini", method=key.split(".")[3], budget=3, fold=None)
        for key in dict.fromkeys(case.proposal.study for case in cases)
    ]


def cases_of(method: str) -> list[made.Case]:
    return [case for case in made.make_cases() if case.proposal.study == f"FSDD.mini.base-to-new.{method}"]


def tell(observer: Any, cases: list[made.Case]) -> None:
    observer.sweep_started("synthetic", plans(cases))
    for case in cases:
        observer.trial_started(case.proposal, 0)
        for report in case.decision.curve:
            observer.reported(case.proposal, report)
        observer.trial_ended(case.proposal, case.decision, case.result)
    observer.sweep_ended("finished")


def test_a_trial_on_its_way_counts_by_its_share_of_epochs() -> None:
    tally, case = Tally(), cases_of("coop")[0]
    tally.start(plans([case]))
    tally.move(case.proposal, made.EVERY)
    assert tally.done() == made.EVERY / made.EPOCHS
    tally.end(case.proposal, case.decision)
    assert tally.done(case.proposal.study) == 1


def test_what_is_told_twice_counts_once() -> None:
    tally, case = Tally(), cases_of("coop")[0]
    tally.start(plans([case]))
    for _ in range(2):
        tally.end(case.proposal, case.decision)
        tally.move(case.proposal, made.EVERY)
    assert tally.done() == 1


def test_bars_show_how_many_trials_ended_and_the_best_so_far() -> None:
    cases = cases_of("coop+sept")
    console = Console(file=io.StringIO(), force_terminal=True, width=110)
    progress = make_progress(console)
    assert isinstance(progress, BarProgress)
    tell(progress, cases)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    best = made.summary(made.row_of(cases, cases[0].proposal.study), "val")["h"]
    assert "FSDD CoOp + SEPT" in text
    assert "3/3" in text
    assert f"val  {best:.1f}" in text


def test_a_best_value_that_was_measured_on_test_clips_says_so() -> None:
    cases = [made.chosen_on_test(case) for case in cases_of("coop") if case.result is not None]
    console = Console(file=io.StringIO(), force_terminal=True, width=110)
    tell(make_progress(console), cases)
    best = made.best_of(cases, cases[0].proposal.study).decision.objective
    assert f"TEST  {best:.1f}" in console.file.getvalue()  # type: ignore[attr-defined]


def test_without_a_terminal_there_are_a_few_plain_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    assert isinstance(make_progress(console), LineProgress)
    lines: list[str] = []
    clock = iter(range(0, 1000, 3))
    tell(LineProgress(lines.append, lambda: float(next(clock))), cases_of("coop"))
    assert lines[0] == "synthetic: 3 trials in 1 study"
    assert "FSDD CoOp" in lines[1]
    assert lines[-1].endswith("finished: 3 of 3 trials")
    assert 3 <= len(lines) <= 6


def test_a_launch_that_goes_on_says_what_from() -> None:
    lines: list[str] = []
    progress, (first, *_, last) = LineProgress(lines.append, lambda: 0.0), cases_of("coop")
    progress.sweep_started("synthetic", plans([first]))
    progress.trial_ended(first.proposal, first.decision, first.result)
    progress.trial_started(last.proposal, 5)
    progress.trial_started(last.proposal, 10)
    assert lines[1:] == ["[00:00] resuming after 1 trial, and an interrupted one from epoch 5"]


def test_the_time_left_comes_from_what_this_launch_has_trained() -> None:
    """Half of the trials had ended before this launch, which would double the speed if they counted."""
    cases = [made.make_case("FSDD", "coop", number) for number in range(4)]
    (plan,) = plans(cases[:1])
    plan.budget = 4
    tally = Tally()
    tally.start([plan])
    for case in cases[:2]:
        tally.end(case.proposal, case.decision)
    assert tally.seconds_left(500.0) is None
    # An interrupted trial continues at its first report, after 5 of 15 epochs.
    tally.launch(cases[2].proposal, made.EVERY, 1000.0)
    assert tally.seconds_left(1000.0) is None
    # 5 more epochs in 20 seconds: 5 of this trial and 15 of the last one are left.
    tally.move(cases[2].proposal, 2 * made.EVERY, 40.0)
    assert tally.seconds_left(1020.0) == pytest.approx(80.0)
    tally.end(cases[2].proposal, cases[2].decision)
    assert tally.seconds_left(1040.0) == pytest.approx(60.0)


def test_the_time_left_knows_that_trials_of_one_study_are_longer() -> None:
    """Ten quick trials have ended and ten slow ones are to come: the last ones take nearly all of the time."""
    quick = [made.make_case("FSDD", "coop", number) for number in range(10)]
    slow = [made.make_case("FSDD", "coop+sept", number) for number in range(11)]
    tally = Tally()
    of = plans([quick[0], slow[0]])
    of[0].budget, of[1].budget = 10, 11
    tally.start(of)
    for case, seconds in [(one, 1.0) for one in quick] + [(slow[0], 100.0)]:
        tally.launch(case.proposal, 0, 0.0)
        tally.move(case.proposal, made.EPOCHS, seconds)
        tally.end(case.proposal, case.decision)
    assert tally.seconds_left(110.0) == pytest.approx(1000.0)
