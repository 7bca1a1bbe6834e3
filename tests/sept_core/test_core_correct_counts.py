"""Which test clips were right, by source recording: counted, packed, read back."""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sept_core.correct_counts import SourceCounts, Tested, count_tested
from sept_core.evaluation import Group, GroupScores
from sept_core.results import TrialResult
from sept_core.semantic import load_neighbors
from sept_core.trial import TrialInputs, TrialRun, make_config

HYPER = {"n_ctx": 2, "lr": 0.05}


def finish(inputs, **given):
    config = make_config(inputs, "coop", HYPER, shots=2, seeds=(0, 1), epochs=1, report_every=1, **given)
    run = TrialRun(config, inputs)
    while not run.finished:
        run.advance()
    return run.result()


def by_class_and_clip(table):
    """The table with sources that span classes, and two clips of which none is known."""
    groups = [f"{fold}, source {index % 3}" for index, fold in enumerate(table.folds)]
    groups[0] = groups[1] = ""
    return dataclasses.replace(table, groups=tuple(groups))


def test_a_trial_stores_what_was_right_of_every_fold_group_and_source(encoder, make_table):
    table = by_class_and_clip(make_table("FSDD", 4))
    result = finish(TrialInputs(encoder, table, load_neighbors("FSDD")), folds=("theo", "lucas"))
    assert set(result.tested) == {"theo", "lucas"}
    for fold, groups in result.tested.items():
        replicas = [row for row in result.replicas if row["fold"] == fold]
        assert len(groups["base"].clips) == len(groups["new"].clips)
        for name, counts in groups.items():
            right = sum(row[f"test_{name}"] for row in replicas) * sum(counts.clips) / 100
            assert sum(counts.right) == pytest.approx(right)
            assert all(count <= clips * len(replicas) for count, clips in zip(counts.right, counts.clips, strict=True))
        rows = [row for row, of in enumerate(table.folds) if of == fold]
        named = Counter(table.groups[row] or row for row in rows)
        both = [base + new for base, new in zip(groups["base"].clips, groups["new"].clips, strict=True)]
        assert sorted(both) == sorted(named.values())


def test_a_cross_dataset_trial_lists_a_targets_sources_alike_for_every_fold(encoder, make_table):
    target = by_class_and_clip(make_table("SESA", 3))
    inputs = TrialInputs(encoder, make_table("FSDD", 4), targets={"SESA": target})
    result = finish(inputs, folds=("theo", "lucas"), protocol="cross-dataset")
    clips = {groups["SESA"].clips for groups in result.tested.values()}
    assert len(clips) == 1
    assert sorted(clips.pop())[:2] == [1, 1]  # the two that are known by themselves only
    again = TrialResult.from_json(json.loads(json.dumps(result.to_json())))
    assert again == result
    assert again.tested == result.tested


def test_a_result_of_before_has_no_counts_and_is_written_as_it_was(encoder, make_table):
    data = finish(TrialInputs(encoder, make_table("FSDD", 4)), folds=("theo",)).to_json()
    del data["tested"]
    old = TrialResult.from_json(data)
    assert old.tested == {}
    assert old.to_json() == data


def test_counts_by_hand():
    """Two seeds of one fold; rows 0 and 2 are of one source, row 1 of none that is known."""
    table = torch.zeros(4, 1)
    sources = ("a", "", "a", "b")
    base = Group(None, table, None, [[0, 1], [0, 1]], True, sources)
    new = Group(None, table, None, [[2, 3], [2, 3]], False, sources)
    scores = {
        "base": GroupScores((), (), [], right=([True, False], [True, True])),
        "new": GroupScores((), (), [], right=([False, True], [True, True])),
    }
    found = count_tested(["1", "1"], {"base": base, "new": new}, scores)
    # In the order of names, those that are not known first.
    assert found == {"1": {"base": SourceCounts((1, 1, 0), (1, 2, 0)), "new": SourceCounts((0, 1, 1), (0, 1, 2))}}


counts = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=20).map(
    lambda pairs: SourceCounts(tuple(one for one, _ in pairs), tuple(other for _, other in pairs))
)


@given(st.dictionaries(st.text(max_size=3), st.dictionaries(st.text(max_size=3), counts, min_size=1), max_size=3))
def test_counts_are_read_back_as_they_were_written(tested):
    adapter = TypeAdapter(Tested)
    assert adapter.validate_json(adapter.dump_json(tested)) == tested


def packed(data):
    return base64.b64encode(zlib.compress(data)).decode()


@pytest.mark.parametrize(
    "wrong",
    ["", "!", "AAAA", packed(b"12345"), packed(bytes(8)), packed(bytes(1 << 25)), packed(bytes(400))[:-8]],
)
def test_counts_that_are_damaged_make_a_damaged_result(encoder, make_table, wrong):
    data = finish(TrialInputs(encoder, make_table("FSDD", 4)), folds=("theo",)).to_json()
    data["tested"]["theo"]["base"]["right"] = wrong
    with pytest.raises(ValueError, match="not a trial result"):
        TrialResult.from_json(data)
