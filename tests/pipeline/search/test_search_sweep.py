"""Launching on a real Ray cluster: the same outcome as one trial after the other, whatever is killed in between."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import tiny_inputs
from small_ray import small_ray
from tiny_sweep import make_spec, outcome_of, run_inline, worker_pids

from pipeline.search.sweep import SweepOutcome, launch
from pipeline.store import Decision, Lease, LeaseHeld, LeaseLost, LocalFiles, Proposal
from pipeline.store.launch_messages import LaunchProgress
from sept_core.checked_json import seal
from sept_core.errors import InputError, SeptError
from sept_core.results import Report, TrialResult

# Each worker is a process that imports torch; one is enough where nothing depends on there being two.
ONE_WORKER = {"workers": 1}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One small Ray for all tests of this file; its workers find the tests' own modules."""
    with small_ray(2, Path(__file__).parent):
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("undisturbed")
    run_inline(make_spec(), root)
    return outcome_of(root)


class Observer:
    """Does something at the n-th report, and knows the state at the end."""

    def __init__(self, at: int = 0, act: Callable[[], None] = lambda: None) -> None:
        self.at, self.act, self.count, self.state = at, act, 0, ""

    def sweep_started(self, sweep: str, studies: object) -> None: ...

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None: ...

    def reported(self, proposal: Proposal, report: Report) -> None:
        self.count += 1
        if self.count == self.at:
            self.act()

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None: ...

    def sweep_ended(self, state: str) -> None:
        self.state = state


def run(root: Path, observer: Observer | None = None, provider: str = "provide", **changes: Any) -> SweepOutcome:
    observers = [observer] if observer else []
    return launch(make_spec(**changes), root, observers=observers, provider=getattr(tiny_inputs, provider))


@pytest.mark.usefixtures("cluster")
def test_a_sweep_on_ray_is_the_sweep_one_trial_after_the_other(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    outcome = run(tmp_path)
    assert outcome_of(tmp_path) == undisturbed
    assert (outcome.state, outcome.trials, outcome.started) == ("finished", 15, 15)
    assert outcome.finished + outcome.pruned == 15
    assert outcome.pruned > 0
    assert sorted(path.name for path in (tmp_path / "sweeps/tiny").iterdir() if path.name[0] != ".") == [
        "lease.json",
        "members",
        "spec.yaml",
        "verdicts",
    ]
    assert not [*(tmp_path / "sweeps/tiny").glob(".tune*")]


@pytest.mark.usefixtures("cluster")
def test_methods_may_occupy_more_or_less_than_others(tmp_path: Path) -> None:
    wide = {"workers": 2, "cpus_per_trial": 0.5, "by_method": {"coop": {"cpus_per_trial": 2}}}
    outcome = run(tmp_path, None, "provide_slowly", resources=wide, trials=4)
    assert (outcome.state, outcome.trials) == ("finished", 9)
    # A worker that is free takes what fits it: sizes change between studies, and not with every trial.
    assert len(list((tmp_path / "pids").iterdir())) <= 4
    with pytest.raises(InputError, match=r"resources: no trial of FSDD.*\.coop fits: it needs 3 CPUs and 0 GPUs"):
        run(tmp_path / "other", resources={"by_method": {"coop": {"cpus_per_trial": 3}}})


def test_launching_a_finished_sweep_does_not_start_ray(
    tmp_path: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_inline(make_spec(), tmp_path)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("pipeline.search.tune.cluster", never)
    observer = Observer()
    outcome = run(tmp_path, observer)
    assert (outcome.state, outcome.started, observer.state) == ("finished", 0, "finished")
    assert outcome_of(tmp_path) == undisturbed


@pytest.mark.usefixtures("cluster")
def test_a_signal_stops_gracefully_and_the_next_launch_ends_the_same(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    observer = Observer(12, lambda: os.kill(os.getpid(), signal.SIGINT))
    outcome = run(tmp_path, observer, resources=ONE_WORKER)
    assert (outcome.state, observer.state) == ("stopped", "stopped")
    assert 0 < outcome.trials < 15
    assert Lease(LocalFiles(tmp_path), "tiny").holder() is None
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    resumed = run(tmp_path, resources=ONE_WORKER)
    assert resumed.state == "finished"
    assert resumed.started <= 15 - outcome.trials
    assert outcome_of(tmp_path) == undisturbed


@pytest.mark.long  # as the monkey does in every run
@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_process_costs_nothing_but_time(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    killed = []

    def kill_a_worker() -> None:
        killed.append(worker_pids(tmp_path)[0])
        os.kill(killed[0], signal.SIGKILL)

    outcome = run(tmp_path, Observer(6, kill_a_worker), "provide_slowly")
    assert killed
    assert (outcome.state, outcome.failed) == ("finished", 0)
    assert outcome_of(tmp_path) == undisturbed


@pytest.mark.usefixtures("cluster")
def test_a_launch_whose_lease_was_taken_over_stops_and_leaves_alone_what_is_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, asleep_s, decisions = LocalFiles(tmp_path), 0.0, list[str]()
    monkeypatch.setattr("pipeline.store.lease._clock", lambda: time.monotonic() + asleep_s)

    def wake_after_the_expiry() -> None:
        nonlocal asleep_s
        asleep_s = 100.0
        taken = json.loads(files.read("sweeps/tiny/lease.json")) | {"token": "other", "pid": 4711, "host": "spot-7"}
        files.write("sweeps/tiny/lease.json", json.dumps(taken).encode())
        files.write("sweeps/tiny/progress.json", seal(asdict(LaunchProgress("other", 1, ()))))
        (tmp_path / "sweeps/tiny/.tune-other").mkdir()
        decisions.extend(files.list("sweeps/tiny/verdicts"))

    with pytest.raises(LeaseLost, match="taken over by process 4711 on spot-7"):
        run(tmp_path, Observer(8, wake_after_the_expiry), resources=ONE_WORKER)
    assert files.list("sweeps/tiny/verdicts") == decisions != []
    assert files.exists("sweeps/tiny/progress.json")
    assert [entry.name for entry in (tmp_path / "sweeps/tiny").glob(".tune*")] == [".tune-other"]
    assert Lease(files, "tiny").holder() is not None


def test_what_else_needs_the_lease_is_through_before_it_is_given_back(tmp_path: Path) -> None:
    holders = []

    @contextmanager
    def tracking(lease: Lease) -> Iterator[None]:
        yield
        lease.check()
        holders.append(Lease(LocalFiles(tmp_path), "tiny").holder())

    run_inline(make_spec(), tmp_path)
    assert launch(make_spec(), tmp_path, provider=tiny_inputs.provide, leased=tracking).state == "finished"
    assert [holder is not None for holder in holders] == [True]


@pytest.mark.usefixtures("cluster")
def test_inputs_that_only_a_worker_lacks_end_the_sweep_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "driver.pid").write_text(str(os.getpid()))
    with pytest.raises(InputError, match="no embeddings here; bring them"):
        run(tmp_path, None, "provide_in_the_driver_only", resources=ONE_WORKER)
    assert outcome_of(tmp_path)["verdicts"] == {}


@pytest.mark.usefixtures("cluster")
def test_what_an_observer_raises_ends_the_sweep_resumably(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    def fail() -> None:
        raise SeptError("the observer broke")

    with pytest.raises(SeptError, match="the observer broke"):
        run(tmp_path, Observer(5, fail), resources=ONE_WORKER)
    assert run(tmp_path, resources=ONE_WORKER).state == "finished"
    assert outcome_of(tmp_path) == undisturbed


def test_labels_of_test_clips_change_test_metrics_and_nothing_else(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    run_inline(make_spec(), tmp_path, tiny_inputs.provide_other_test_labels)
    other = outcome_of(tmp_path)
    assert other["members"] == undisturbed["members"]
    assert other["verdicts"] == undisturbed["verdicts"]
    for key, result in other["results"].items():
        assert result["curve"] == undisturbed["results"][key]["curve"]
        assert result["validation"] == undisturbed["results"][key]["validation"]
    assert any(result["test"] != undisturbed["results"][key]["test"] for key, result in other["results"].items())


def test_another_spec_under_the_same_name_is_refused_with_the_difference(tmp_path: Path) -> None:
    run_inline(make_spec(), tmp_path)
    run(tmp_path)
    with pytest.raises(
        InputError, match=r"shots was 2 and is now 3; undo the change, or make another sweep of it with --fork NAME"
    ):
        run(tmp_path, shots=3)
    with pytest.raises(InputError, match=r"spaces\.coop\.lr was low 0.01, high 5\.0, .*and may only be narrowed"):
        run(tmp_path, **{"spaces.coop.lr": {"low": 0.01, "high": 9.0, "log": True}})
    with pytest.raises(InputError, match="coop were 7 and are now 6, and may only be raised"):
        run(tmp_path, trials=6)
    assert run(tmp_path, resources={"workers": 1}).state == "finished"


def test_a_second_driver_of_the_same_sweep_is_refused(tmp_path: Path) -> None:
    with Lease(LocalFiles(tmp_path), "tiny"), pytest.raises(LeaseHeld, match="is being run by process"):
        run(tmp_path)


def test_a_ray_client_address_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sept sweep submit SPEC --address http://HEAD:8265"):
        launch(make_spec(), tmp_path, address="ray://somewhere:10001", provider=tiny_inputs.provide)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", "address 127.0.0.1:1: no Ray cluster: Connection refused"),
        ("somewhere", "not an address of Ray; give local, auto"),
    ],
)
def test_an_address_where_no_ray_is_is_one_line_at_once(tmp_path: Path, address: str, says: str) -> None:
    said: list[str] = []
    with pytest.raises(InputError, match=says):
        launch(make_spec(), tmp_path, address=address, provider=tiny_inputs.provide, notify=said.append)
    assert said == ["Connecting to Ray"]


def test_missing_inputs_are_one_line_before_ray_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no embeddings here"):
        launch(make_spec(), tmp_path, provider=tiny_inputs.provide_nothing)
