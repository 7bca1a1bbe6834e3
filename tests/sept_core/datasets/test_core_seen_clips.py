"""Clips of an encoder's pretraining are known by content, whatever dataset they come in."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sept_core.datasets import EmbeddingTable, get_dataset, make_split, unheard_folds
from sept_core.encoders import Encoder, load_encoder
from sept_core.encoders.mini.loading import WEIGHTS
from sept_core.errors import InputError
from sept_core.trial import TrialInputs, TrialRun, make_config

AUDIO = Path(__file__).parents[4] / "shared" / "audio"


def heard_of(table: EmbeddingTable, *folds: str) -> frozenset[str]:
    return frozenset(digest for digest, fold in zip(table.sha256, table.folds, strict=True) if fold in folds)


@pytest.fixture
def digits(make_table: Callable[..., EmbeddingTable]) -> EmbeddingTable:
    """FSDD as somebody brings it along, under a name that no encoder knows."""
    info = dataclasses.replace(get_dataset("FSDD"), name="digits")
    return dataclasses.replace(make_table("FSDD"), dataset="digits", description=info)


def test_no_clip_heard_is_drawn_held_out_or_tested(digits: EmbeddingTable) -> None:
    heard = heard_of(digits, "george", "lucas") | {digits.sha256[0]}
    split = make_split(digits, digits.info, "theo", 0, 2, (), heard)
    rows = {*split.train, *split.heldout_base, *split.heldout_new, *split.test_base, *split.test_new}
    assert rows
    assert not {digits.sha256[row] for row in rows} & heard
    everything = make_split(digits, digits.info, "theo", 0, 2, ())
    whole = (*everything.train, *everything.heldout_base, *everything.heldout_new)
    assert {digits.sha256[row] for row in whole} & heard


def test_folds_that_were_heard_whole_are_no_test_folds(digits: EmbeddingTable, encoder: Encoder) -> None:
    knowing = dataclasses.replace(encoder, seen_clips=heard_of(digits, "george", "jackson", "lucas"))
    assert unheard_folds(digits, digits.info, (), knowing.seen_clips) == ("nicolas", "theo", "yweweler")
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
        unheard_folds(digits, digits.info, (), everything)
    only_theo = everything - heard_of(digits, "theo")
    with pytest.raises(InputError, match=r"no clips of class 'eight' to draw shots from besides those 200 clips"):
        make_split(digits, digits.info, "theo", 0, 2, (), only_theo)


def test_heard_clips_of_a_target_are_not_tested(digits: EmbeddingTable, make_table, encoder: Encoder) -> None:
    esc10 = make_table("ESC10")
    heard = heard_of(digits, "george", "jackson")
    tested = {}
    for name, seen in (("all", frozenset()), ("unheard", heard)):
        knowing = dataclasses.replace(encoder, seen_clips=seen)
        inputs = TrialInputs(knowing, esc10, None, {"digits": digits})
        run = TrialRun(make_config(inputs, "zero-shot", shots=2, folds=["1"], protocol="cross-dataset"), inputs)
        run.advance()
        tested[name] = sum(map(sum, run.result().confusion["digits"]))
    assert tested == {"all": 240, "unheard": 160}


def test_a_target_that_holds_clips_of_the_source_is_refused(
    digits: EmbeddingTable, make_table, encoder: Encoder
) -> None:
    fsdd = make_table("FSDD")
    inputs = TrialInputs(encoder, fsdd, None, {"digits": digits})
    config = make_config(inputs, "coop", shots=2, folds=["theo"], protocol="cross-dataset")
    with pytest.raises(
        InputError, match="target digits: .* of its test clips are clips that the source FSDD trains on"
    ):
        TrialRun(config, inputs)


def test_mini_knows_as_many_clips_by_content_as_it_lists_by_name() -> None:
    listed = json.loads((WEIGHTS / "clips_seen.json").read_text())
    assert len(load_encoder("mini").seen_clips) == sum(len(names) for names in listed.values())


@pytest.mark.audio
@pytest.mark.skipif(not AUDIO.is_dir(), reason="needs the real audio folders beside the project")
def test_the_clips_that_mini_knows_by_content_are_those_that_it_lists_by_name() -> None:
    listed = json.loads((WEIGHTS / "clips_seen.json").read_text())
    paths = {path.stem: path for pattern in ("esc10/*/*.ogg", "fsdd/recordings/*.wav") for path in AUDIO.glob(pattern)}
    digests = {hashlib.sha256(paths[name].read_bytes()).hexdigest() for names in listed.values() for name in names}
    assert load_encoder("mini").seen_clips == digests
