"""Tables, shots and splits; most of it as properties over random tables."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sept_core.datasets import (
    DATASETS,
    DatasetInfo,
    EmbeddingTable,
    draw_shots,
    halves,
    make_split,
    split_all_classes,
    usable_folds,
)
from sept_core.errors import InputError

# classname, fold, group
Row = tuple[str, str, str]

KFOLD = DatasetInfo("Toy", "events", ("a", "b", "c"), "A sound of {}.", ("1", "2", "3"), "kfold")
FIXED = replace(KFOLD, folds=("test",), split="fixed")


def make_table(rows: Sequence[Row], dataset: str = "Toy") -> EmbeddingTable:
    ids = tuple(f"clip{number:04d}" for number in range(len(rows)))
    generator = torch.Generator().manual_seed(0)
    return EmbeddingTable(
        dataset=dataset,
        encoder_fingerprint="f" * 16,
        manifest_digest="m" * 16,
        clip_ids=ids,
        classnames=tuple(row[0] for row in rows),
        folds=tuple(row[1] for row in rows),
        groups=tuple(row[2] for row in rows),
        sha256=tuple(hashlib.sha256(clip_id.encode()).hexdigest() for clip_id in ids),
        embeddings=torch.nn.functional.normalize(torch.randn(len(rows), 4, generator=generator), dim=1),
    )


def grid(info: DatasetInfo, folds: Sequence[str], clips: int) -> EmbeddingTable:
    """``clips`` clips of each class in each fold, each of its own source."""
    return make_table([(name, fold, "") for fold in folds for name in info.classnames for _ in range(clips)], info.name)


@st.composite
def cases(draw: st.DrawFn) -> tuple[EmbeddingTable, DatasetInfo, str, tuple[str, ...]]:
    """A random group-pure table with at least two clips per class and fold, its data set, a test fold, seen folds."""
    folds = tuple(str(number) for number in range(1, draw(st.integers(3, 5)) + 1))
    classes = tuple("abcdef"[: draw(st.integers(2, 6))])
    info = replace(KFOLD, folds=folds, classnames=classes)
    rows = [
        (name, fold, f"{fold}-{draw(st.integers(0, 3))}")
        for fold in folds
        for name in classes
        for _ in range(draw(st.integers(2, 5)))
    ]
    order = draw(st.permutations(folds))
    # At least the test fold and one more are left.
    seen = tuple(order[2 : 2 + draw(st.integers(0, len(folds) - 2))])
    return make_table(draw(st.permutations(rows))), info, order[0], seen


clip_ids = st.lists(st.text(max_size=6), min_size=0, max_size=30, unique=True)


@settings(deadline=None)
@given(clip_ids, st.integers(0, 5), st.integers(1, 12))
def test_a_draw_is_a_prefix_of_the_larger_draw(ids: list[str], seed: int, shots: int) -> None:
    small = draw_shots("Toy", "1", seed, "a", ids, shots)
    large = draw_shots("Toy", "1", seed, "a", ids, shots + 1)
    assert len(small) == min(shots, len(ids))
    assert large[: len(small)] == small
    assert set(large) <= set(ids)
    assert len(set(large)) == len(large)


@settings(deadline=None)
@given(clip_ids, st.randoms(), st.integers(1, 12))
def test_a_draw_does_not_depend_on_the_order_of_the_clips(ids: list[str], random, shots: int) -> None:
    shuffled = list(ids)
    random.shuffle(shuffled)
    assert draw_shots("Toy", "1", 0, "a", shuffled, shots) == draw_shots("Toy", "1", 0, "a", ids, shots)


@settings(deadline=None)
@given(clip_ids.filter(bool), st.data())
def test_removing_a_clip_leaves_the_order_of_the_others(ids: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(ids))
    before = draw_shots("Toy", "1", 0, "a", ids, len(ids))
    after = draw_shots("Toy", "1", 0, "a", [one for one in ids if one != gone], len(ids))
    assert after == [one for one in before if one != gone]


def test_a_draw_is_a_known_value_that_must_never_change() -> None:
    # Stored results of the same signature were trained on these shots.
    ids = [f"clip{number}" for number in range(10)]
    assert draw_shots("ESC10", "2", 0, "rain", ids, 4) == ["clip6", "clip1", "clip9", "clip2"]


def test_dataset_fold_seed_and_class_each_change_the_draw() -> None:
    ids = [f"clip{number}" for number in range(40)]
    keys = [("A", "1", 0, "a"), ("B", "1", 0, "a"), ("A", "2", 0, "a"), ("A", "1", 1, "a"), ("A", "1", 0, "b")]
    draws = [tuple(draw_shots(*key, ids, 40)) for key in keys]
    assert len(set(draws)) == len(keys)


@pytest.mark.parametrize("shots", [0, -1])
def test_fewer_shots_than_one_are_refused(shots: int) -> None:
    with pytest.raises(InputError, match=f"shots must be at least 1, got {shots}"):
        draw_shots("Toy", "1", 0, "a", ["x"], shots)
    with pytest.raises(InputError, match=f"shots must be at least 1, got {shots}"):
        make_split(grid(KFOLD, KFOLD.folds, 3), KFOLD, "1", 0, shots, ())


@settings(deadline=None)
@given(cases(), st.integers(0, 3))
def test_a_split_keeps_train_heldout_test_new_classes_seen_folds_and_sources_apart(case, seed: int) -> None:
    table, info, fold, seen = case
    # Each pool fold has two clips of a class or more, so one shot leaves some held out.
    split = make_split(table, info, fold, seed, 1, seen)
    base, new = halves(info.classnames)
    parts = [split.train, split.heldout_base, split.heldout_new, split.test_base, split.test_new]
    rows = [row for part in parts for row in part]
    assert len(rows) == len(set(rows))
    assert sorted(rows) == [row for row in range(len(table)) if table.folds[row] not in seen]
    assert all(
        table.classnames[row] in base for part in (split.train, split.heldout_base, split.test_base) for row in part
    )
    assert all(table.classnames[row] in new for part in (split.heldout_new, split.test_new) for row in part)
    pool = split.train + split.heldout_base + split.heldout_new
    test = split.test_base + split.test_new
    assert {table.folds[row] for row in test} == {fold}
    assert fold not in {table.folds[row] for row in pool}
    assert not {table.groups[row] for row in pool} & {table.groups[row] for row in test}


@settings(deadline=None)
@given(cases(), st.integers(1, 3))
def test_train_holds_each_base_classs_draw_in_base_order(case, shots: int) -> None:
    table, info, fold, seen = case
    pool_folds = set(info.folds) - {fold, *seen}
    expected: list[str] = []
    left = 0
    for name in halves(info.classnames)[0]:
        ids = [
            table.clip_ids[row]
            for row in range(len(table))
            if table.classnames[row] == name and table.folds[row] in pool_folds
        ]
        expected += draw_shots(info.name, fold, 7, name, ids, shots)
        left += max(0, len(ids) - shots)
    if left == 0:
        with pytest.raises(InputError, match="lower shots"):
            make_split(table, info, fold, 7, shots, seen)
        return
    split = make_split(table, info, fold, 7, shots, seen)
    assert [table.clip_ids[row] for row in split.train] == expected
    assert len(split.heldout_base) == left


@settings(deadline=None)
@given(cases())
def test_more_shots_only_move_clips_from_heldout_to_train_and_never_touch_the_test_set(case) -> None:
    table, info, fold, _ = case
    # Nothing seen: the pool has two folds or more, so four clips per class or more.
    few, more = (make_split(table, info, fold, 0, shots, ()) for shots in (2, 3))
    assert set(few.train) < set(more.train)
    assert set(few.heldout_base) > set(more.heldout_base)
    assert (few.heldout_new, few.test_base, few.test_new) == (more.heldout_new, more.test_base, more.test_new)


@settings(deadline=None)
@given(cases(), st.integers(0, 3))
def test_the_shots_of_all_classes_are_nested_and_extend_those_of_the_base_classes(case, seed: int) -> None:
    table, info, fold, _ = case
    # Nothing seen: the pool has four clips of a class or more.
    splits = [split_all_classes(table, info, fold, seed, shots, ()) for shots in (1, 2, 3)]
    for few, more in pairwise(splits):
        assert set(few.train) < set(more.train)
        assert set(few.heldout) > set(more.heldout)
        assert few.test == more.test
    for shots, split in enumerate(splits, start=1):
        drawn = [table.classnames[row] for row in split.train]
        assert drawn == [name for name in sorted(info.classnames) for _ in range(shots)]
        base = make_split(table, info, fold, seed, shots, ())
        assert split.train[: len(base.train)] == base.train


@settings(deadline=None)
@given(cases(), st.integers(0, 3))
def test_no_test_clip_is_trained_on_or_chosen_by_where_all_classes_are_trained(case, seed: int) -> None:
    table, info, fold, seen = case
    split = split_all_classes(table, info, fold, seed, 1, seen)
    rows = [*split.train, *split.heldout, *split.test]
    assert sorted(rows) == [row for row in range(len(table)) if table.folds[row] not in seen]
    assert {table.folds[row] for row in split.test} == {fold}
    assert fold not in {table.folds[row] for row in (*split.train, *split.heldout)}


def test_of_all_classes_one_with_few_clips_is_drawn_whole_and_only_what_is_chosen_by_must_be_left() -> None:
    rows = [("a", "1", "")] * 2 + [("b", "1", "")] * 4 + [("c", "1", "")] + [(name, "2", "") for name in "abc"]
    table, info = make_table(rows), replace(KFOLD, folds=("1", "2"))
    split = split_all_classes(table, info, "2", 0, 3, ())
    assert [table.classnames[row] for row in split.train] == [*"aabbbc"]
    assert [table.classnames[row] for row in split.heldout] == ["b"]
    with pytest.raises(InputError, match=r"no held-out clips: all 7 clips of the pool .*; lower shots \(now 4\)"):
        split_all_classes(table, info, "2", 0, 4, ())
    assert split_all_classes(table, info, "2", 0, 4, (), hold_out=False).heldout == ()
    lost = make_table([row for row in rows if row != ("c", "1", "")])
    with pytest.raises(InputError, match="no clips of class 'c' to draw shots from"):
        split_all_classes(lost, info, "2", 0, 1, ())


def test_shots_do_not_change_with_the_encoders_embeddings() -> None:
    table = grid(KFOLD, KFOLD.folds, 4)
    other = replace(table, encoder_fingerprint="e" * 16, embeddings=table.embeddings.flip(0))
    assert make_split(table, KFOLD, "2", 1, 3, ()) == make_split(other, KFOLD, "2", 1, 3, ())


def test_a_class_with_fewer_clips_than_shots_is_drawn_whole_and_has_none_held_out() -> None:
    rows = [("a", "1", "")] + [("b", "1", "")] * 5 + [("c", "1", "")] + [(name, "2", "") for name in "abc"]
    table = make_table(rows)
    split = make_split(table, replace(KFOLD, folds=("1", "2")), "2", 0, 3, ())
    assert [table.classnames[row] for row in split.train] == ["a", "b", "b", "b"]
    assert [table.classnames[row] for row in split.heldout_base] == ["b", "b"]


def test_drawing_the_whole_pool_is_refused_with_the_advice_to_lower_shots() -> None:
    with pytest.raises(InputError, match=r"no held-out clips: all 8 base-class clips .*; lower shots \(now 4\)"):
        make_split(grid(KFOLD, KFOLD.folds, 2), KFOLD, "1", 0, 4, ())


def test_a_fixed_split_draws_from_train_and_tests_on_test() -> None:
    table = grid(FIXED, ("train", "test"), 3)
    split = make_split(table, FIXED, "test", 0, 2, ())
    assert {table.folds[row] for row in split.train + split.heldout_base + split.heldout_new} == {"train"}
    assert {table.folds[row] for row in split.test_base + split.test_new} == {"test"}
    assert (len(split.train), len(split.test_base), len(split.test_new)) == (4, 6, 3)


def test_usable_folds_leave_out_the_seen_ones_in_the_datasets_order() -> None:
    assert usable_folds(DATASETS["ESC10"], ("1",)) == ("2", "3", "4", "5")
    assert usable_folds(DATASETS["FSDD"], ("lucas", "george", "jackson")) == ("nicolas", "theo", "yweweler")
    assert usable_folds(DATASETS["SESA"], ()) == ("test",)


@pytest.mark.parametrize(
    ("info", "seen"),
    [
        (KFOLD, ("1", "2", "3")),
        (KFOLD, ("1", "3")),
        (FIXED, ("train",)),
        (FIXED, ("test",)),
        (FIXED, ("train", "test")),
    ],
)
def test_an_encoder_that_saw_too_much_is_refused(info: DatasetInfo, seen: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="Toy: the encoder saw folds"):
        usable_folds(info, seen)


def test_a_misspelt_seen_fold_is_refused_rather_than_tested_on() -> None:
    with pytest.raises(InputError, match=r"seen folds \['fold1'\] do not exist; folds are 1, 2, 3"):
        usable_folds(KFOLD, ("fold1",))


@pytest.mark.parametrize("fold", ["1", "9"])
def test_a_seen_or_unknown_test_fold_is_refused_with_the_usable_ones(fold: str) -> None:
    with pytest.raises(InputError, match=f"cannot test on fold '{fold}'; usable folds: 2, 3"):
        make_split(grid(KFOLD, KFOLD.folds, 3), KFOLD, fold, 0, 1, ("1",))


def test_a_source_in_both_pool_and_test_is_refused_with_its_name() -> None:
    table = grid(KFOLD, KFOLD.folds, 3)
    groups = [f"source{row}" for row in range(len(table))]
    groups[0] = groups[-1] = "speaker7"
    with pytest.raises(InputError, match=r"Toy, fold 1: 1 group in both training and test: speaker7; in the CSV"):
        make_split(replace(table, groups=tuple(groups)), KFOLD, "1", 0, 1, ())


def test_a_source_shared_with_a_seen_fold_only_is_no_overlap() -> None:
    table = grid(KFOLD, KFOLD.folds, 3)
    groups = tuple("same" if fold in ("1", "3") else "" for fold in table.folds)
    split = make_split(replace(table, groups=groups), KFOLD, "1", 0, 1, ("3",))
    assert len(split.train) == 2


def test_equal_content_in_pool_and_test_is_refused_with_the_overlap_listed() -> None:
    table = grid(KFOLD, KFOLD.folds, 3)
    digests = list(table.sha256)
    digests[-1] = digests[0]
    with pytest.raises(InputError, match=r"1 test clip with the content of a training clip: clip0026 = clip0000"):
        make_split(replace(table, sha256=tuple(digests)), KFOLD, "1", 0, 1, ())


def test_equal_content_within_the_pool_is_no_overlap() -> None:
    table = grid(KFOLD, KFOLD.folds, 3)
    digests = list(table.sha256)
    digests[-1] = digests[-2]
    assert make_split(replace(table, sha256=tuple(digests)), KFOLD, "1", 0, 1, ()).fold == "1"


def test_a_table_of_another_dataset_or_with_other_classes_or_folds_is_refused() -> None:
    table = grid(KFOLD, KFOLD.folds, 3)
    with pytest.raises(InputError, match="embeddings are of data set 'Toy', not 'ESC10'"):
        make_split(table, DATASETS["ESC10"], "1", 0, 1, ())
    with pytest.raises(InputError, match="no clips of 1 of 4 classes: d"):
        make_split(table, replace(KFOLD, classnames=("a", "b", "c", "d")), "1", 0, 1, ())
    with pytest.raises(InputError, match="unknown classes: c"):
        make_split(table, replace(KFOLD, classnames=("a", "b")), "1", 0, 1, ())
    with pytest.raises(InputError, match="unknown fold '3'; folds are 1, 2"):
        make_split(table, replace(KFOLD, folds=("1", "2")), "1", 0, 1, ())


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ([("a", "2"), ("a", "3")], "no clips of class 'a' to draw shots from"),
        ([("c", "2"), ("c", "3")], "no held-out clips of the new classes"),
        ([("c", "1")], "the test fold has no clips of the new classes"),
        ([("a", "1"), ("b", "1")], "the test fold has no clips of the base classes"),
    ],
)
def test_a_split_with_an_empty_part_is_refused(lost: list[tuple[str, str]], said: str) -> None:
    rows = [(name, fold, "") for fold in KFOLD.folds for name in "abc" if (name, fold) not in lost for _ in range(3)]
    with pytest.raises(InputError, match=f"Toy, fold 1: {said}"):
        make_split(make_table(rows), KFOLD, "1", 0, 1, ())


def test_a_table_counts_its_clips_and_knows_its_width() -> None:
    table = grid(KFOLD, KFOLD.folds, 2)
    assert (len(table), table.dim) == (18, 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"clip_ids": ()}, "no clips"),
        ({"folds": ("1",)}, "1 folds for 2 clips"),
        ({"clip_ids": ("b", "a")}, "not sorted and unique at 'a'"),
        ({"clip_ids": ("a", "a")}, "not sorted and unique at 'a'"),
        ({"embeddings": torch.eye(2).double()}, "not torch.float32"),
        ({"embeddings": torch.eye(3)}, r"\[3, 3\], not torch.float32 \[2, dim\]"),
        ({"embeddings": torch.eye(2) * 2}, "2 rows are not of unit norm, first clip 'clip0000'"),
        ({"embeddings": torch.tensor([[1.0, 0.0], [float("nan"), 0.0]])}, "1 rows are not .* first clip 'clip0001'"),
    ],
)
def test_a_malformed_table_is_refused(change: dict[str, object], said: str) -> None:
    table = replace(make_table([("a", "1", ""), ("b", "1", "")]), embeddings=torch.eye(2))
    with pytest.raises(InputError, match=f"embeddings of Toy: .*{said}"):
        replace(table, **change)
