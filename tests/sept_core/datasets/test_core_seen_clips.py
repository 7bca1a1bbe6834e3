"""Clips of an encoder's pretraining are known by content, source and sound, whatever dataset they come in."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.mini.bundle import facts
from sept_core.datasets import EmbeddingTable, get_dataset, load_embeddings, make_split, unheard_folds
from sept_core.datasets.pretraining import FACTS, Pretraining, heard_rows, load_pretraining, newly_heard
from sept_core.datasets.sources import source_id
from sept_core.encoders import Encoder, load_encoder
from sept_core.encoders.mini.loading import WEIGHTS
from sept_core.errors import InputError
from sept_core.trial import TrialInputs, TrialRun, make_config

AUDIO = Path(__file__).parents[4] / "shared" / "audio"
METADATA = AUDIO.with_name("metadata")


def heard_of(table: EmbeddingTable, *folds: str) -> frozenset[str]:
    return frozenset(digest for digest, fold in zip(table.sha256, table.folds, strict=True) if fold in folds)


@pytest.fixture
def digits(make_table: Callable[..., EmbeddingTable]) -> EmbeddingTable:
    """FSDD as somebody brings it along, under a name that no encoder knows."""
    info = dataclasses.replace(get_dataset("FSDD"), name="digits")
    return dataclasses.replace(make_table("FSDD"), dataset="digits", description=info)


def test_no_clip_heard_is_drawn_held_out_or_tested(digits: EmbeddingTable) -> None:
    heard = heard_of(digits, "george", "lucas") | {digits.sha256[0]}
    known = heard_rows(digits, Pretraining(clips=heard))
    split = make_split(digits, digits.info, "theo", 0, 2, (), known)
    rows = {*split.train, *split.heldout_base, *split.heldout_new, *split.test_base, *split.test_new}
    assert rows
    assert not {digits.sha256[row] for row in rows} & heard
    everything = make_split(digits, digits.info, "theo", 0, 2, ())
    whole = (*everything.train, *everything.heldout_base, *everything.heldout_new)
    assert {digits.sha256[row] for row in whole} & heard


def test_folds_that_were_heard_whole_are_no_test_folds(digits: EmbeddingTable, encoder: Encoder) -> None:
    knowing = dataclasses.replace(
        encoder, pretraining=Pretraining(clips=heard_of(digits, "george", "jackson", "lucas"))
    )
    assert unheard_folds(digits, digits.info, knowing.pretraining) == ("nicolas", "theo", "yweweler")
    inputs = TrialInputs(knowing, digits)
    config = make_config(inputs, "coop", shots=2, epochs=1)
    assert config.folds == ("nicolas", "theo", "yweweler")
    TrialRun(config, inputs).advance()
    with pytest.raises(InputError, match="fold 'george' of digits cannot be used; usable: nicolas, theo, yweweler"):
        make_config(inputs, "coop", folds=["george"], shots=2, epochs=1)


def test_a_dataset_that_was_heard_whole_is_refused_with_the_reason(digits: EmbeddingTable) -> None:
    everything = frozenset(digits.sha256)
    with pytest.raises(
        InputError, match=r"digits: the encoder was pretrained on 240 of its 240 clips, which leaves no"
    ):
        unheard_folds(digits, digits.info, Pretraining(clips=everything))
    only_theo = everything - heard_of(digits, "theo")
    with pytest.raises(InputError, match=r"no clips of class 'eight' to draw shots from besides the 200 clips"):
        make_split(digits, digits.info, "theo", 0, 2, (), heard_rows(digits, Pretraining(clips=only_theo)))


def test_heard_clips_of_a_target_are_not_tested(digits: EmbeddingTable, make_table, encoder: Encoder) -> None:
    esc10 = make_table("ESC10")
    heard = heard_of(digits, "george", "jackson")
    tested = {}
    for name, seen in (("all", frozenset()), ("unheard", heard)):
        knowing = dataclasses.replace(encoder, pretraining=Pretraining(clips=seen))
        inputs = TrialInputs(knowing, esc10, None, {"digits": digits})
        run = TrialRun(make_config(inputs, "zero-shot", shots=2, folds=["1"], protocol="cross-dataset"), inputs)
        run.advance()
        tested[name] = sum(map(sum, run.result().confusion["digits"]))
    assert tested == {"all": 240, "unheard": 160}


def test_a_target_is_tested_without_the_clips_that_the_source_has_and_the_result_says_so(
    digits: EmbeddingTable, make_table, encoder: Encoder
) -> None:
    inputs = TrialInputs(encoder, make_table("FSDD"), None, {"digits": digits})
    config = make_config(inputs, "zero-shot", shots=2, folds=["theo"], protocol="cross-dataset")
    # The source has all speakers in a pool but george, who was heard.
    assert config.left_out["digits"].startswith("200 clips, ")
    run = TrialRun(config, inputs)
    run.advance()
    assert sum(map(sum, run.result().confusion["digits"])) == 40
    (line,) = [line for line in run.warnings if "left out" in line]
    assert (
        line == "digits: 200 of 240 clips are left out, from recordings that tiny was trained on or the source FSDD has"
    )
    assert line in run.result().warnings


def test_a_target_of_nothing_but_clips_of_the_source_is_refused(
    digits: EmbeddingTable, make_table, encoder: Encoder
) -> None:
    fsdd = make_table("FSDD")
    kept = [row for row, fold in enumerate(fsdd.folds) if fold not in ("george", "theo")]
    some = {
        name: tuple(getattr(digits, name)[row] for row in kept)
        for name in ("clip_ids", "classnames", "folds", "groups", "sha256", "sounds")
    }
    part = dataclasses.replace(digits, **some, embeddings=digits.embeddings[kept])
    inputs = TrialInputs(encoder, fsdd, None, {"digits": part})
    config = make_config(inputs, "zero-shot", shots=2, folds=["theo"], protocol="cross-dataset")
    with pytest.raises(InputError, match="target digits: all of its 160 test clips are from recordings that the sour"):
        TrialRun(config, inputs)


def test_a_recording_is_one_source_in_all_datasets_of_freesound_and_a_group_only_in_its_own() -> None:
    freesound = {source_id(name, "100032") for name in ("ESC10", "ESC50", "ESC50-Actions", "UrbanSound8K")}
    assert freesound == {"freesound:100032"}
    assert source_id("FSDD", "theo") == "FSDD:theo" != source_id("digits", "theo")
    assert source_id("ESC10", "") == source_id("FSDD", "") == ""


def sourced(table: EmbeddingTable, groups: dict[int, str]) -> EmbeddingTable:
    return dataclasses.replace(table, groups=tuple(groups.get(row, "") for row in range(len(table))))


def test_clips_from_recordings_of_the_pretraining_are_used_nowhere_and_change_the_signature(
    make_table, encoder: Encoder
) -> None:
    table = sourced(make_table("UrbanSound8K"), {0: "7", 1: "7", 50: "8", 51: ""})
    knowing = dataclasses.replace(encoder, pretraining=Pretraining(sources=frozenset({"freesound:7"})))
    assert heard_rows(table, knowing.pretraining) == {0, 1}
    configs = [make_config(TrialInputs(one, table), "coop", shots=2, epochs=1) for one in (encoder, knowing)]
    assert [*configs[1].left_out] == ["UrbanSound8K"]
    assert configs[1].left_out["UrbanSound8K"].startswith("2 clips, ")
    assert not configs[0].left_out
    assert "left_out" not in configs[0].model_dump(mode="json")
    assert configs[0].signature != configs[1].signature
    assert type(configs[1]).model_validate_json(configs[1].model_dump_json()) == configs[1]
    with pytest.raises(
        InputError, match="the trial left out no clips, and here 2 clips, .* of UrbanSound8K would be left out"
    ):
        TrialRun(configs[0], TrialInputs(knowing, table))


def test_a_target_is_tested_without_recordings_that_the_source_has(make_table, encoder: Encoder) -> None:
    source = sourced(make_table("ESC10"), {0: "7", 1: "9"})
    target = sourced(make_table("UrbanSound8K"), {5: "7", 6: "7", 7: "8"})
    inputs = TrialInputs(encoder, source, None, {"UrbanSound8K": target})
    folds = [fold for fold in ("1", "2") if fold != source.folds[0]]
    config = make_config(inputs, "zero-shot", shots=2, folds=folds, protocol="cross-dataset")
    assert config.left_out["UrbanSound8K"].startswith("2 clips, ")
    run = TrialRun(config, inputs)
    run.advance()
    assert sum(map(sum, run.result().confusion["UrbanSound8K"])) == (len(target) - 2) * len(folds)


def test_mini_has_heard_24_slices_of_urbansound8k_and_nothing_else_of_what_ships() -> None:
    pretraining = load_pretraining("mini")
    assert pretraining == load_encoder("mini").pretraining
    if METADATA.is_dir():
        with (METADATA / "UrbanSound8K.csv").open() as file:
            slices = [source_id("UrbanSound8K", row["fsID"]) for row in csv.DictReader(file)]
        assert sum(source in pretraining.sources for source in slices) == 24
    for dataset in ("ESC10", "FSDD"):
        table = load_embeddings(dataset, load_encoder("mini").fingerprint)
        # By name, by content, by source and by sound it is the same clips: no signature changes.
        assert not newly_heard(table, pretraining)
        assert {table.folds[row] for row in heard_rows(table, pretraining)} == {*pretraining.folds[dataset]}
        by_sound = heard_rows(table, Pretraining(sounds=pretraining.sounds))
        assert by_sound == heard_rows(table, Pretraining(clips=pretraining.clips))


def test_what_mini_was_trained_on_is_what_its_bundled_folds_hold() -> None:
    encoder = load_encoder("mini")
    tables = [load_embeddings(dataset, encoder.fingerprint) for dataset in ("ESC10", "FSDD")]
    said = facts(encoder.pretraining.folds, tables)
    assert said == json.loads(FACTS.read_text())["mini"]


def test_nothing_is_heard_that_is_unknown(make_table) -> None:
    assert load_pretraining("no such encoder") == Pretraining()
    table = sourced(make_table("ESC10"), {})
    assert not heard_rows(table, Pretraining(sources=frozenset({"", "freesound:"}), sounds=("",)))


def test_mini_knows_as_many_clips_by_content_as_it_lists_by_name() -> None:
    listed = json.loads((WEIGHTS / "clips_seen.json").read_text())
    assert len(load_encoder("mini").pretraining.clips) == sum(len(names) for names in listed.values())


@pytest.mark.audio
@pytest.mark.skipif(not AUDIO.is_dir(), reason="needs the real audio folders beside the project")
def test_the_clips_that_mini_knows_by_content_are_those_that_it_lists_by_name() -> None:
    listed = json.loads((WEIGHTS / "clips_seen.json").read_text())
    paths = {path.stem: path for pattern in ("esc10/*/*.ogg", "fsdd/recordings/*.wav") for path in AUDIO.glob(pattern)}
    digests = {hashlib.sha256(paths[name].read_bytes()).hexdigest() for names in listed.values() for name in names}
    assert load_encoder("mini").pretraining.clips == digests
