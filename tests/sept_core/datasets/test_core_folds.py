"""Folds written as names or as roles, and the splits that are made from them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sept_core.datasets import DATASETS, DatasetInfo, EmbeddingTable, Manifest, make_split
from sept_core.datasets.folds import Roles, fold_of, roles_of
from sept_core.datasets.manifest import Clip
from sept_core.errors import InputError

KFOLD = DatasetInfo("Toy", "events", ("a", "b"), "{}", ("1", "2", "3"), "kfold")
FIXED = DatasetInfo("Toy", "events", ("a", "b"), "{}", ("test",), "fixed")


def test_a_plain_fold_is_tested_in_itself_and_trained_on_in_all_others() -> None:
    assert roles_of("2", KFOLD) == Roles(frozenset("13"), frozenset("2"))
    assert roles_of("train", FIXED) == Roles(frozenset({"test"}), frozenset())
    assert roles_of("test", FIXED) == Roles(frozenset(), frozenset({"test"}))


@given(st.sampled_from([KFOLD, FIXED]), st.data())
def test_any_roles_survive_being_written_as_a_fold(info: DatasetInfo, data: st.DataObject) -> None:
    train, test = (data.draw(st.frozensets(st.sampled_from(info.folds))) for _ in range(2))
    assert roles_of(fold_of(train, test, info), info) == Roles(train, test)


def test_what_a_plain_name_can_say_is_never_written_out() -> None:
    assert fold_of("13", "2", KFOLD) == "2"
    assert fold_of(["test"], [], FIXED) == "train"
    assert fold_of("1", "23", KFOLD) == "train=1;test=2,3"


@pytest.mark.parametrize(
    "fold", ["4", "", "train", "train=4", "test=1;test=2", "pool=1", "train=1;;test=2", "train=1,"]
)
def test_a_fold_that_the_dataset_does_not_have_is_refused(fold: str) -> None:
    with pytest.raises(InputError, match="unknown fold '.*'; folds are 1, 2, 3"):
        roles_of(fold, KFOLD)


def test_a_manifest_takes_roles_in_known_folds_only() -> None:
    def clip(fold: str) -> Clip:
        return Clip("c", "c.wav", "dog bark", fold, "", "0" * 64)

    assert Manifest("ESC10", (clip("train=1;test=2,3"),)).clips[0].fold == "train=1;test=2,3"
    with pytest.raises(InputError, match=r"unknown fold 'train=6' of clip 'c\.wav'; folds are 1"):
        Manifest("ESC10", (clip("train=6"),))


def toy(folds: list[str], digests: list[str] | None = None) -> EmbeddingTable:
    count = len(folds)
    return EmbeddingTable(
        dataset="Toy",
        encoder_fingerprint="f" * 16,
        manifest_digest="d" * 16,
        clip_ids=tuple(f"c{row:02d}" for row in range(count)),
        classnames=tuple("ab"[row % 2] for row in range(count)),
        folds=tuple(folds),
        groups=("",) * count,
        sha256=tuple(digests or [f"{row:064x}" for row in range(count)]),
        embeddings=torch.eye(count),
    )


def test_a_split_follows_roles_that_no_plain_fold_can_say() -> None:
    # Rows 0-3: tested in folds 1 and 2; rows 4-7: trained on in fold 1 only; rows 8-9 have no part in anything.
    table = toy(["test=1,2"] * 4 + ["train=1"] * 4 + ["train="] * 2)
    split = make_split(table, KFOLD, "1", 0, 1, ())
    assert set(split.train + split.heldout_base + split.heldout_new) == {4, 5, 6, 7}
    assert set(split.test_base + split.test_new) == {0, 1, 2, 3}
    with pytest.raises(InputError, match="no clips of class 'a' to draw shots from"):
        make_split(table, KFOLD, "2", 0, 1, ())


def test_a_clip_that_is_trained_on_and_tested_in_one_fold_is_refused_there_and_only_there() -> None:
    table = toy(["train=1,2;test=1"] * 2 + ["1"] * 4 + ["2"] * 4 + ["3"] * 4)
    with pytest.raises(
        InputError, match="Toy, fold 1: 2 test clips with the content of a training clip: c00 = c00, c01 = c01"
    ):
        make_split(table, KFOLD, "1", 0, 1, ())
    assert make_split(table, KFOLD, "2", 0, 1, ()).fold == "2"


def test_a_clip_tested_in_a_seen_fold_is_left_out_altogether() -> None:
    table = toy(["test=2,3"] * 2 + ["1"] * 4 + ["2"] * 4)
    split = make_split(table, KFOLD, "2", 0, 1, ("3",))
    parts = split.train + split.heldout_base + split.heldout_new + split.test_base + split.test_new
    assert not {0, 1} & set(parts)


def test_a_table_knows_what_its_dataset_is() -> None:
    table = toy(["1", "2"])
    with pytest.raises(InputError, match="unknown dataset 'Toy'"):
        _ = table.info
    own = EmbeddingTable(**{**vars(table), "description": KFOLD})
    assert own.info is KFOLD
    registered = EmbeddingTable(**{**vars(table), "dataset": "ESC10"})
    assert registered.info is DATASETS["ESC10"]
    with pytest.raises(InputError, match="the description is of data set 'Toy'"):
        EmbeddingTable(**{**vars(table), "dataset": "ESC10", "description": KFOLD})
