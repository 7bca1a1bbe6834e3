"""Trials of every protocol and selection."""

from __future__ import annotations

import dataclasses
import json

import pytest
from trial_made import TRAINED, config, cross, finish, numbers

from sept_core.datasets import get_dataset, halves
from sept_core.errors import InputError
from sept_core.learners import LEARNERS
from sept_core.results import TrialResult
from sept_core.semantic import load_neighbors
from sept_core.trial import TrialInputs, TrialRun


@pytest.fixture
def inputs(encoder, make_table):
    return TrialInputs(encoder, make_table("FSDD"), load_neighbors("FSDD"))


@pytest.mark.parametrize("baseline", TRAINED)
def test_nested_selection_sees_nothing_of_the_new_classes_and_tests_on_all_base_classes(inputs, baseline):
    trial = config(inputs, baseline, selection="nested")
    heldout = config(inputs, baseline)
    run = TrialRun(trial, inputs)
    reports = []
    while not run.finished:
        reports.append(run.advance())
    assert [report and report.epoch for report in reports] == [2, 4, None, None]
    result = run.result()
    straight = finish(TrialRun(heldout, inputs))
    assert result.test == straight.test  # the same training in the end
    assert "all" in result.test
    assert result.validation != straight.validation
    # Whatever the new classes' clips are, the search gets the same numbers.
    table = inputs.table
    _, new = halves(get_dataset("FSDD").classnames)
    rows = [index for index, name in enumerate(table.classnames) if name in new]
    embeddings = table.embeddings.clone()
    embeddings[rows] = -embeddings[rows]
    other = dataclasses.replace(inputs, table=dataclasses.replace(table, embeddings=embeddings))
    changed = finish(TrialRun(config(other, baseline, selection="nested"), other))
    assert changed.validation == result.validation
    assert changed.test["base"] == result.test["base"]
    assert changed.test["new"] != result.test["new"]


def test_a_nested_trial_continued_from_any_checkpoint_ends_bit_equal(inputs):
    trial = config(inputs, selection="nested")
    run = TrialRun(trial, inputs)
    checkpoints = []
    while not run.finished:
        run.advance()
        checkpoints.append(run.checkpoint())
    straight = numbers(run.result())
    for checkpoint in checkpoints:
        assert numbers(finish(TrialRun(trial, inputs, checkpoint))) == straight


def test_paper_selection_is_measured_on_the_test_clips(inputs):
    result = finish(TrialRun(config(inputs, selection="paper"), inputs))
    assert result.validation == result.test
    assert result.test == finish(TrialRun(config(inputs), inputs)).test


def test_nested_selection_needs_four_base_classes(encoder, make_table):
    esc = TrialInputs(encoder, make_table("SESA"), None)
    with pytest.raises(InputError, match="SESA has 2 base classes.*selection: heldout"):
        TrialRun(config(esc, sept=False, folds=None, selection="nested"), esc)


@pytest.mark.parametrize("baseline", ["zero-shot", "coop", "cocoop", "dept", "subt"])
def test_cross_dataset_trains_on_all_source_classes_and_tests_on_every_target(inputs, make_table, baseline):
    trial, wider = cross(inputs, make_table, baseline=baseline, sept=False)
    run = TrialRun(trial, wider)
    result = finish(run)
    assert set(result.test) >= {"source", "ESC10", "SESA", "targets"}
    assert not [name for name in result.test if name.startswith("all")]  # there are no halves to put together
    assert result.test["targets"] == pytest.approx((result.test["ESC10"] + result.test["SESA"]) / 2)
    assert set(result.curve[0].metrics) >= {"val/source"}
    assert result.objective == result.curve[-1].objective == result.validation["source"]
    assert sum(map(sum, result.confusion["ESC10"])) == 4 * 10 * 5 * 3  # replicas x classes x folds x clips
    assert len(result.confusion["source"]) == 10
    assert TrialResult.from_json(json.loads(json.dumps(result.to_json()))) == result


@pytest.fixture
def every(inputs):
    """Inputs with neighbours of all classes."""
    return dataclasses.replace(inputs, neighbors=load_neighbors("FSDD", protocol="few-shot"))


@pytest.mark.parametrize("baseline", ["zero-shot", *TRAINED])
def test_few_shot_trains_on_all_classes_and_tests_on_all(every, baseline):
    trains = baseline != "zero-shot"
    changes = {} if trains else {"hyper": {}}
    trial = config(every, baseline, sept=trains, protocol="few-shot", **changes)
    run = TrialRun(trial, every)
    result = finish(run)
    assert set(result.test) == {"accuracy", "accuracy_std", "accuracy_f1"}
    assert set(result.curve[0].metrics) >= {"val/accuracy"}
    assert result.objective == result.curve[-1].objective == result.validation["accuracy"]
    assert sum(map(sum, result.confusion["accuracy"])) == 2 * sum(
        fold in ("theo", "lucas") for fold in every.table.folds
    )
    assert run.tested.classes == get_dataset("FSDD").classnames
    assert {len(rows) for rows in run.tested.rows} == {2 * len(get_dataset("FSDD").classnames)}
    assert TrialResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_few_shot_is_the_source_of_a_transfer(inputs, make_table):
    trial, wider = cross(inputs, make_table)
    alone = dataclasses.replace(wider, targets={})
    few = finish(TrialRun(config(alone, protocol="few-shot"), alone))
    transfer = finish(TrialRun(trial, wider))
    assert few.validation["accuracy"] == transfer.validation["source"]
    assert few.test["accuracy"] == transfer.test["source"]


def test_few_shot_resumes_bit_equal(every):
    trial = config(every, protocol="few-shot")
    straight = finish(TrialRun(trial, every))
    first = TrialRun(trial, every)
    first.advance()
    assert numbers(finish(TrialRun(trial, every, first.checkpoint()))) == numbers(straight)


def test_the_selections_of_few_shot(every):
    few = {"protocol": "few-shot", "sept": False}
    whole = finish(TrialRun(config(every, **few), every))
    alone = finish(TrialRun(config(every, **few, folds=("lucas",), selection="strict"), every))
    assert alone.replicas == tuple(row for row in whole.replicas if row["fold"] == "lucas")
    paper = finish(TrialRun(config(every, **few, selection="paper"), every))
    assert (paper.validation, paper.test) == (whole.test, whole.test)
    with pytest.raises(InputError, match="'nested' does not apply to few-shot; use selection: heldout, strict or pap"):
        config(every, **few, selection="nested")
    with pytest.raises(InputError, match="targets FSDD given"):
        config(dataclasses.replace(every, targets={"FSDD": every.table}), **few)


def test_what_few_shot_is_chosen_by_does_not_depend_on_test_clips(every):
    table = every.table
    tested = [row for row, fold in enumerate(table.folds) if fold == "theo"]
    embeddings = table.embeddings.clone()
    embeddings[tested] = -embeddings[tested]
    other = dataclasses.replace(every, table=dataclasses.replace(table, embeddings=embeddings))
    one, two = (
        finish(TrialRun(config(given, protocol="few-shot", folds=("theo",)), given)) for given in (every, other)
    )
    assert one.validation == two.validation
    assert one.test != two.test


def test_a_learner_that_can_name_trained_classes_only_runs_in_few_shot_alone(every, make_table, monkeypatch):
    closed = type("Closed", (LEARNERS["coop"],), {"name": "closed", "unseen": False})
    monkeypatch.setitem(LEARNERS, "closed", closed)
    assert finish(TrialRun(config(every, "closed", sept=False, protocol="few-shot"), every)).test["accuracy"] > 0
    with pytest.raises(InputError, match="'closed' cannot name .*, and base-to-new tests such classes; use protocol"):
        config(every, "closed", sept=False)
    with pytest.raises(InputError, match="cross-dataset tests such classes"):
        cross(every, make_table, baseline="closed", sept=False)
    with pytest.raises(InputError, match="SEPT has nothing to act on"):
        config(every, "closed", protocol="few-shot")


def test_cross_dataset_with_sept_resumes_bit_equal_and_needs_its_targets(inputs, make_table):
    trial, wider = cross(inputs, make_table)
    straight = finish(TrialRun(trial, wider))
    first = TrialRun(trial, wider)
    first.advance()
    assert numbers(finish(TrialRun(trial, wider, first.checkpoint()))) == numbers(straight)
    with pytest.raises(InputError, match="embeddings of the target ESC10 are missing"):
        TrialRun(trial, inputs)
