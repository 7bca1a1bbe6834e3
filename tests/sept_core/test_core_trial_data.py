"""What a trial does with faulty data: warnings, clips that are left out, copies that are refused."""

from __future__ import annotations

import dataclasses
import json

import pytest
from trial_made import config, finish

from sept_core.errors import InputError
from sept_core.results import TrialResult
from sept_core.semantic import load_neighbors
from sept_core.trial import TrialInputs, TrialRun
from sept_core.trial_config import TrialConfig


@pytest.fixture
def inputs(encoder, make_table):
    return TrialInputs(encoder, make_table("FSDD"), load_neighbors("FSDD"))


def test_what_crosses_enters_the_signature_only_where_it_is_dropped(inputs):
    kept, dropped = config(inputs), config(inputs, crossing="drop")
    assert "crossing" not in kept.model_dump(mode="json")
    assert dropped.model_dump(mode="json")["crossing"] == "drop"
    assert kept.signature != dropped.signature
    assert TrialConfig.model_validate(kept.model_dump(mode="json")) == kept
    assert TrialConfig.model_validate(dropped.model_dump(mode="json")) == dropped
    with pytest.raises(InputError, match="unknown crossing 'leave'; known: keep, drop"):
        config(inputs, crossing="leave")


def test_a_result_says_what_a_reader_has_to_know_of_its_data(encoder, make_table):
    table = make_table("ESC10", 2)
    groups = list(table.groups)
    first = next(row for row, fold in enumerate(table.folds) if fold == "2")
    other = next(row for row, fold in enumerate(table.folds) if fold == "3")
    groups[first] = groups[other] = "twice"
    crossed = TrialInputs(encoder, dataclasses.replace(table, groups=tuple(groups)))
    trial = config(crossed, sept=False, folds=("2", "3"), shots=1)
    result = finish(TrialRun(trial, crossed))
    crossing, count = result.warnings
    assert crossing.startswith("ESC10: 1 recording is in both training and test of the published split (twice in")
    assert count.endswith("clips; ESC10 is published with 400")
    assert TrialResult.from_json(json.loads(json.dumps(result.to_json()))).warnings == result.warnings
    # Of older releases' results nothing is known.
    old = result.to_json()
    del old["warnings"]
    assert TrialResult.from_json(old).warnings == ()
    assert finish(TrialRun(config(crossed, sept=False, folds=("4",), shots=1), crossed)).warnings == (count,)


def test_clips_with_contradicting_labels_are_used_nowhere_and_enter_the_signature(encoder, make_table):
    table = make_table("ESC10", 4)
    digests = list(table.sha256)
    first = next(row for row, name in enumerate(table.classnames) if name == "rain")
    other = next(row for row, name in enumerate(table.classnames) if name == "rooster")
    digests[other] = digests[first]
    plain, torn = TrialInputs(encoder, table), TrialInputs(encoder, dataclasses.replace(table, sha256=tuple(digests)))
    one, two = config(plain, sept=False, folds=("2",)), config(torn, sept=False, folds=("2",))
    assert one.left_out == {}
    assert two.left_out["ESC10"].startswith("2 clips, ")
    assert one.signature != two.signature
    labels = [line for line in finish(TrialRun(two, torn)).warnings if "left out" in line]
    assert len(labels) == 1
    assert labels[0].startswith("ESC10: 1 sound has more than one label (")


def test_a_target_with_too_many_contradicting_labels_is_refused(encoder, make_table, inputs):
    target = make_table("SESA", 2)
    digests = list(target.sha256)
    digests[-1] = digests[0]
    wider = dataclasses.replace(inputs, targets={"SESA": dataclasses.replace(target, sha256=tuple(digests))})
    with pytest.raises(InputError, match="SESA: 1 sound has more than one label"):
        config(wider, protocol="cross-dataset")


def test_a_split_that_leaves_nothing_is_refused_before_a_trial_begins(encoder, make_table):
    table = make_table("ESC10", 2)
    groups = list(table.groups)
    tested = next(row for row, fold in enumerate(table.folds) if fold == "2")
    for row, name in enumerate(table.classnames):
        if name == "chainsaw":
            groups[row] = groups[tested]
    crossed = TrialInputs(encoder, dataclasses.replace(table, groups=tuple(groups)))
    config(crossed, sept=False, folds=("2",), shots=1)
    with pytest.raises(InputError, match="no clips of class 'chainsaw'.*use crossing: keep"):
        config(crossed, sept=False, folds=("2",), shots=1, crossing="drop")


def test_a_copy_with_swapped_folds_is_trained_on_only_if_asked_for(encoder, make_table):
    table = make_table("ESC10", 2)
    swapped = dataclasses.replace(
        table, folds=tuple("train=2;test=1,3,4,5" if fold == "2" else "train=1,3,4,5;test=2" for fold in table.folds)
    )
    faulty = TrialInputs(encoder, swapped)
    with pytest.raises(InputError, match="this copy's split is wrong: fold 2: .*accept_faulty_splits"):
        config(faulty, sept=False, folds=("2",), shots=1)
    trial = config(faulty, sept=False, folds=("2",), shots=1, accept_faulty_split=True)
    assert "used as it is (accept_faulty_splits)" in finish(TrialRun(trial, faulty)).warnings[-2]
