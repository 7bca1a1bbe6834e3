"""The queue of a sweep, run through with known times: what must come out can be reckoned by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipeline.plan.queueing import Room, StudyLoad, wall_seconds
from pipeline.spec import Resources


def job(trials: int = 4, seconds: float = 10.0, parallel: int = 8, priority: int = 0, gpus: float = 0.0) -> StudyLoad:
    return StudyLoad(trials, seconds, parallel, priority, cpus=1, gpus=gpus)


def room(cpus: float = 4, gpus: int = 0, workers: int | None = None, given: bool = False) -> Room:
    return Room(cpus, gpus, workers, given)


def test_trials_run_beside_each_other_as_far_as_there_are_cpus_and_workers() -> None:
    assert wall_seconds({"a": job()}, room(cpus=1)) == 40
    assert wall_seconds({"a": job()}, room(cpus=4)) == 10
    assert wall_seconds({"a": job()}, room(cpus=4, workers=2)) == 20
    assert wall_seconds({"a": job(trials=5)}, room(cpus=4)) == 20


def test_a_study_has_no_more_in_flight_than_it_may() -> None:
    assert wall_seconds({"a": job(parallel=1)}, room(cpus=4)) == 40
    assert wall_seconds({"a": job(parallel=1), "b": job(parallel=1)}, room(cpus=4)) == 40


def test_studies_advance_together_and_those_of_a_higher_priority_first() -> None:
    short, long = job(trials=1, seconds=10, parallel=1), job(trials=2, seconds=30, parallel=1)
    # In turn: the long one starts at once beside the short one.
    assert wall_seconds({"short": short, "long": long}, room(cpus=2)) == 60
    urgent = job(trials=2, seconds=10, parallel=2, priority=1)
    assert wall_seconds({"long": long, "urgent": urgent}, room(cpus=2)) == 10 + 60


@pytest.mark.parametrize(("share", "seconds"), [(1.0, 40), (0.5, 20), (0.25, 10)])
def test_trials_share_a_gpu_by_their_share_of_it(share: float, seconds: float) -> None:
    assert wall_seconds({"a": job(gpus=share)}, room(cpus=8, gpus=1)) == seconds


def test_a_share_is_of_one_gpu_and_small_ones_leave_whole_ones_free() -> None:
    small, whole = job(trials=2, gpus=0.5, priority=1), job(trials=1, gpus=1.0)
    assert wall_seconds({"small": small, "whole": whole}, room(cpus=8, gpus=2)) == 10


def test_of_a_given_machine_only_gpus_count_for_trials_that_use_them() -> None:
    jobs = {"a": job(trials=8, gpus=1.0)}
    assert wall_seconds(jobs, room(cpus=1, gpus=8)) == 80
    assert wall_seconds(jobs, room(cpus=1, gpus=8, given=True)) == 10


def test_what_does_not_fit_is_left_out() -> None:
    assert room().fitting(cpus=5, gpus=0) == 0
    assert room().fitting(cpus=1, gpus=0.5) == 0
    assert wall_seconds({"a": job(gpus=1.0)}, room()) == 0
    assert wall_seconds({"a": job(gpus=1.0), "b": job()}, room()) == 10


def test_a_given_number_of_workers_finds_the_cpus_that_it_asks_for() -> None:
    own = Resources.model_validate({"workers": 3, "by_method": {"coop": {"cpus_per_trial": 2}}})
    assert Room.of(own, ["zero-shot", "coop"], gpus=None).cpus == 6
    found = Room.of(own, ["zero-shot"], gpus=4)
    assert (found.cpus, found.gpus, found.workers, found.given) == (3, 4, 3, True)
    assert found.at_once([(1, 0.25)]) == 3
    assert Room.of(Resources(), ["coop"], gpus=0).workers is None


@given(
    jobs=some.lists(
        some.builds(
            StudyLoad,
            trials=some.integers(0, 6),
            seconds=some.floats(0.5, 50),
            parallel=some.integers(1, 4),
            priority=some.integers(0, 2),
            cpus=some.sampled_from([0.5, 1, 2]),
            gpus=some.sampled_from([0.0, 0.25, 0.5, 1.0]),
        ),
        min_size=1,
        max_size=5,
    ),
    cpus=some.integers(2, 6),
    gpus=some.integers(1, 3),
    workers=some.none() | some.integers(1, 5),
)
def test_no_queue_is_faster_than_its_room_or_slower_than_one_after_the_other(
    jobs: list[StudyLoad], cpus: int, gpus: int, workers: int | None
) -> None:
    wall = wall_seconds({str(index): job for index, job in enumerate(jobs)}, room(cpus, gpus, workers))
    close = 1 + 1e-9
    assert wall <= close * sum(job.trials * job.seconds for job in jobs)
    assert wall * close >= max(math.ceil(job.trials / job.parallel) * job.seconds for job in jobs)
    assert wall * close >= sum(job.trials * job.seconds * job.cpus for job in jobs) / cpus
    assert wall * close >= sum(job.trials * job.seconds * job.gpus for job in jobs) / gpus
    if workers is not None:
        assert wall * close >= sum(job.trials * job.seconds for job in jobs) / workers
