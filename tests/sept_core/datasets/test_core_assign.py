"""The split that is made where none is published."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sept_core.datasets import DATASETS
from sept_core.datasets.assign import Unplaced, assign_folds, assign_parts, units_of

PARTS = ("1", "2", "3", "4", "5")


@st.composite
def clips(draw: st.DrawFn) -> list[Unplaced]:
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.sampled_from(["", "x", "y", "z"]), st.integers(0, 30)),
            min_size=1,
            max_size=40,
        )
    )
    return [Unplaced(f"c{at:03d}", name, group, f"{content:064x}") for at, (name, group, content) in enumerate(rows)]


@given(clips())
def test_neither_a_group_nor_a_content_is_ever_torn(rows: list[Unplaced]) -> None:
    parts = assign_parts("toy", rows, PARTS)
    for key in ("group", "sha256"):
        sides: dict[str, set[str]] = {}
        for row, part in zip(rows, parts, strict=True):
            if getattr(row, key):
                sides.setdefault(getattr(row, key), set()).add(part)
        assert all(len(of) == 1 for of in sides.values())


@given(clips(), st.randoms())
def test_the_order_in_which_clips_are_given_does_not_matter(rows: list[Unplaced], random) -> None:
    placed = {row.clip_id: part for row, part in zip(rows, assign_parts("toy", rows, PARTS), strict=True)}
    shuffled = random.sample(rows, len(rows))
    assert {r.clip_id: p for r, p in zip(shuffled, assign_parts("toy", shuffled, PARTS), strict=True)} == placed


def test_groups_joined_by_one_content_are_one_unit() -> None:
    rows = [Unplaced("1", "a", "x", "p"), Unplaced("2", "a", "x", "q"), Unplaced("3", "a", "y", "q")]
    assert len(set(units_of([*rows, Unplaced("4", "a", "z", "r")]))) == 2


def test_clips_without_groups_are_dealt_evenly_class_by_class() -> None:
    rows = [Unplaced(f"{name}{at}", name, "", f"{name}{at}") for name in "abcd" for at in range(25)]
    counts = Counter(zip((row.classname for row in rows), assign_parts("toy", rows, PARTS), strict=True))
    assert set(counts.values()) == {5}


def test_a_fixed_split_has_a_fifth_to_test_on() -> None:
    info = DATASETS["RAVDESS"]
    rows = [Unplaced(f"{a}-{n}", name, f"{a}", f"{a}-{n}") for a in range(24) for n, name in enumerate(info.classnames)]
    folds = assign_folds(info, rows)
    actors = {row.group for row, fold in zip(rows, folds, strict=True) if fold == "test"}
    assert set(folds) == {"train", "test"}
    assert len(actors) == 5


def test_the_split_is_a_known_one_that_must_never_change() -> None:
    # Results on GTZAN, RAVDESS, CREMA-D and Beijing-Opera rest on it.
    rows = [Unplaced(f"blues.{at:05d}", "blues", "", f"{at}") for at in range(10)]
    assert "".join(assign_parts("GT-Music-Genre", rows, PARTS)) == "3241251543"
