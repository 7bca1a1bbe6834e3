"""What MLflow shows of a sweep, on every kind of target: the same, whatever was repeated, killed or replaced."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_results as made
from places import Counting, Killed, MakePlace, events, few_cases, history, started_afresh, tried_again

from pipeline.reports import collect
from pipeline.tracking import mlflow_client
from pipeline.tracking.describe import rounded
from pipeline.tracking.labels import EXPERIMENT_NOTE
from pipeline.tracking.view import view_tags
from pipeline.watch.status import sweep_status

STUDY = "FSDD.mini.base-to-new.coop+sept"


def test_a_sweep_is_an_experiment_with_a_run_per_study_and_a_run_per_trial(make_place: MakePlace) -> None:
    cases = made.make_cases(trials=2)
    place = make_place()
    place.keep(cases)
    shown = place.play(cases)
    assert len([key for key in shown if key[1] is None]) == 6
    assert len([key for key in shown if key[1] is not None]) == len(cases)
    assert all(run["under"] == (None if key[1] is None else key[0]) for key, run in shown.items())
    assert {run["status"] for run in shown.values()} == {"FINISHED"}
    case = next(case for case in cases if case.proposal.config.sept and case.decision.state == "finished")
    run = shown[case.proposal.study, str(case.proposal.number)]
    assert case.result is not None
    assert run["tags"]["sept.signature"] == case.proposal.signature
    assert run["params"]["lambda_se"] == f"{case.proposal.params['lambda_se']:.4g}"
    assert json.loads(run["tags"]["sept.params"]) == case.proposal.params
    assert run["params"]["seeds"] == "0"
    assert run["params"]["folds"] == ",".join(case.proposal.config.folds)
    assert run["curves"]["val/h"] == [
        (report.epoch, round(report.metrics["val/h"], 2), report.timestamp_ms) for report in case.decision.curve
    ]
    assert run["curves"]["test/h"] == [(made.EPOCHS, round(case.result.test["h"], 2), case.decision.decided_ms)]
    assert run["curves"]["val/h_std"][0][1] == rounded(case.result.validation["h_std"])
    assert sorted(run["files"]) == ["checkpoint.safetensors", "confusion_base.svg", "confusion_new.svg", "replicas.csv"]
    assert (run["start"], run["end"]) == (case.proposal.created_ms, case.decision.decided_ms)
    assert run["name"] == f"#{case.proposal.number} coop+sept | {case.proposal.config.dataset}"
    assert shown["ESC10.mini.base-to-new.zero-shot", "0"]["name"] == "#0 zero-shot | ESC10"
    assert shown["ESC10.mini.base-to-new.coop", "1"]["name"] == "#1 coop, pruned | ESC10"
    assert shown["ESC10.mini.base-to-new.coop+sept", None]["name"] == "ESC10 | CoOp + SEPT"
    # Each trial of a study can be told from the others by its first ten characters.
    names = [run["name"][:10] for key, run in shown.items() if key[0] == case.proposal.study]
    assert len(set(names)) == len(names)


def test_rebuilt_from_the_store_it_is_what_it_was_when_tracked_live(make_place: MakePlace) -> None:
    cases = [*few_cases(), made.make_case("FSDD", "zero-shot", 0)]
    live, rebuilt = make_place("live"), make_place("rebuilt")
    for place in (live, rebuilt):
        place.keep(cases)
    expected = live.play(cases)
    assert rebuilt.sync(cases) == expected
    assert rebuilt.sync(cases) == expected
    assert live.sync(cases) == expected


def test_replaying_writes_nothing(make_place: MakePlace, no_pictures: None) -> None:
    place, cases = make_place(), few_cases()
    place.keep(cases)
    expected = place.play(cases)
    for _ in range(2):
        client = Counting(mlflow_client(place.target))
        assert place.replay(cases, client) == expected
        assert client.calls == []


def test_telling_everything_from_the_beginning_once_more_changes_nothing(
    make_place: MakePlace, no_pictures: None
) -> None:
    place, cases = make_place(), few_cases()
    place.keep(cases)
    expected = place.play(cases)
    client = Counting(mlflow_client(place.target))
    assert place.play(cases, client) == expected
    assert not {"create_run", "delete_run"} & set(client.calls)
    # Of a failed one a start may mean that it is run once more; of all others nothing is written.
    other = [case for case in cases if case.decision.state != "failed"]
    client = Counting(mlflow_client(place.target))
    assert place.play(other, client) == expected
    assert client.calls == []


def test_killed_after_any_write_and_replayed_it_shows_what_an_undisturbed_sweep_shows(
    make_place: MakePlace, no_pictures: None, request: pytest.FixtureRequest
) -> None:
    cases, undisturbed = few_cases(), make_place("undisturbed")
    undisturbed.keep(cases)
    client = Counting(mlflow_client(undisturbed.target))
    expected = undisturbed.play(cases, client)
    writes = len(client.calls)
    assert writes > 25
    for moment in random.Random(5).sample(range(1, writes + 1), 6 if "served" in request.node.name else 12):
        place = make_place(f"killed{moment}")
        place.keep(cases)
        dying = Counting(mlflow_client(place.target), moment)
        with pytest.raises(Killed):
            place.play(cases, dying)
        where = f"killed after write {moment} of {writes}: {dying.calls[-1]}"
        assert place.replay(cases) == expected, where
        again = Counting(mlflow_client(place.target))
        assert place.replay(cases, again) == expected, where
        assert again.calls == [], where


def test_a_failed_trial_that_is_run_again_is_one_run_with_its_new_end(make_place: MakePlace, no_pictures: None) -> None:
    place, cases = make_place(), few_cases()
    place.keep(cases)
    before = place.play(cases)
    assert before[STUDY, "2"]["status"] == "FAILED"
    assert place.store.forget_failures(place.sweep, lambda: None) == 1
    now = [tried_again(case) if case.decision.state == "failed" else case for case in cases]

    # The launch: what has ended is replayed; the trial starts, and the driver is killed in the middle of it.
    place.replay([case for case in now if case.proposal.number != 2], state="stopped")
    writer = place.writer()
    writer.start(now[2].proposal)
    assert place.seen()[STUDY, "2"]["status"] == "RUNNING"
    place.keep(now)
    after = place.replay(now)
    assert after[STUDY, "2"]["status"] == "FINISHED"
    assert "sept.error" not in after[STUDY, "2"]["tags"]
    assert "error.txt" not in after[STUDY, "2"]["files"]
    assert [value for _, value, _ in after[STUDY, None]["curves"]["trials/failed"]] == [0.0] * 4
    untouched = [key for key in before if key[1] not in (None, "2")]
    assert {key: after[key] for key in untouched} == {key: before[key] for key in untouched}

    rebuilt = make_place("rebuilt")
    rebuilt.keep(now)
    assert rebuilt.sync(now) == after


def test_killed_while_it_replaces_what_is_not_so_any_more(sqlite: MakePlace, no_pictures: None, tmp_path: Path) -> None:
    failed, rebuilt, cases = sqlite("failed"), sqlite("rebuilt"), few_cases()
    failed.keep(cases)
    failed.play(cases)
    now = [tried_again(case) if case.decision.state == "failed" else case for case in cases]
    rebuilt.keep(now)
    expected = rebuilt.sync(now)
    moment = killed = 0
    while killed == moment:
        moment += 1
        place = replace(sqlite(f"killed{moment}"), sweep=failed.sweep)
        shutil.copy(tmp_path / "failed" / "mlflow.db", tmp_path / f"killed{moment}" / "mlflow.db")
        place.keep(now)
        try:
            place.replay(now, Counting(mlflow_client(place.target), moment))
        except Killed:
            killed += 1
        assert place.replay(now) == expected, moment
    assert moment > 10


def test_a_trial_that_lost_its_checkpoint_has_no_point_twice(make_place: MakePlace, no_pictures: None) -> None:
    place, rebuilt, cases = make_place(), make_place("rebuilt"), few_cases()
    writer = place.writer()
    writer.start(cases[0].proposal)
    writer.report(cases[0].proposal, cases[0].decision.curve[:2])
    now = [started_afresh(cases[0]), *cases[1:]]
    for one in (place, rebuilt):
        one.keep(now)
    writer.start(now[0].proposal)
    writer.report(now[0].proposal, now[0].decision.curve[:1])
    run = place.seen()[STUDY, "0"]
    assert run["curves"]["val/h"] == [
        (r.epoch, round(r.metrics["val/h"], 2), r.timestamp_ms) for r in now[0].decision.curve[:1]
    ]
    assert place.replay(now) == rebuilt.sync(now)


def test_a_larger_budget_goes_on_in_the_same_runs(make_place: MakePlace, no_pictures: None) -> None:
    place, undisturbed, cases = make_place(), make_place("undisturbed"), few_cases()
    for one in (place, undisturbed):
        one.keep(cases)
    small = place.play(cases[:2])
    assert small[STUDY, None]["status"] == "FINISHED"
    writer = place.writer()
    writer.open({STUDY: 4})
    for case in cases[:2]:
        writer.end(case.proposal, case.decision)
    writer.start(cases[2].proposal)
    assert place.seen()[STUDY, None]["status"] == "RUNNING"
    assert place.play(cases) == undisturbed.play(cases)


def test_a_stopped_sweep_leaves_no_running_run_and_goes_on_in_the_same_runs(
    make_place: MakePlace, no_pictures: None
) -> None:
    place, rebuilt, undisturbed, cases = (*map(make_place, ("place", "rebuilt", "undisturbed")), few_cases())
    writer = place.writer()
    place.keep(cases[:1])
    writer.open({STUDY: 4})
    writer.start(cases[0].proposal)
    writer.start(cases[1].proposal)
    writer.report(cases[1].proposal, cases[1].decision.curve[:1])
    writer.end(cases[0].proposal, cases[0].decision)
    writer.close("stopped")
    stopped = place.seen()
    assert {key[1]: run["status"] for key, run in stopped.items()} == {None: "KILLED", "0": "FINISHED", "1": "KILLED"}
    assert stopped[STUDY, "1"]["tags"]["sept.state"] == "stopped"
    assert stopped[STUDY, "1"]["end"] == cases[1].decision.curve[0].timestamp_ms

    # The store alone says the same of a trial that was interrupted.
    rebuilt.keep(cases[:1])
    rebuilt.store.add_proposal(rebuilt.sweep, cases[1].proposal)
    rebuilt.checkpoint(cases[1], cases[1].decision.curve[:1])
    assert rebuilt.sync(cases) == stopped

    for one in (place, undisturbed):
        one.keep(cases)
    assert place.play(cases) == undisturbed.play(cases)


def test_a_launch_that_was_killed_leaves_nothing_running_once_it_is_synced(
    make_place: MakePlace, no_pictures: None
) -> None:
    place, cases = make_place(), few_cases()
    place.keep(cases[:3])
    writer = place.writer()
    for name, *arguments in list(events(cases))[:-2]:
        getattr(writer, name)(*arguments)
    assert "RUNNING" in {run["status"] for run in place.seen().values()}
    place.store.add_proposal(place.sweep, cases[3].proposal)
    shown = place.sync(cases)
    assert {key[1]: run["status"] for key, run in shown.items()} == {
        None: "KILLED",
        "0": "FINISHED",
        "1": "FINISHED",
        "2": "FAILED",
        "3": "KILLED",
    }


def test_of_two_runs_of_one_trial_or_study_one_stays(make_place: MakePlace, no_pictures: None) -> None:
    place, cases = make_place(), few_cases()
    place.keep(cases)
    expected = place.play(cases)
    client = mlflow_client(place.target)
    experiment = client.get_experiment_by_name(place.sweep)
    assert experiment is not None
    # What a request leaves behind that was given up as lost, and came through later.
    later = {"sept.state", "sept.tracked", "sept.error", "sept.counted", "sept.outcomes", "sept.machine"}
    for run in client.search_runs([experiment.experiment_id]):
        tags = {name: value for name, value in run.data.tags.items() if name not in later}
        client.create_run(experiment.experiment_id, run.info.start_time, tags, run.info.run_name)
    assert place.replay(cases) == expected


def test_a_run_that_somebody_deleted_comes_back(make_place: MakePlace, no_pictures: None) -> None:
    place, cases = make_place(), few_cases()
    place.keep(cases)
    expected = place.play(cases)
    client = mlflow_client(place.target)
    experiment = client.get_experiment_by_name(place.sweep)
    assert experiment is not None
    for run in client.search_runs([experiment.experiment_id])[::2]:
        client.delete_run(run.info.run_id)
    assert place.replay(cases) == expected
    client.delete_experiment(experiment.experiment_id)
    assert place.replay(cases) == expected


def test_more_reports_than_mlflow_takes_at_a_time_are_all_there(make_place: MakePlace, no_pictures: None) -> None:
    place, case = make_place(), few_cases()[0]
    curve = tuple(
        replace(case.decision.curve[0], epoch=epoch, timestamp_ms=made.START_MS + epoch) for epoch in range(1, 400)
    )
    case = replace(case, decision=replace(case.decision, curve=curve, epoch=399))
    place.keep([case])
    client = Counting(mlflow_client(place.target))
    place.writer(client).end(case.proposal, case.decision)
    # 399 x 5 points in batches of at most 800: three; one for parameters, one for the end, one for the study.
    assert client.calls.count("log_batch") == 6
    experiment = client.get_experiment_by_name(place.sweep)
    run = client.search_runs([experiment.experiment_id], "tags.`sept.role` = 'trial'")[0]
    for name in curve[0].metrics:
        assert [step for step, _, _ in history(client, run.info.run_id, name)] == list(range(1, 400))


def test_a_pruned_trial_shows_its_curve_up_to_the_pruning_and_no_test_metric(make_place: MakePlace) -> None:
    # The trial itself was finished by another sweep; what this sweep decided is what this sweep shows.
    place, case = make_place(), few_cases()[1]
    assert case.decision.state == "pruned"
    place.keep([case])
    finished = made.make_case("FSDD", "coop+sept", 1).result
    assert finished is not None
    place.store.write_result(finished)
    run = place.replay([case])[STUDY, "1"]
    assert run["status"] == "FINISHED"
    assert run["tags"]["sept.state"] == "pruned"
    assert [step for step, _, _ in run["curves"]["val/h"]] == [made.EVERY]
    assert not [name for name in run["curves"] if name.startswith("test/")]
    assert run["files"] == {}


def test_a_failed_trial_is_failed_with_its_traceback(make_place: MakePlace) -> None:
    place, case = make_place(), few_cases()[2]
    case = replace(case, decision=replace(case.decision, error="the device said \0 and no more"))
    place.keep([case])
    run = place.replay([case])[STUDY, "2"]
    assert run["status"] == "FAILED"
    assert run["tags"]["sept.error"] == "the device said  and no more"
    assert list(run["files"]) == ["error.txt"]


def test_a_study_shows_each_folds_best_by_its_validation_whatever_the_order_of_the_ends(
    make_place: MakePlace, no_pictures: None
) -> None:
    cases = few_cases()
    best = made.best_of(cases, STUDY)
    row = made.row_of(cases, STUDY)
    chosen = made.chosen_of(cases, STUDY)
    histories = []
    for name, order in (("forward", cases), ("backward", cases[::-1])):
        place = make_place(name)
        place.keep(cases)
        # Of an earlier release where they stand backward.
        told = [replace(case, decision=replace(case.decision, fold_values={})) for case in order]
        run = place.replay(order if name == "forward" else told)[STUDY, None]
        (shown,) = collect(place.store, place.sweep).rows
        (status,) = [one for one in sweep_status(place.store, place.sweep).studies if one.key == STUDY]
        # Under the names that these metrics have for a trial; MLflow shows the last point.
        assert run["shown"]["test/h"] == round(shown.test.h, 2)
        assert run["shown"]["val/h"] == round(shown.validation.h, 2)
        assert run["curves"]["search/best_val_h"][-1][:2] == (3, round(shown.validation.h, 2))
        assert run["tags"]["sept.state"] == "2 finished, 1 pruned, 1 failed"
        assert status.best_objective == pytest.approx(shown.validation.h, abs=1e-9)
        assert run["tags"]["sept.best_signature"] == best.proposal.signature
        said = (f"{fold}: #{case.proposal.number} {case.proposal.signature}" for fold, case in sorted(chosen.items()))
        assert run["tags"]["sept.chosen"] == ", ".join(said)
        for part in ("val", "test"):
            expected = made.summary(row, part)
            for name in ("h", "base", "new"):
                assert run["shown"][f"{part}/{name}"] == round(expected[name], 2)
                assert {step for step, _, _ in run["curves"][f"{part}/{name}"]} == {0}
        assert run["curves"]["trials/pruned"][-1][1] == 1.0
        histories.append(run["curves"])
    assert histories[0] == histories[1]


def test_a_trial_whose_result_is_lost_is_not_said_to_have_ended(make_place: MakePlace, no_pictures: None) -> None:
    place, cases = make_place(), few_cases()
    place.keep(cases)
    place.store.files.delete(f"trials/{STUDY}/{cases[0].proposal.signature}/result.json")
    run = place.sync(cases)[STUDY, "0"]
    assert (run["status"], run["tags"]["sept.state"]) == ("KILLED", "stopped")
    assert len(run["curves"]["val/h"]) == len(cases[0].decision.curve)
    rebuilt = make_place("rebuilt")
    for one in (place, rebuilt):
        one.keep(cases)
    assert place.sync(cases) == rebuilt.sync(cases)


def test_an_experiment_of_an_earlier_release_gets_names_views_and_a_description_and_no_second_run(
    make_place: MakePlace, no_pictures: None
) -> None:
    place, cases = make_place(), few_cases()
    place.keep(cases)
    expected = place.play(cases)
    client = mlflow_client(place.target)
    experiment = client.get_experiment_by_name(place.sweep)
    assert experiment is not None
    first, *others = client.search_runs([experiment.experiment_id], "tags.`sept.role` = 'trial'")
    client.set_tag(first.info.run_id, "mlflow.runName", "my favourite")
    for run in others:
        earlier = f"coop+sept #{run.data.tags['sept.number']} n_ctx=8 lr=0.0041"
        client.set_tag(run.info.run_id, "mlflow.runName", earlier)
    (study,) = client.search_runs([experiment.experiment_id], "tags.`sept.role` = 'study'")
    client.set_tag(study.info.run_id, "sept.outcomes", "counted as before")
    client.log_metric(study.info.run_id, "best/test_h", 12.3)
    for name in experiment.tags:
        client.set_experiment_tag(experiment.experiment_id, name, "{}")
    now = place.sync(cases)
    names = {key: run.pop("name") for key, run in now.items()}
    assert names.pop((STUDY, first.data.tags["sept.number"])) == "my favourite"
    assert names == {key: expected[key]["name"] for key in names}
    assert now == {key: {what: value for what, value in run.items() if what != "name"} for key, run in expected.items()}
    tags = client.get_experiment(experiment.experiment_id).tags
    assert view_tags("val/h").items() <= tags.items()
    assert tags["mlflow.note.content"] == "{}"  # may be a person's
    assert experiment.tags["mlflow.note.content"] == EXPERIMENT_NOTE
