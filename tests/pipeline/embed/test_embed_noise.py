"""Noisy embeddings have a place of their own: whoever reads the data set gets the clips as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fake_tower import FakeTower, bytes_below, make_encoder

from pipeline.embed import EmbedSummary, embed
from pipeline.embed.check import stored_embeddings
from pipeline.spec import EncoderFiles
from pipeline.store import EmbeddingStore, open_files
from pipeline.store.noise import noises_of, noisy_files
from sept_core.audio.noise import Noise

Sept = Callable[..., tuple[int, str, str]]
FINGERPRINT = "f" * 16
LOUD, NONE = Noise("white", 0.0), Noise("babble", math.inf)


def run(audio: Path, root: Path, *noises: Noise, force: bool = False) -> list[EmbedSummary]:
    return embed(
        ["fsdd"], audio, EncoderFiles(name="fake"), root, noises=noises, force=force, load=_load, skip_bad=True
    )


def _load(files: EncoderFiles) -> object:
    return make_encoder(FakeTower())


@pytest.fixture(autouse=True)
def without_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    # The fake encoder has no text tower.
    monkeypatch.setattr("pipeline.embed.run.Work.keep_texts", lambda self, summary: None)


def test_nothing_of_the_data_set_changes_and_no_list_of_data_sets_has_them(audio: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    run(audio, root)
    before = bytes_below(root)
    summaries = run(audio, root, LOUD, NONE)
    assert [(one.noise, one.clips, one.made) for one in summaries] == [
        ("white-0dB", 20, True),
        ("babble-infdB", 20, True),
    ]
    after = bytes_below(root)
    assert {name: data for name, data in after.items() if not name.startswith("noise/")} == before
    assert stored_embeddings(open_files(root)) == [(FINGERPRINT, "FSDD")]
    assert [*noises_of(open_files(root), FINGERPRINT, ["FSDD"])] == [NONE, LOUD]
    assert not noises_of(open_files(root), FINGERPRINT, ["FSDD", "ESC10"])
    assert not noises_of(open_files(root), "0" * 16, ["FSDD"])
    # A second run finds them.
    assert [one.made for one in run(audio, root, LOUD, NONE)] == [False, False]


def test_without_noise_they_are_bit_equal_and_with_it_they_are_the_same_clips(audio: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    run(audio, root)
    run(audio, root, LOUD, NONE)
    files = open_files(root)
    clean, loud, none = (
        EmbeddingStore(place).read(FINGERPRINT, "FSDD")
        for place in (files, noisy_files(files, LOUD), noisy_files(files, NONE))
    )
    assert torch.equal(none.embeddings, clean.embeddings)
    assert not torch.equal(loud.embeddings, clean.embeddings)
    # Whatever is decided by the sound of a clip is decided by the clip without noise.
    assert (loud.clip_ids, loud.sounds, loud.manifest_digest) == (clean.clip_ids, clean.sounds, clean.manifest_digest)
    assert none.digest == clean.digest


def test_a_clip_that_is_refused_is_refused_with_noise_too(audio: Path, tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    soundfile.write(next(audio.rglob("*.wav")), np.zeros(800, "float32"), 8000)
    (clean,), (noisy,) = run(audio, tmp_path / "root"), run(audio, tmp_path / "root", LOUD)
    assert (clean.clips, clean.skipped) == (noisy.clips, noisy.skipped) == (19, 1)


def test_the_order_of_kinds_and_the_process_change_no_byte(audio: Path, tmp_path: Path) -> None:
    rain = Noise("rain", 5.0)
    run(audio, tmp_path / "one", LOUD, rain)
    run(audio, tmp_path / "two", rain)
    run(audio, tmp_path / "two", LOUD)
    assert bytes_below(tmp_path / "one") == bytes_below(tmp_path / "two")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--snr", "10"], "--snr alone does nothing; also give --noise white"),
        (["--noise", "pink"], "unknown noise 'pink'; known: babble, rain, white"),
        (["--noise", "white", "--snr", "10 dB"], "--snr 10 dB is not a list of numbers; write --snr 20,10,0"),
        (["--noise", "white", "--snr", "-inf"], "a signal-to-noise ratio of -inf dB; give -100 to 100, or inf"),
    ],
)
def test_options_that_make_no_noise_are_refused(sept: Sept, audio: Path, options: list[str], line: str) -> None:
    code, _, err = sept("embed", "fsdd", "--audio", audio, *options)
    assert (code, err.strip().removeprefix("error: ")) == (2, line)
