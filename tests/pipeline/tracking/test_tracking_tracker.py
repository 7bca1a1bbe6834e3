"""The tracker of a launch: holds nothing up, keeps little, and catches up whatever became of the server meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_results as made
from mlflow_server import free_port, until
from places import Counting, MakePlace, few_cases, plans

from pipeline.store import Lease
from pipeline.tracking import MlflowTracker, TrackingTarget, default_target, mlflow_client, prepare

STUDY = "FSDD.mini.base-to-new.coop+sept"


def test_a_tracked_sweep_shows_what_is_written_one_by_one(make_place: MakePlace, no_pictures: None) -> None:
    cases, tracked, written = few_cases(), make_place("tracked"), make_place("written")
    for place in (tracked, written):
        place.keep(cases)
    expected = written.play(cases)
    for _ in range(2):
        assert tracked.track(cases).complete
        assert tracked.seen() == expected


def test_sigkill_of_the_tracking_process_loses_and_doubles_nothing(sqlite: MakePlace, tmp_path: Path) -> None:
    cases, killed, undisturbed = few_cases(), sqlite("killed"), sqlite("undisturbed")
    for place in (killed, undisturbed):
        place.keep(cases)
    program = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        sys.path[:0] = [{str(Path(made.__file__).parent)!r}, {str(Path(__file__).parent)!r}]
        from places import Place, few_cases
        from pipeline.store import LocalFiles, TrialStore
        from pipeline.tracking import MlflowTracker, default_target
        root = Path({str(tmp_path / "killed")!r})
        place = Place(default_target(root), {killed.sweep!r}, TrialStore(LocalFiles(root)))
        tracker = MlflowTracker(place.target, place.store)
        place.tell(tracker, few_cases())
        print("told", flush=True)
        tracker.close()
        """
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "told\n"
        # Killed when something, but not all, is in the database.
        client = mlflow_client(killed.target)
        until(lambda: client.get_experiment_by_name(killed.sweep) is not None)
        experiment = client.get_experiment_by_name(killed.sweep)
        assert experiment is not None
        until(lambda: len(client.search_runs([experiment.experiment_id])) >= 2)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert killed.track(cases).complete
    assert undisturbed.track(cases).complete
    assert killed.seen() == undisturbed.seen()


def test_a_server_that_is_away_holds_nothing_up_and_sync_writes_it_later(
    sqlite: MakePlace, no_pictures: None, impatient: None
) -> None:
    place, undisturbed, cases = sqlite(), sqlite("undisturbed"), few_cases()
    for one in (place, undisturbed):
        one.keep(cases)
    address = f"http://127.0.0.1:{free_port()}"
    tracker = MlflowTracker(TrackingTarget(address, None), place.store)
    started = time.monotonic()
    place.tell(tracker, cases)
    assert time.monotonic() - started < 1.0
    summary = tracker.close(grace_s=0.3)
    assert not summary.complete
    assert summary.pending == 1 + len(cases)
    assert address in summary.error
    assert place.sync(cases) == undisturbed.play(cases)


@pytest.mark.slow
def test_a_driver_that_was_suspended_beyond_its_lease_writes_nothing_into_mlflow_any_more(
    served: MakePlace, no_pictures: None, impatient: None
) -> None:
    place, undisturbed, cases = served(), served("undisturbed"), few_cases()
    for one in (place, undisturbed):
        one.keep(cases)
    first, second = (MlflowTracker(place.target, place.store) for _ in range(2))
    # No heartbeat: a process that is suspended has none.
    lost = Lease(place.store.files, place.sweep, expiry_s=0.3, heartbeat_s=60).acquire()
    first.hold(lost)
    first.sweep_started(place.sweep, plans(cases))
    first.trial_started(cases[0].proposal, 0)
    client = mlflow_client(place.target)
    until(lambda: client.get_experiment_by_name(place.sweep) is not None)
    until(lambda: len(place.seen()) == 2)
    # Its last request has renewed the lease.
    time.sleep(0.4)
    with Lease(place.store.files, place.sweep, expiry_s=0.3, heartbeat_s=0.05) as lease:
        second.hold(lease)
        second.sweep_started(place.sweep, plans(cases))
        second.trial_started(cases[0].proposal, 0)
        second.trial_started(cases[1].proposal, 0)
        until(lambda: len(place.seen()) == 3)
        before = place.seen()
        for case in cases:
            first.trial_started(case.proposal, 0)
            first.reported(case.proposal, case.decision.curve[0])
        first.sweep_ended("stopped")
        summary = first.close()
        assert not summary.complete
        assert f"was taken over by process {os.getpid()}" in summary.error
        assert place.seen() == before
        for case in cases:
            second.trial_ended(case.proposal, case.decision, None)
        # What the first has asked for just before it was suspended, and the server does only now.
        experiment = client.get_experiment_by_name(place.sweep)
        assert experiment is not None
        tags = client.search_runs([experiment.experiment_id], "tags.`sept.number` = '0'")[0].data.tags
        client.create_run(experiment.experiment_id, tags=dict(tags))
        second.sweep_ended("finished")
        assert second.close().complete
    lost.release()
    assert place.seen() == undisturbed.play(cases)


def test_a_server_that_keeps_every_request_waiting_holds_up_the_end_for_two_requests_at_most(
    sqlite: MakePlace, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, cases, asked = sqlite(), few_cases(), []

    class Hanging:
        def __getattr__(self, name: str) -> None:
            asked.append(name)
            time.sleep(0.3)
            raise OSError("timed out")

    monkeypatch.setattr("pipeline.tracking.tracker.mlflow_client", lambda _target: Hanging())
    tracker = MlflowTracker(place.target, place.store)
    place.tell(tracker, cases)
    until(lambda: len(asked) == 1)
    summary = tracker.close(grace_s=0.1)
    assert (summary.pending, summary.error) == (1 + len(cases), "timed out")
    assert len(asked) <= 2


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664)])
def test_who_shares_the_results_shares_mlflows_file(
    umask: int, mode: int, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "mlflow.db"
    monkeypatch.setattr(
        "pipeline.tracking.client.mlflow_client", lambda target: mlflow_client(TrackingTarget(copy, None))
    )
    copy = f"sqlite:///{shutil.copy(empty_database, tmp_path / 'other.db')}"
    before = os.umask(umask)
    try:
        prepare(TrackingTarget(f"sqlite:///{file}", None))
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == mode


def test_what_waits_for_a_server_that_is_away_takes_little_memory(sqlite: MakePlace, impatient: None) -> None:
    place = sqlite()
    cases = [made.make_case("FSDD", "coop+sept", number) for number in range(400)]
    mlflow_client(place.target)  # imports MLflow, which is no small thing either
    tracker = MlflowTracker(TrackingTarget(f"http://127.0.0.1:{free_port()}", None), place.store)
    tracker.sweep_started(place.sweep, plans(cases))
    tracemalloc.start()
    try:
        for case in cases:
            tracker.trial_started(case.proposal, 0)
            for epoch in range(100):
                tracker.reported(case.proposal, replace(case.decision.curve[0], epoch=epoch))
            tracker.trial_ended(case.proposal, case.decision, case.result)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tracker.close(grace_s=0).pending == 1 + len(cases)
    # Trial and decision are the driver's anyway; the 100 reports would be some 20 kB.
    assert grown / len(cases) < 1500


def test_an_update_that_mlflow_refuses_is_counted_and_the_rest_is_written(
    make_place: MakePlace, no_pictures: None
) -> None:
    place, cases = make_place(), few_cases()
    config = cases[1].proposal.config
    config = config.model_copy(update={"hyper": config.hyper | {"what?": 1}})
    cases[1] = replace(
        cases[1],
        proposal=replace(cases[1].proposal, config=config, signature=config.signature),
        decision=replace(cases[1].decision, signature=config.signature),
    )
    place.keep(cases)
    summary = place.track(cases)
    assert (summary.refused, summary.pending) == (1, 0)
    assert "what?" in summary.error
    shown = place.seen()
    assert "RUNNING" not in {run["status"] for run in shown.values()}
    for number in (0, 2, 3):
        curve = shown[STUDY, str(number)]["curves"]["val/h"]
        assert [step for step, _, _ in curve] == [report.epoch for report in cases[number].decision.curve]


def test_a_run_that_is_deleted_while_its_trial_runs_comes_back(make_place: MakePlace, no_pictures: None) -> None:
    place, undisturbed, cases = make_place(), make_place("undisturbed"), few_cases()
    for one in (place, undisturbed):
        one.keep(cases)
    tracker = MlflowTracker(place.target, place.store)
    tracker.sweep_started(place.sweep, plans(cases))
    tracker.trial_started(cases[0].proposal, 0)
    client = mlflow_client(place.target)
    until(lambda: client.get_experiment_by_name(place.sweep) is not None)
    experiment = client.get_experiment_by_name(place.sweep)
    assert experiment is not None
    wanted = ([experiment.experiment_id], "tags.`sept.role` = 'trial' and params.method = 'coop+sept'")
    until(lambda: len(client.search_runs(*wanted)) == 1)
    client.delete_run(client.search_runs(*wanted)[0].info.run_id)
    for case in cases:
        tracker.trial_ended(case.proposal, case.decision, case.result)
    tracker.sweep_ended("finished")
    assert tracker.close().complete
    assert place.seen() == undisturbed.play(cases)


def test_one_trial_that_cannot_be_written_now_holds_up_no_other(
    sqlite: MakePlace, no_pictures: None, impatient: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place, cases = sqlite(), few_cases()
    place.keep(cases)

    class Stuck(Counting):
        """Takes no files of the first trial: the disk behind it is full."""

        def log_artifacts(self, run_id: str, folder: str) -> None:
            if self.client.get_run(run_id).data.tags["sept.number"] == "0":
                raise OSError("no space left on device")
            self.client.log_artifacts(run_id, folder)

    client = Stuck(mlflow_client(place.target))
    monkeypatch.setattr("pipeline.tracking.tracker.mlflow_client", lambda _target: client)
    tracker = MlflowTracker(place.target, place.store)
    place.tell(tracker, cases)
    tracker.sweep_ended("finished")
    summary = tracker.close(grace_s=0.2)
    assert (summary.pending, summary.refused, summary.error) == (1, 0, "no space left on device")
    shown = {key[1]: run["status"] for key, run in place.seen().items()}
    assert shown == {None: "FINISHED", "0": "KILLED", "1": "FINISHED", "2": "FAILED", "3": "FINISHED"}
    monkeypatch.undo()
    undisturbed = sqlite("undisturbed")
    undisturbed.keep(cases)
    assert {key: run["curves"] for key, run in place.sync(cases).items()} == {
        key: run["curves"] for key, run in undisturbed.play(cases).items()
    }


def test_mlflows_empty_experiment_goes_from_our_database_and_stays_where_it_is_used_or_not_ours(tmp_path: Path) -> None:
    def active(target: TrackingTarget) -> list[str]:
        return [one.name for one in mlflow_client(target).search_experiments()]

    ours = default_target(tmp_path / "ours")
    prepare(ours)
    assert active(ours) == []
    # A launch passes the address on.
    assert default_target(tmp_path / "ours", ours.uri) == ours
    for name in ("used", "other"):
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "ours" / "mlflow.db", tmp_path / name / "mlflow.db")
    used, other = default_target(tmp_path / "used"), TrackingTarget(f"sqlite:///{tmp_path}/other/mlflow.db", None)
    for target in (used, other):
        mlflow_client(target).restore_experiment("0")
    mlflow_client(used).create_run("0")
    for target in (used, other):
        prepare(target)
        assert active(target) == ["Default"]
