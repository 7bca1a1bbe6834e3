"""Clips, encoders and arguments that cannot be used: one line each, and what was good is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from fake_tower import RATE, FakeTower, bytes_below, make_encoder
from torch import Tensor

from pipeline.embed import embed, embed_with
from pipeline.spec import EncoderFiles
from pipeline.store import EmbeddingStore
from sept_core.datasets import read_layout
from sept_core.datasets.embeddings import TEXT_COLUMNS
from sept_core.encoders import Preparation
from sept_core.errors import InputError


class TestBadClips:
    @pytest.fixture
    def bad(self, audio: Path) -> dict[str, str]:
        """Three clips of the twenty are none; by clip id what is said of them."""
        (audio / "recordings/3_theo_0.wav").write_bytes(b"this is no audio")
        (audio / "recordings/5_lucas_0.wav").write_bytes(b"")
        soundfile.write(audio / "recordings/9_theo_0.wav", np.zeros(0, dtype="float32"), RATE)
        return {"3_theo_0": "cannot be decoded", "5_lucas_0": "empty", "9_theo_0": "no samples"}

    def test_they_are_listed_what_was_good_is_kept_and_leaving_them_out_has_to_be_asked_for(
        self, audio: Path, tmp_path: Path, bad: dict[str, str]
    ) -> None:
        with pytest.raises(InputError) as error:
            embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs", batch_size=4)
        line = str(error.value)
        assert line.startswith(str(audio / "recordings/3_theo_0.wav") + ": cannot be decoded")
        assert "(2 more clips cannot be used either)" in line
        assert "errors.parquet lists, or leave them out with --skip-bad" in line
        assert "\n" not in line
        store = EmbeddingStore(tmp_path / "runs")
        assert not store.has("f" * 16, "FSDD")
        where = tmp_path / "runs/embeddings" / ("f" * 16) / "FSDD"
        errors = pq.read_table(where / "errors.parquet")
        assert errors.column_names == [*TEXT_COLUMNS, "reason"]
        told = dict(zip(errors["clip_id"].to_pylist(), errors["reason"].to_pylist(), strict=True))
        assert told.keys() == bad.keys()
        assert all(bad[name] in reason for name, reason in told.items())

        # Nothing is decoded or encoded again.
        idle = FakeTower()
        summary = embed_with(make_encoder(idle), "fsdd", audio, tmp_path / "runs", batch_size=4, skip_bad=True)
        assert (summary.clips, summary.skipped, summary.made, idle.batches) == (17, 3, True, [])
        table = store.read("f" * 16, "FSDD")
        assert set(table.clip_ids) == {clip.clip_id for clip in read_layout("FSDD", audio).clips} - bad.keys()
        assert (where / "errors.parquet").exists()

        # And asked once more.
        again = embed_with(make_encoder(idle), "fsdd", audio, tmp_path / "runs", batch_size=4, skip_bad=True)
        assert (again.made, again.clips, again.skipped) == (False, 17, 3)
        with pytest.raises(InputError, match="FSDD: 3 of its clips were left out when it was embedded; see errors"):
            embed_with(make_encoder(idle), "fsdd", audio, tmp_path / "runs", batch_size=4)

    def test_once_they_are_mended_all_is_well(self, audio: Path, tmp_path: Path, bad: dict[str, str]) -> None:
        embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs", skip_bad=True)
        for name in bad:
            soundfile.write(audio / f"recordings/{name}.wav", np.random.default_rng(5).normal(0, 0.1, 800), RATE)
        summary = embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs")
        assert (summary.clips, summary.skipped) == (20, 0)
        assert not (Path(summary.where) / "errors.parquet").exists()
        embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "other")
        assert bytes_below(tmp_path / "runs") == bytes_below(tmp_path / "other")

    def test_a_data_set_of_nothing_else_is_refused_all_the_same(self, audio: Path, tmp_path: Path) -> None:
        for path in (audio / "recordings").iterdir():
            path.write_bytes(b"none")
        with pytest.raises(InputError, match=r"19 more clips cannot be used either"):
            embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs", skip_bad=True)
        assert not EmbeddingStore(tmp_path / "runs").has("f" * 16, "FSDD")

    def test_a_bad_clip_leaves_earlier_embeddings_as_they_were(self, audio: Path, tmp_path: Path) -> None:
        embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs")
        before = EmbeddingStore(tmp_path / "runs").read("f" * 16, "FSDD")
        (audio / "recordings/9_theo_0.wav").write_bytes(b"this is no audio")
        with pytest.raises(InputError):
            embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs", force=True)
        assert torch.equal(EmbeddingStore(tmp_path / "runs").read("f" * 16, "FSDD").embeddings, before.embeddings)

    def test_a_clip_that_changes_meanwhile_is_no_clip_of_the_manifest(self, audio: Path, tmp_path: Path) -> None:
        class Meanwhile(FakeTower):
            """Loaded when the clips have been hashed and not yet decoded."""

            def preparation(self) -> Preparation:
                soundfile.write(audio / "recordings/9_theo_0.wav", np.ones(800), RATE)
                return super().preparation()

        with pytest.raises(InputError, match="was changed while the data set was being read; run the same command"):
            embed_with(make_encoder(Meanwhile()), "fsdd", audio, tmp_path / "runs")


class TestBadInput:
    def test_trouble_of_the_machine_is_not_blamed_on_the_clips(
        self, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unloadable(*_: object, **__: object) -> Tensor:
            raise InputError("torchaudio cannot be loaded", fix="install it")

        monkeypatch.setattr("sept_core.audio.waveform.load_clip", unloadable)
        with pytest.raises(InputError, match=r"^torchaudio cannot be loaded; install it$"):
            embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs")

    @pytest.mark.parametrize("scale", [0.5, float("nan")])
    def test_a_feature_that_is_not_of_unit_norm_is_refused(self, audio: Path, tmp_path: Path, scale: float) -> None:
        with pytest.raises(InputError, match=r"0_lucas_0\.wav: the encoder gives a feature of norm"):
            embed_with(make_encoder(FakeTower(scale)), "fsdd", audio, tmp_path / "runs")
        assert not (tmp_path / "runs").exists()

    @pytest.mark.parametrize("size", [0, 7, 512])
    def test_a_batch_size_that_does_not_divide_a_part_is_refused(self, audio: Path, tmp_path: Path, size: int) -> None:
        with pytest.raises(InputError, match=f"the batch size is {size}; give a power of 2 up to 256"):
            embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs", batch_size=size)

    def test_a_data_set_given_twice_is_refused(self, audio: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="'FSDD' is given twice"):
            embed(["fsdd", "FSDD"], audio, EncoderFiles(name="mini"), tmp_path / "runs")

    def test_unknown_names_and_folders_are_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sept_core.encoders.load_encoder", lambda *_: make_encoder(FakeTower()))
        with pytest.raises(InputError, match=r"unknown dataset 'esc11'; did you mean 'ESC10'"):
            embed(["esc11"], tmp_path, EncoderFiles(name="mini"), tmp_path / "runs")
        with pytest.raises(InputError, match="folder does not exist"):
            embed(["esc10"], tmp_path / "nowhere", EncoderFiles(name="mini"), tmp_path / "runs")
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="no audio"):
            embed(["esc10"], tmp_path / "empty", EncoderFiles(name="mini"), tmp_path / "runs")
        assert not (tmp_path / "runs").exists()
