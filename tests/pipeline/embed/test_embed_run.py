"""From clips to embeddings: all clips in their order, memory bounded, a person's own data set."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fake_tower import RATE, FakeTower, make_encoder

from pipeline.data.audio.open import open_audio
from pipeline.data.prepared import Prepared, write_prepared
from pipeline.embed import embed, embed_with
from pipeline.embed.inline import embed_inline
from pipeline.embed.jobs import EmbedJob
from pipeline.embed.sizing import Begun
from pipeline.embed.work import Work
from pipeline.spec import EncoderFiles
from pipeline.store import EmbeddingStore
from pipeline.store.fetch import fetch
from sept_core.datasets import read_csv_dataset, read_layout
from sept_core.encoders import AudioTower, Encoder
from sept_core.errors import InputError


def test_every_clip_gets_its_own_embedding_in_the_manifests_order(audio: Path, tmp_path: Path) -> None:
    tower = FakeTower()
    summary = embed_with(make_encoder(tower), "fsdd", audio, tmp_path / "runs", batch_size=8)
    table = EmbeddingStore(tmp_path / "runs").read("f" * 16, "FSDD")
    manifest = read_layout("FSDD", audio)
    assert table.clip_ids == tuple(clip.clip_id for clip in manifest.clips)
    for clip, row in zip(manifest.clips, table.embeddings, strict=True):
        samples = torch.from_numpy(soundfile.read(audio / clip.path, dtype="float32")[0])
        torch.testing.assert_close(row, FakeTower()(samples[None])[0])
    assert tower.batches == [8, 8, 4]
    assert (summary.dataset, summary.clips, summary.made) == ("FSDD", 20, True)
    assert summary.clips_per_second > 0
    assert Path(summary.where).is_dir()


def test_decoding_stays_a_bounded_way_ahead_of_encoding(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.embed.jobs.TOGETHER", 2)
    tower = FakeTower()
    embed_with(make_encoder(tower), "fsdd", audio, tmp_path / "runs", batch_size=2)
    assert tower.lead <= 3 * 2


def test_progress_counts_every_clip(audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.embed.jobs.TOGETHER", 8)
    seen: list[tuple[str, int, int]] = []
    embed_with(
        make_encoder(FakeTower()),
        "fsdd",
        audio,
        tmp_path / "runs",
        lambda *told: seen.append(told),
        batch_size=4,
    )
    assert seen == [("FSDD", done, 20) for done in (0, 8, 16, 20)]


def test_no_more_clips_are_encoded_at_once_than_was_asked_for(audio: Path, tmp_path: Path) -> None:
    tower = FakeTower()
    summary = embed_with(make_encoder(tower), "fsdd", audio, tmp_path / "runs", batch_size=4)
    assert tower.batches == [4] * 5
    manifest = EmbeddingStore(tmp_path / "runs").manifest(summary.fingerprint, "FSDD")
    assert manifest is not None
    assert manifest["preprocessing"]["batch_size"] == 4


def test_an_attempt_on_gpus_that_goes_on_keeps_the_batch_size_it_was_begun_with(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("embed.jobs", "embed.work", "store.embedding_writer"):
        monkeypatch.setattr(f"pipeline.{module}.ROWS_PER_PART", 8)
    told: list[int | None] = []

    def attempt(size: int, encoded: int) -> None:
        """One that encodes so many clips of so many at once, unless an earlier one was begun with another number."""
        work = Work(make_encoder(FakeTower()), tmp_path / "runs", None, skip_bad=False, force=False)
        work.add("FSDD", open_audio(audio), "")

        def batch_size(begun: Begun) -> int:
            told.append(begun())
            return told[-1] or size

        def run(jobs: Sequence[EmbedJob], tower: AudioTower, done: Callable[[int, int], None], left: int) -> None:
            def stop(job: int, clips: int) -> None:
                nonlocal encoded
                encoded -= clips
                if encoded < 0:
                    raise KeyboardInterrupt

            embed_inline(jobs, tower, stop)

        work.run(run, batch_size)

    monkeypatch.setattr("pipeline.embed.jobs.TOGETHER", 4)
    with pytest.raises(KeyboardInterrupt):
        attempt(4, 12)
    attempt(8, 20)
    assert told == [None, 4]


class TestOwnData:
    @pytest.fixture
    def prepared(self, tmp_path: Path) -> tuple[Path, Path]:
        """The root and the audio of a dataset of one's own."""
        lines = ["path,classname,fold"]
        for number in range(8):
            name = f"{number}.wav"
            (tmp_path / "audio").mkdir(exist_ok=True)
            sound = np.random.default_rng(number).normal(0, 0.1, 800).astype("float32")
            soundfile.write(tmp_path / "audio" / name, sound, RATE)
            lines.append(f"{name},{('wren', 'tit')[number % 2]},{1 + number // 4}")
        (tmp_path / "birds.csv").write_text("\n".join(lines))
        self.prepare(tmp_path, "events")
        return tmp_path, tmp_path / "audio"

    @staticmethod
    def prepare(root: Path, kind: str) -> None:
        made = read_csv_dataset(root / "birds.csv", root / "audio", name="birds", kind=kind)
        write_prepared(root, Prepared(*made))

    def test_what_it_is_travels_with_the_embeddings(self, prepared: tuple[Path, Path]) -> None:
        root, audio = prepared
        summary = embed_with(make_encoder(FakeTower()), "Birds", audio, root)
        table = EmbeddingStore(root).read("f" * 16, "birds")
        assert (summary.dataset, summary.clips) == ("birds", 8)
        assert table.description == table.info
        assert table.info.classnames == ("tit", "wren")

    def test_another_description_of_the_same_clips_is_embedded_anew(self, prepared: tuple[Path, Path]) -> None:
        root, audio = prepared
        embed_with(make_encoder(FakeTower()), "birds", audio, root)
        assert not embed_with(make_encoder(FakeTower()), "birds", audio, root).made
        self.prepare(root, "speech")
        assert embed_with(make_encoder(FakeTower()), "birds", audio, root).made
        assert EmbeddingStore(root).read("f" * 16, "birds").info.kind == "speech"

    def test_what_trials_will_refuse_is_said_when_it_is_embedded(self, audio: Path, tmp_path: Path) -> None:
        # One content under two labels, for half of the clips.
        for digit in range(0, 10, 2):
            for speaker in ("theo", "lucas"):
                recording = audio / "recordings" / f"{digit}_{speaker}_0.wav"
                shutil.copy(recording, recording.with_name(f"{digit + 1}_{speaker}_0.wav"))
        for made in (True, False):
            summary = embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs")
            assert summary.made == made
            assert any(re.match("trials refuse this: .* more than one label", line) for line in summary.warnings), (
                summary.warnings
            )

    def test_it_is_unknown_under_another_root(self, prepared: tuple[Path, Path], tmp_path: Path) -> None:
        with pytest.raises(InputError, match="unknown dataset 'birds'"):
            embed(["birds"], prepared[1], EncoderFiles(name="mini"), tmp_path / "elsewhere")


def test_where_weights_lie_reaches_the_encoders_loader(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def fake(*arguments: object) -> Encoder:
        asked.append(arguments)
        return make_encoder(FakeTower())

    monkeypatch.setattr("sept_core.encoders.load_encoder", fake)
    monkeypatch.setattr("pipeline.embed.work.keep_texts", lambda *_: 0)
    embed(["fsdd"], audio, EncoderFiles(name="msclap-2023", weights="w.pth", text_model="hub:gpt2"), tmp_path / "runs")
    assert asked == [("msclap-2023", "w.pth", "hub:gpt2", fetch)]
