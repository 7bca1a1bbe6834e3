"""What published splits get wrong is reported and, where asked, left out; what would make a result wrong is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sept_core.datasets import (
    DATASETS,
    DatasetInfo,
    EmbeddingTable,
    data_warnings,
    halves,
    make_split,
    split_all_classes,
)
from sept_core.datasets.sound import sound_of
from sept_core.datasets.split_faults import refuse_faulty, split_warnings
from sept_core.datasets.split_overlap import rows_of
from sept_core.errors import InputError

ESC = DATASETS["ESC10"]
OWN = DatasetInfo("Toy", "events", ESC.classnames, ESC.template, ESC.folds, "kfold", extra=True)


def table(info: DatasetInfo = ESC, each: int = 2, **changes: Sequence[str]) -> EmbeddingTable:
    """``each`` clips of every class in every fold, all from recordings of their own."""
    rows = [(name, fold, copy) for name in info.classnames for fold in info.folds for copy in range(each)]
    ids = [f"{fold}-{at:03d}-A" for at, (_, fold, _) in enumerate(rows)]
    order = sorted(range(len(rows)), key=lambda at: ids[at])
    made = EmbeddingTable(
        dataset=info.name,
        encoder_fingerprint="0" * 16,
        manifest_digest="0" * 16,
        clip_ids=tuple(ids[at] for at in order),
        classnames=tuple(rows[at][0] for at in order),
        folds=tuple(rows[at][1] for at in order),
        groups=tuple(f"g{at}" for at in order),
        sha256=tuple(f"{at:064x}" for at in order),
        embeddings=torch.nn.functional.normalize(torch.ones(len(rows), 4), dim=1),
        description=None if info is ESC else info,
    )
    return replace(made, **{name: tuple(values) for name, values in changes.items()})


def with_same(source: EmbeddingTable, field: str, pairs: Sequence[tuple[int, int]]) -> EmbeddingTable:
    """Rows that share a group or a digest with others."""
    values = list(getattr(source, field))
    for one, other in pairs:
        values[other] = values[one]
    return replace(source, **{field: tuple(values)})


def row(source: EmbeddingTable, fold: str, classname: str) -> int:
    return next(at for at in range(len(source)) if source.folds[at] == fold and source.classnames[at] == classname)


@pytest.fixture
def crossed() -> EmbeddingTable:
    plain = table()
    one, other = row(plain, "2", "chainsaw"), row(plain, "3", "rain")
    return with_same(plain, "groups", [(one, other)])


def test_a_recording_in_two_published_folds_is_kept_as_published_unless_dropping_it_is_asked_for(
    crossed: EmbeddingTable,
) -> None:
    one, other = row(crossed, "2", "chainsaw"), row(crossed, "3", "rain")
    kept = make_split(crossed, ESC, "3", 0, 1, ())
    assert one in {*kept.train, *kept.heldout_base}
    dropped = make_split(crossed, ESC, "3", 0, 1, (), crossing="drop")
    assert one not in {*dropped.train, *dropped.heldout_base, *dropped.heldout_new}
    assert other in dropped.test_new
    # Nothing crosses fold 1, so that nothing changes there.
    assert make_split(crossed, ESC, "1", 0, 1, ()) == make_split(crossed, ESC, "1", 0, 1, (), crossing="drop")


def test_the_warning_names_the_recordings_their_folds_and_the_test_clips(crossed: EmbeddingTable) -> None:
    rows = rows_of(crossed, ESC)
    (line,) = split_warnings(rows, ESC, ESC.folds)
    group = crossed.groups[row(crossed, "2", "chainsaw")]
    assert line == (
        f"1 recording is in both training and test of the published split ({group} in folds 2 and 3), with 2 of "
        "100 test clips; crossing: drop in the sweep's YAML leaves them out of training"
    )
    (line,) = split_warnings(rows, ESC, ESC.folds, "drop")
    assert line.endswith("their training clips are left out (crossing: drop)")
    assert split_warnings(rows, ESC, ["1", "4"]) == []


@given(st.data())
def test_a_dropped_split_shares_nothing_with_its_test_clips(data: st.DataObject) -> None:
    plain = table(each=3)
    indices = st.integers(0, len(plain) - 1)
    pairs = data.draw(st.lists(st.tuples(indices, indices), max_size=12))
    crossed = with_same(plain, "groups", pairs)
    fold = data.draw(st.sampled_from(ESC.folds))
    split = make_split(crossed, ESC, fold, 0, 1, (), crossing="drop")
    trained = {crossed.groups[at] for at in (*split.train, *split.heldout_base, *split.heldout_new)}
    assert not trained & {crossed.groups[at] for at in (*split.test_base, *split.test_new)}
    kept = make_split(crossed, ESC, fold, 0, 1, ())
    assert (split.test_base, split.test_new) == (kept.test_base, kept.test_new)
    # Kept as published, another clip of a recording may be trained on and may choose, as it always did.
    published = make_split(plain, ESC, fold, 0, 1, ())
    assert (kept.train, kept.heldout_base, kept.heldout_new) == (
        (published.train, published.heldout_base, published.heldout_new)
    )


@given(st.data())
def test_nothing_is_chosen_by_a_copy_of_a_test_clip_and_training_stays_as_published(data: st.DataObject) -> None:
    plain = table(each=4)
    folds = st.sampled_from(ESC.folds)
    copies = data.draw(st.lists(st.tuples(st.sampled_from(ESC.classnames), folds, folds), max_size=8))
    pairs = [(row(plain, one, name), row(plain, other, name)) for name, one, other in copies]
    twice = with_same(plain, "sha256", pairs)
    fold = data.draw(folds)
    split, published = make_split(twice, ESC, fold, 0, 1, ()), make_split(plain, ESC, fold, 0, 1, ())
    assert split.train == published.train
    assert split_all_classes(twice, ESC, fold, 0, 1, ()).train == split_all_classes(plain, ESC, fold, 0, 1, ()).train
    held_out = {twice.sha256[at] for at in (*split.heldout_base, *split.heldout_new)}
    assert not held_out & {twice.sha256[at] for at in (*split.test_base, *split.test_new)}
    every = {*published.heldout_base, *published.heldout_new}
    assert {*split.heldout_base, *split.heldout_new} == every - split.shared


def test_dropping_everything_of_a_class_is_refused_with_the_reason() -> None:
    plain = table()
    test = row(plain, "1", "rain")
    everything = [(test, at) for at in range(len(plain)) if plain.classnames[at] == "chainsaw"]
    with pytest.raises(
        InputError,
        match=r"no clips of class 'chainsaw' .* besides the 8 clips that crossing: drop .*use crossing: keep",
    ):
        make_split(with_same(plain, "groups", everything), ESC, "1", 0, 1, (), crossing="drop")


@pytest.mark.parametrize("crossing", ["keep", "drop"])
def test_in_ones_own_data_what_crosses_stays_an_error_with_the_way_out(crossing: str) -> None:
    plain = table(OWN)
    one, other = row(plain, "2", "chainsaw"), row(plain, "3", "chainsaw")
    for field, said in (("groups", "1 group in both"), ("sha256", "1 test clip with the content of a training clip")):
        with pytest.raises(InputError, match=f"{said}.*; in the CSV .*remove its column fold or split"):
            make_split(with_same(plain, field, [(one, other)]), OWN, "3", 0, 1, (), crossing=crossing)  # type: ignore[arg-type]


def test_a_sound_with_two_labels_is_neither_trained_nor_tested_on() -> None:
    plain = table()
    one, other = row(plain, "2", "chainsaw"), row(plain, "2", "rain")
    torn = with_same(plain, "sha256", [(one, other)])
    # 2 of 100 clips are more than a copy may have wrong, 2 of 200 are not.
    with pytest.raises(InputError, match="1 sound has more than one label .*; unpack or download ESC10 again"):
        refuse_faulty(rows_of(torn, ESC), ESC, ESC.folds)
    large = table(each=4)
    one, other = row(large, "2", "chainsaw"), row(large, "2", "rain")
    torn = with_same(large, "sha256", [(one, other)])
    refuse_faulty(rows_of(torn, ESC), ESC, ESC.folds)
    for fold in ESC.folds:
        split = make_split(torn, ESC, fold, 0, 1, ())
        used = {*split.train, *split.heldout_base, *split.heldout_new, *split.test_base, *split.test_new}
        assert not {one, other} & used
        assert len(used) == len(large) - 2
    (line,) = split_warnings(rows_of(torn, ESC), ESC, ESC.folds)
    pair = f"{large.clip_ids[one]} = {large.clip_ids[other]}"
    assert line == f"1 sound has more than one label ({pair}): their 2 clips are left out of training and test"


def test_one_test_clip_that_is_trained_on_does_not_condemn_a_published_split() -> None:
    large = table(each=4)
    same = with_same(large, "sha256", [(row(large, "2", "rain"), row(large, "3", "rain"))])
    refuse_faulty(rows_of(same, ESC), ESC, ESC.folds)
    (line,) = split_warnings(rows_of(same, ESC), ESC, ESC.folds)
    assert line.startswith("2 test clips of the published split are also trained on, by content (")


def test_a_copy_whose_train_and_test_are_swapped_is_refused_unless_asked_for_by_name() -> None:
    plain = table()
    swapped = replace(
        plain, folds=tuple("train=2;test=1,3,4,5" if fold == "2" else "train=1,3,4,5;test=2" for fold in plain.folds)
    )
    rows = rows_of(swapped, ESC)
    with pytest.raises(InputError) as caught:
        refuse_faulty(rows, ESC, ESC.folds)
    assert "fold 2: 80 clips to test on and 20 to train on: are they swapped?" in str(caught.value)
    assert "folds: {ESC10: [1, 3, 4, 5]}" in str(caught.value)
    assert "accept_faulty_splits: [ESC10]" in str(caught.value)
    refuse_faulty(rows, ESC, ["1", "3"])
    refuse_faulty(rows, ESC, ESC.folds, accepted=True)
    (line,) = [line for line in split_warnings(rows, ESC, ESC.folds) if "split is wrong" in line]
    assert line.endswith("used as it is (accept_faulty_splits)")


def test_classes_of_a_published_split_stay_apart_when_labels_contradict() -> None:
    base, new = halves(ESC.classnames)
    large = table(each=4)
    torn = with_same(large, "sha256", [(row(large, "2", base[0]), row(large, "3", new[0]))])
    split = make_split(torn, ESC, "3", 0, 1, ())
    trained = {torn.sha256[at] for at in (*split.train, *split.heldout_base)}
    assert not trained & {torn.sha256[at] for at in (*split.test_new, *split.heldout_new)}


def sounding_alike(plain: EmbeddingTable, one: int, other: int) -> EmbeddingTable:
    """Every clip has a sound of its own, but these two."""
    generator = torch.Generator().manual_seed(0)
    waveforms = [
        torch.randn(8000, generator=generator) * torch.rand(40, generator=generator).repeat_interleave(200)
        for _ in range(len(plain))
    ]
    waveforms[other] = 0.5 * waveforms[one]
    return replace(plain, sounds=tuple(sound_of(waveform, 16_000) for waveform in waveforms))


def test_a_recording_that_was_encoded_twice_is_refused_in_ones_own_split_in_the_fold_that_it_crosses() -> None:
    plain = table(OWN)
    one, other = row(plain, "2", "chainsaw"), row(plain, "3", "chainsaw")
    twice = sounding_alike(plain, one, other)
    pair = f"{plain.clip_ids[one]} = {plain.clip_ids[other]}"
    with pytest.raises(
        InputError, match=f"fold 3: 1 pair of training and test clips sound the same: {pair}; in the CSV give both"
    ):
        make_split(twice, OWN, "3", 0, 1, ())
    assert make_split(twice, OWN, "1", 0, 1, ()).fold == "1"


def test_in_a_published_split_it_is_a_warning_of_the_folds_in_question_and_drop_leaves_it_out() -> None:
    plain = table()
    one, other = row(plain, "2", "chainsaw"), row(plain, "3", "chainsaw")
    twice = sounding_alike(plain, one, other)
    kept = make_split(twice, ESC, "3", 0, 1, ())
    assert one in kept.shared
    dropped = make_split(twice, ESC, "3", 0, 1, (), crossing="drop")
    assert one not in {*dropped.train, *dropped.heldout_base}
    pair = f"{plain.clip_ids[one]} = {plain.clip_ids[other]}"
    said = [line for line in data_warnings(twice, ESC.folds) if "sound the same" in line]
    assert said == [f"ESC10: clips to test on sound the same as clips to train on, encoded twice: {pair}"]
    # Folds 1 and 4 have both clips in their pool, which breaks no split.
    (line,) = [line for line in data_warnings(twice, ["1", "4"]) if "sound the same" in line]
    assert line.startswith(f"ESC10: 1 pair of clips in one class sound the same, encoded twice: {pair}; one copy may")
    assert not [line for line in data_warnings(twice, ESC.folds, unused=(one,)) if "sound the same" in line]


def test_the_hint_to_drop_is_not_given_where_it_would_leave_a_class_without_clips() -> None:
    plain = table()
    test = row(plain, "1", "rain")
    everything = [(test, at) for at in range(len(plain)) if plain.classnames[at] == "chainsaw"]
    (line,) = split_warnings(rows_of(with_same(plain, "groups", everything), ESC), ESC, ["1"])
    assert "crossing: drop" not in line
    assert line.endswith("without them some classes would have no training clips")


def test_sound_folds_are_advised_whichever_folds_were_asked_for() -> None:
    plain = table()
    # Folds 2 and 3 test what they should train on.
    folds = {"2": "train=2,3;test=1,4,5", "3": "train=2,3;test=1,4,5"}
    swapped = replace(plain, folds=tuple(folds.get(fold, "train=1,4,5;test=2,3") for fold in plain.folds))
    with pytest.raises(InputError) as caught:
        refuse_faulty(rows_of(swapped, ESC), ESC, ["2"])
    assert "folds: {ESC10: [1, 4, 5]}" in str(caught.value)


def said_of(plain: EmbeddingTable, folds: Sequence[str] = ESC.folds, **given: object) -> list[str]:
    """What data_warnings says besides the number of clips."""
    return [line for line in data_warnings(plain, folds, **given) if "is published with" not in line]  # type: ignore[arg-type]


@pytest.mark.parametrize("info", [ESC, OWN])
def test_content_twice_in_a_class_follows_the_numbers_of_the_folds_that_it_concerns(info: DatasetInfo) -> None:
    plain = table(info)
    one = row(plain, "2", "rain")
    other = next(at for at in range(one + 1, len(plain)) if plain.folds[at] == "2" and plain.classnames[at] == "rain")
    twice = with_same(plain, "sha256", [(one, other)])
    begin = f"{info.name}: 1 sound more than once in a class: {plain.clip_ids[one]} = {plain.clip_ids[other]}; "
    pool, test = "one copy may be trained on while another is held out", "each copy counts in the test"
    assert said_of(plain) == []
    assert said_of(twice, ["1"]) == [begin + pool]
    assert said_of(twice, ["2"]) == [begin + test]
    assert said_of(twice, ["1", "2"]) == [f"{begin}{pool} and {test}"]
    assert said_of(twice, (), target=True) == [begin + test]
    for target in (False, True):
        assert said_of(twice, unused=(one,), target=target) == []


def test_content_that_crosses_a_published_split_or_has_two_labels_is_reported_once() -> None:
    large = table(each=4)
    same = with_same(large, "sha256", [(row(large, "2", "rain"), row(large, "3", "rain"))])
    (line,) = said_of(same)
    assert "of the published split are also trained on, by content" in line
    base, new = halves(ESC.classnames)
    torn = with_same(large, "sha256", [(row(large, "2", base[0]), row(large, "2", new[0]))])
    (line,) = said_of(torn)
    assert line.startswith("ESC10: 1 sound has more than one label")


def test_a_recording_encoded_twice_under_a_base_and_a_new_class_is_reported() -> None:
    plain = table()
    one, other = row(plain, "2", "chainsaw"), row(plain, "2", "rain")
    twice = sounding_alike(plain, one, other)
    (line,) = said_of(twice)
    assert line.startswith(
        "ESC10: 1 pair of clips that sound the same have different labels, 1 of them of a base and a new class: "
        f"{plain.clip_ids[one]} (chainsaw) = {plain.clip_ids[other]} (rain); they are used as they are"
    )
    assert said_of(twice, unused=(other,)) == []
