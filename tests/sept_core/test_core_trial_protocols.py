"""Trials of every protocol and selection."""

from __future__ import annotations

import dataclasses
import json

import pytest
from trial_made import TRAINED, config, cross, finish, numbers

from sept_core.datasets import get_dataset, halves
from sept_core.errors import InputError
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


def test_cross_dataset_with_sept_resumes_bit_equal_and_needs_its_targets(inputs, make_table):
    trial, wider = cross(inputs, make_table)
    straight = finish(TrialRun(trial, wider))
    first = TrialRun(trial, wider)
    first.advance()
    assert numbers(finish(TrialRun(trial, wider, first.checkpoint()))) == numbers(straight)
    with pytest.raises(InputError, match="embeddings of the target ESC10 are missing"):
        TrialRun(trial, inputs)
