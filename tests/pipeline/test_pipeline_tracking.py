from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import synthetic_results as made

from pipeline.store import LocalFiles, TrialStore
from pipeline.tracking import MlflowTracker, SweepWriter, TrackingTarget, default_target, sync
from pipeline.tracking.client import connect
from sept_core.errors import InputError

MakeTarget = Callable[..., TrackingTarget]

MUTATING = {
    "create_experiment",
    "create_run",
    "log_artifacts",
    "log_batch",
    "restore_experiment",
    "set_tag",
    "set_terminated",
    "update_run",
}


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it."""


class CountingClient:
    """MLflow's client with its writes counted, and an exception after the chosen ones got through."""

    def __init__(self, client: Any, fail_after: dict[int, BaseException] | None = None) -> None:
        self.client = client
        self.calls: list[str] = []
        self.fail_after = fail_after or {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if name not in MUTATING:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            value = method(*args, **kwargs)
            self.calls.append(name)
            failure = self.fail_after.get(len(self.calls))
            if failure is not None:
                raise failure
            return value

        return call


def plans(cases: list[made.Case]) -> list[Any]:
    keys = dict.fromkeys(case.member.study for case in cases)
    return [SimpleNamespace(key=key, budget=sum(case.member.study == key for case in cases)) for key in keys]


def play(writer: SweepWriter, cases: list[made.Case]) -> None:
    """The events of a sweep in which two trials run side by side."""
    writer.open({plan.key: plan.budget for plan in plans(cases)})
    for first in range(0, len(cases), 2):
        pair = cases[first : first + 2]
        for case in pair:
            writer.start(case.member)
        for step in range(max(len(case.verdict.curve) for case in pair)):
            for case in pair:
                if step < len(case.verdict.curve):
                    writer.report(case.member, case.verdict.curve[step])
        for case in reversed(pair):
            writer.end(case.member, case.verdict, case.result, lambda: b"learned context")
    writer.close("finished")


def replay(writer: SweepWriter, cases: list[made.Case]) -> None:
    """What a driver that finds everything ended in the store tells its observers."""
    writer.open({plan.key: plan.budget for plan in plans(cases)})
    for case in cases:
        writer.end(case.member, case.verdict, case.result, lambda: b"learned context")
    writer.close("finished")


def snapshot(target: TrackingTarget, sweep: str = made.SWEEP) -> dict[Any, Any]:
    """Everything that a person can see of a sweep in MLflow, without the ids that MLflow makes up itself."""
    client = connect(target)
    experiment = client.get_experiment_by_name(sweep)
    assert experiment is not None
    shown: dict[Any, Any] = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        tags = {name: value for name, value in run.data.tags.items() if name.startswith("sept.")}
        key = (tags["sept.study"], tags["sept.role"], tags.get("sept.number"))
        assert key not in shown, f"{key} is there twice"
        curves = {
            name: [
                (point.step, point.value, point.timestamp) for point in client.get_metric_history(run.info.run_id, name)
            ]
            for name in run.data.metrics
        }
        shown[key] = {
            "name": run.info.run_name,
            "status": run.info.status,
            "start": run.info.start_time,
            "end": run.info.end_time,
            "params": run.data.params,
            "tags": tags,
            "curves": curves,
            "files": sorted(item.path for item in client.list_artifacts(run.info.run_id)),
            "nested": "mlflow.parentRunId" in run.data.tags,
        }
    return shown


def write(target: TrackingTarget, cases: list[made.Case]) -> dict[Any, Any]:
    play(SweepWriter(connect(target), target, made.SWEEP), cases)
    return snapshot(target)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    def stub(_result: Any, title: str, folder: Path) -> None:
        (folder / "replicas.csv").write_text(title)

    monkeypatch.setattr("pipeline.tracking.writer.write_artifacts", stub)


def few_cases() -> list[made.Case]:
    return [case for case in made.make_cases(trials=3) if case.member.study == "FSDD.mini.base-to-new.coop+sept"]


def test_a_sweep_is_an_experiment_with_a_run_per_study_and_a_run_per_trial(make_target: MakeTarget) -> None:
    cases = made.make_cases(trials=2)
    shown = write(make_target(), cases)
    assert len([key for key in shown if key[1] == "study"]) == 6
    assert len([key for key in shown if key[1] == "trial"]) == len(cases)
    assert all(run["nested"] == (key[1] == "trial") for key, run in shown.items())
    assert {run["status"] for run in shown.values()} == {"FINISHED"}
    case = next(case for case in cases if case.member.config.sept and case.verdict.state == "finished")
    run = shown[(case.member.study, "trial", str(case.member.number))]
    assert case.result is not None
    assert run["tags"]["sept.signature"] == case.member.signature
    assert run["params"]["lambda_se"] == str(case.member.params["lambda_se"])
    assert run["params"]["seeds"] == "0"
    assert run["params"]["folds"] == ",".join(case.member.config.folds)
    assert run["curves"]["val/h"] == [(r.epoch, r.metrics["val/h"], r.timestamp_ms) for r in case.verdict.curve]
    assert run["curves"]["test/h"] == [(made.EPOCHS, case.result.test["h"], case.verdict.decided_ms)]
    assert run["curves"]["val/h_std"][0][1] == case.result.validation["h_std"]
    assert run["files"] == ["checkpoint.safetensors", "confusion_base.png", "confusion_new.png", "replicas.csv"]
    assert run["name"].startswith(f"coop+sept #{case.member.number} ")
    zero = shown[("ESC10.mini.base-to-new.zero-shot", "trial", "0")]
    assert zero["name"] == "zero-shot"


def test_each_report_is_one_request(make_target: MakeTarget, no_pictures: None) -> None:
    target, cases = make_target(), few_cases()
    client = CountingClient(connect(target))
    writer = SweepWriter(client, target, made.SWEEP)  # type: ignore[arg-type]
    writer.start(cases[0].member)
    before = len(client.calls)
    for report in cases[0].verdict.curve:
        writer.report(cases[0].member, report)
    assert client.calls[before:] == ["log_batch"] * len(cases[0].verdict.curve)


def test_replaying_a_finished_sweep_writes_nothing(make_target: MakeTarget, no_pictures: None) -> None:
    target, cases = make_target(), few_cases()
    expected = write(target, cases)
    client = CountingClient(connect(target))
    replay(SweepWriter(client, target, made.SWEEP), cases)  # type: ignore[arg-type]
    assert client.calls == []
    assert snapshot(target) == expected


def test_killed_after_any_write_and_replayed_shows_what_an_undisturbed_sweep_shows(
    make_target: MakeTarget, no_pictures: None
) -> None:
    cases = few_cases()
    undisturbed = make_target("undisturbed")
    client = CountingClient(connect(undisturbed))
    play(SweepWriter(client, undisturbed, made.SWEEP), cases)  # type: ignore[arg-type]
    expected = snapshot(undisturbed)
    writes = len(client.calls)
    assert writes > 15
    for moment in range(1, writes + 1, 2):
        target = make_target(f"killed{moment}")
        dying = CountingClient(connect(target), {moment: Killed()})
        with pytest.raises(Killed):
            play(SweepWriter(dying, target, made.SWEEP), cases)  # type: ignore[arg-type]
        replay(SweepWriter(connect(target), target, made.SWEEP), cases)
        assert snapshot(target) == expected, f"killed after write {moment} of {writes}: {dying.calls[-1]}"


def test_sigkill_of_the_tracking_process_loses_and_doubles_nothing(make_target: MakeTarget, tmp_path: Path) -> None:
    cases = few_cases()
    store = TrialStore(LocalFiles(tmp_path / "undisturbed"))
    undisturbed = make_target("undisturbed")
    expected = run_tracker(MlflowTracker(undisturbed, store), cases, undisturbed)
    target = make_target("killed")
    program = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        from types import SimpleNamespace
        sys.path.insert(0, {str(Path(made.__file__).parent)!r})
        import synthetic_results as made
        from pipeline.store import LocalFiles, TrialStore
        from pipeline.tracking import MlflowTracker, default_target
        cases = [c for c in made.make_cases(trials=3) if c.member.study == {cases[0].member.study!r}]
        target = default_target(Path({str(tmp_path / "killed")!r}))
        tracker = MlflowTracker(target, TrialStore(LocalFiles(Path("unused"))))
        tracker.sweep_started(made.SWEEP, [SimpleNamespace(key=cases[0].member.study, budget=len(cases))])
        for case in cases:
            tracker.member_started(case.member, 0)
            for report in case.verdict.curve:
                tracker.reported(case.member, report)
            tracker.member_ended(case.member, case.verdict, case.result)
        print("told", flush=True)
        tracker.close()
        """
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "told\n"
        # Killed when something, but not all, is in the database.
        client = connect(target)
        until(lambda: client.get_experiment_by_name(made.SWEEP) is not None)
        experiment = client.get_experiment_by_name(made.SWEEP)
        assert experiment is not None
        until(lambda: len(client.search_runs([experiment.experiment_id])) >= 2)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert run_tracker(MlflowTracker(target, store), cases, target) == expected


def run_tracker(tracker: MlflowTracker, cases: list[made.Case], target: TrackingTarget) -> dict[Any, Any]:
    tracker.sweep_started(made.SWEEP, plans(cases))
    for case in cases:
        tracker.member_started(case.member, 0)
        for report in case.verdict.curve:
            tracker.reported(case.member, report)
        tracker.member_ended(case.member, case.verdict, case.result)
    tracker.sweep_ended("finished")
    summary = tracker.close()
    assert summary.complete, summary
    return snapshot(target)


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_response_lost_on_the_way_doubles_nothing(
    make_target: MakeTarget, no_pictures: None, monkeypatch: pytest.MonkeyPatch, store: TrialStore
) -> None:
    cases = few_cases()
    plain = make_target("plain")
    expected = run_tracker(MlflowTracker(plain, store), cases, plain)
    target = make_target("flaky")
    failures: dict[int, BaseException] = {at: ConnectionError("connection reset") for at in (1, 2, 3, 6, 9, 12, 17)}
    flaky = CountingClient(connect(target), failures)
    monkeypatch.setattr("pipeline.tracking.tracker.connect", lambda _target: flaky)
    monkeypatch.setattr("pipeline.tracking.tracker._FIRST_WAIT_S", 0.01)
    assert run_tracker(MlflowTracker(target, store), cases, target) == expected


def test_a_server_that_is_away_holds_nothing_up_and_sync_writes_it_later(
    make_target: MakeTarget, store: TrialStore, no_pictures: None
) -> None:
    cases = few_cases()
    made.fill_store(store, cases)
    away = default_target(Path("unused"), f"http://127.0.0.1:{free_port()}")
    tracker = MlflowTracker(away, store)
    started = time.monotonic()
    tracker.sweep_started(made.SWEEP, plans(cases))
    for case in cases:
        tracker.member_started(case.member, 0)
        tracker.member_ended(case.member, case.verdict, case.result)
    assert time.monotonic() - started < 1.0
    summary = tracker.close(grace_s=0.3)
    assert not summary.complete
    assert summary.pending == 1 + 2 * len(cases)
    assert "127.0.0.1" in summary.error
    target = make_target("late")
    done = sync(store, made.SWEEP, SweepWriter(connect(target), target, made.SWEEP))
    assert (done.ended, done.unended) == (len(cases), 0)
    trials = [run for key, run in snapshot(target).items() if key[1] == "trial"]
    assert [run["curves"]["val/h"] for run in sorted(trials, key=lambda run: run["tags"]["sept.number"])] == [
        [(report.epoch, report.metrics["val/h"], report.timestamp_ms) for report in case.verdict.curve]
        for case in cases
    ]


def test_an_update_that_mlflow_refuses_is_counted_and_the_rest_is_written(
    make_target: MakeTarget, store: TrialStore, no_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, cases = make_target(), few_cases()
    client = CountingClient(connect(target), {5: ValueError("no")})
    monkeypatch.setattr("pipeline.tracking.tracker.connect", lambda _target: client)
    tracker = MlflowTracker(target, store)
    tracker.sweep_started(made.SWEEP, plans(cases))
    for case in cases:
        for report in case.verdict.curve:
            tracker.reported(case.member, report)
        tracker.member_ended(case.member, case.verdict, case.result)
    summary = tracker.close()
    assert (summary.refused, summary.pending, summary.error) == (1, 0, "no")
    curves = {key[2]: run["curves"]["val/h"] for key, run in snapshot(target).items() if key[1] == "trial"}
    for case in cases:
        assert [step for step, _, _ in curves[str(case.member.number)]] == [r.epoch for r in case.verdict.curve]


def test_a_pruned_trial_shows_its_curve_up_to_the_pruning_and_no_test_metric(make_target: MakeTarget) -> None:
    # The trial itself was finished by another sweep; what this sweep decided is what this sweep shows.
    cases = few_cases()
    pruned = made.Case(cases[1].member, cases[1].verdict, made.make_case("FSDD", "coop+sept", 1).result)
    assert pruned.verdict.state == "pruned"
    run = write(make_target(), [pruned])[(pruned.member.study, "trial", "1")]
    assert run["status"] == "FINISHED"
    assert run["tags"]["sept.state"] == "pruned"
    assert [step for step, _, _ in run["curves"]["val/h"]] == [made.EVERY]
    assert not [name for name in run["curves"] if name.startswith("test/")]
    assert run["files"] == []


def test_a_failed_trial_is_failed_with_its_traceback(make_target: MakeTarget) -> None:
    case = made.make_case("FSDD", "coop", 0, "failed")
    run = write(make_target(), [case])[(case.member.study, "trial", "0")]
    assert run["status"] == "FAILED"
    assert run["tags"]["sept.error"] == case.verdict.error
    assert run["files"] == ["error.txt"]


def test_a_stopped_sweep_leaves_no_running_run_and_goes_on_in_the_same_runs(
    make_target: MakeTarget, no_pictures: None
) -> None:
    target, cases = make_target(), few_cases()
    expected = write(make_target("undisturbed"), cases)
    writer = SweepWriter(connect(target), target, made.SWEEP)
    writer.open({cases[0].member.study: 3})
    writer.end(cases[0].member, cases[0].verdict, cases[0].result, lambda: None)
    writer.start(cases[1].member)
    writer.report(cases[1].member, cases[1].verdict.curve[0])
    writer.close("stopped")
    stopped = snapshot(target)
    assert {key[2]: run["status"] for key, run in stopped.items()} == {None: "KILLED", "0": "FINISHED", "1": "KILLED"}
    play(SweepWriter(connect(target), target, made.SWEEP), cases)
    shown = snapshot(target)
    assert {key: run["status"] for key, run in shown.items()} == {key: run["status"] for key, run in expected.items()}
    assert {key: run["curves"] for key, run in shown.items()} == {key: run["curves"] for key, run in expected.items()}


def test_a_study_shows_the_best_by_validation_whatever_the_order_of_the_ends(
    make_target: MakeTarget, no_pictures: None
) -> None:
    cases = few_cases()
    best = made.best_of(cases, cases[0].member.study)
    assert best.result is not None
    histories = []
    for name, order in (("forward", cases), ("backward", cases[::-1])):
        target = make_target(name)
        replay(SweepWriter(connect(target), target, made.SWEEP), order)
        run = snapshot(target)[(cases[0].member.study, "study", None)]
        assert run["tags"]["sept.best_signature"] == best.member.signature
        assert run["curves"]["best/test_h"][-1][1] == best.result.test["h"]
        assert run["curves"]["trials/pruned"][-1][1] == 1.0
        histories.append(run["curves"])
    assert histories[0] == histories[1]


def test_a_raised_budget_reopens_the_study(make_target: MakeTarget, no_pictures: None) -> None:
    target, cases = make_target(), few_cases()
    write(target, cases[:2])
    writer = SweepWriter(connect(target), target, made.SWEEP)
    writer.open({cases[0].member.study: 3})
    for case in cases[:2]:
        writer.end(case.member, case.verdict, case.result, lambda: None)
    writer.start(cases[2].member)
    assert snapshot(target)[(cases[0].member.study, "study", None)]["status"] == "RUNNING"


def test_a_tracking_uri_of_no_known_kind_is_refused() -> None:
    with pytest.raises(InputError, match="ftp://here"):
        default_target(Path("runs"), "ftp://here")


@pytest.fixture
def server(tmp_path: Path, make_target: MakeTarget) -> Iterator[str]:
    target, port = make_target("served"), free_port()
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", target.uri, "--workers", "1"]
    command += [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--artifacts-destination",
        str(tmp_path / "served" / "files"),
    ]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"), 90)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_a_server_over_http_is_tracked_like_a_database(server: str, make_target: MakeTarget, store: TrialStore) -> None:
    cases = few_cases()
    local = make_target("local")
    expected = run_tracker(MlflowTracker(local, store), cases, local)
    served = default_target(Path("unused"), server)
    assert run_tracker(MlflowTracker(served, store), cases, served) == expected
    assert run_tracker(MlflowTracker(served, store), cases, served) == expected
