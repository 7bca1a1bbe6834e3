"""Tracking over HTTP: how many requests it takes, and what becomes of those that go wrong on their way."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
import synthetic_results as made
from places import MakePlace, few_cases, plans
from s3_faults import Proxy

from pipeline.tracking import MlflowTracker, mlflow_client

pytestmark = pytest.mark.slow

# Requests of a trial beside its reports and its files: its run, its parameters; where its files go; its end's metrics
# and tags, its status; the study's metrics.
PER_TRIAL = 6
STATES = ((0, "finished"), (1, "pruned"))
BATCH = ("POST", "/api/2.0/mlflow/runs/log-batch")


def requests(proxy: Proxy) -> Counter[tuple[str, str]]:
    """So far, by method and path."""
    counts: Counter[tuple[str, str]] = Counter()
    for (method, path), count in proxy.seen.items():
        counts[method, path.partition("?")[0]] += count
    return counts


def test_a_report_is_one_request_and_a_trial_a_bounded_number(served: MakePlace, proxy: Proxy) -> None:
    place = served("counted", proxy.address)
    finished, pruned = (made.make_case("FSDD", "coop+sept", number, state) for number, state in STATES)
    place.keep([finished, pruned])
    writer = place.writer()
    writer.open({finished.proposal.study: 2})
    begun = requests(proxy)
    assert begun.total() == 3  # the experiment is looked for and made, its runs are read
    writer.start(finished.proposal)
    before = requests(proxy)
    for report in finished.decision.curve:
        writer.report(finished.proposal, [report])
    reports = len(finished.decision.curve)
    assert requests(proxy) - before == {BATCH: reports}
    writer.end(finished.proposal, finished.decision)
    first = requests(proxy)
    files = sum(count for (method, _), count in first.items() if method == "PUT")
    assert files == 4
    assert (first - begun).total() == 1 + PER_TRIAL + reports + files  # one for the study's run

    writer.end(pruned.proposal, pruned.decision)
    second = requests(proxy)
    assert (second - first).total() == PER_TRIAL - 1 + len(pruned.decision.curve)  # it has no files to put anywhere
    writer.close("finished")
    assert (requests(proxy) - second).total() == 1


def test_a_launch_that_finds_everything_written_asks_twice(served: MakePlace, proxy: Proxy, no_pictures: None) -> None:
    place, cases = served("replayed", proxy.address), few_cases()
    place.keep(cases)
    assert place.track(cases).complete
    before = requests(proxy)
    tracker = MlflowTracker(place.target, place.store)
    tracker.sweep_started(place.sweep, plans(cases))
    for case in cases:
        tracker.trial_ended(case.proposal, case.decision, case.result)
    tracker.sweep_ended("finished")
    assert tracker.close().complete
    asked = requests(proxy) - before
    assert sorted(path.rpartition("/")[2] for _, path in asked) == ["get-by-name", "search"]
    assert asked.total() == 2


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))])
def test_requests_that_go_wrong_lose_and_double_nothing(
    served: MakePlace, proxy: Proxy, no_pictures: None, impatient: None, seed: int
) -> None:
    cases, direct, spoiled = few_cases(), served("direct"), served("spoiled", proxy.address)
    for place in (direct, spoiled):
        place.keep(cases)
    faults = ("busy", "busy-after", "reset", "reset-after", "cut", "empty")

    def choose(method: str, path: str, count: int) -> str:
        # Run ids differ from test to test, faults do not.
        chance = random.Random(f"{seed} {method} {path.rpartition('/')[2][:12]} {proxy.faults.total()}")
        return chance.choice(faults) if chance.random() < 0.25 else ""

    proxy.choose = choose
    assert spoiled.track(cases).complete
    proxy.choose = lambda method, path, count: ""
    assert sum(proxy.faults[fault] for fault in faults) > 5
    assert spoiled.seen() == direct.play(cases)
    assert spoiled.replay(cases) == direct.seen()


@pytest.mark.parametrize("fault", ["hang", pytest.param("late", marks=pytest.mark.long)])
def test_requests_that_are_given_up_and_come_through_later_double_nothing(
    served: MakePlace,
    proxy: Proxy,
    no_pictures: None,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    cases, direct, spoiled = few_cases(), served("direct"), served("spoiled", proxy.address)
    for place in (direct, spoiled):
        place.keep(cases)
    proxy.hang_s = 2.0
    spoilt = iter(("runs/create", "runs/create", "runs/update", "runs/log-batch", "runs/create", "runs/update"))
    wanted = next(spoilt)

    def choose(method: str, path: str, count: int) -> str:
        nonlocal wanted
        if not path.endswith(wanted):
            return ""
        wanted = next(spoilt, "nothing more")
        return fault

    proxy.choose = choose
    tracker = MlflowTracker(spoiled.target, spoiled.store)
    spoiled.tell(tracker, cases)
    while wanted != "nothing more":
        time.sleep(0.05)
    time.sleep(proxy.hang_s + 1)
    tracker.sweep_ended("finished")
    assert tracker.close().complete
    assert proxy.faults[fault] == 6
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    # Runs that came too late are among the deleted ones, and none of them is RUNNING.
    client = mlflow_client(direct.target)
    experiment = client.get_experiment_by_name(spoiled.sweep)
    assert experiment is not None
    from mlflow.entities import ViewType

    everything = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    assert "RUNNING" not in {run.info.status for run in everything}
    assert spoiled.seen() == direct.play(cases)


def test_a_server_that_was_away_for_a_while_is_caught_up_with(
    served: MakePlace, proxy: Proxy, no_pictures: None, impatient: None
) -> None:
    cases, direct, spoiled = few_cases(), served("direct"), served("spoiled", proxy.address)
    for place in (direct, spoiled):
        place.keep(cases)
    tracker = MlflowTracker(spoiled.target, spoiled.store)
    proxy.answer = (500, "InternalError")
    spoiled.tell(tracker, cases)
    time.sleep(0.5)
    proxy.answer = None
    tracker.sweep_ended("finished")
    assert tracker.close().complete
    # What was missed is caught up with: a trial's whole curve in one request.
    made_it = requests(proxy)[BATCH]
    assert made_it < sum(len(case.decision.curve) for case in cases) + 3 * len(cases)
    assert spoiled.seen() == direct.play(cases)
