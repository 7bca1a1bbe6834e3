"""Embedding again: what is complete or sound is not made again, and what has changed is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from fake_tower import RATE, FakeTower, bytes_below, make_encoder
from torch import Tensor

from pipeline.embed import EmbedSummary, embed_with
from pipeline.store import EmbeddingStore
from sept_core.encoders import AudioTower, Encoder


class TestParts:
    """Small parts, so that twenty clips are several."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipeline.store.embedding_writer.ROWS_PER_PART", 8)
        monkeypatch.setattr("pipeline.embed.jobs.ROWS_PER_PART", 8)

    def test_what_was_made_before_an_interruption_is_not_made_again(self, audio: Path, tmp_path: Path) -> None:
        class Interrupted(FakeTower):
            def forward(self, windows: Tensor) -> Tensor:
                if len(self.batches) == 3:
                    raise KeyboardInterrupt
                return super().forward(windows)

        root = tmp_path / "runs"
        first = Interrupted()
        with pytest.raises(KeyboardInterrupt):
            embed_with(make_encoder(first), "fsdd", audio, root, batch_size=4)
        assert len([*root.rglob("part-*.parquet")]) == 1
        assert not [*root.rglob("manifest.json")]
        second = FakeTower()
        summary = embed_with(make_encoder(second), "fsdd", audio, root, batch_size=4)
        assert (summary.found, sum(second.batches)) == (8, 12)
        embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "other", batch_size=4)
        assert bytes_below(root) == bytes_below(tmp_path / "other")

    def test_a_part_that_is_damaged_is_made_again_and_only_that(self, audio: Path, tmp_path: Path) -> None:
        where = Path(embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs", batch_size=4).where)
        before = bytes_below(tmp_path / "runs")
        path = sorted(where.glob("part-*.parquet"))[1]
        data = path.read_bytes()
        path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
        tower = FakeTower()
        summary = embed_with(make_encoder(tower), "fsdd", audio, tmp_path / "runs", batch_size=4)
        assert (summary.made, summary.found, sum(tower.batches)) == (True, 12, 8)
        assert bytes_below(tmp_path / "runs") == before

    def test_a_clip_that_was_replaced_concerns_its_own_part_and_the_old_one_goes(
        self, audio: Path, tmp_path: Path
    ) -> None:
        embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs", batch_size=4)
        noise = np.random.default_rng(9).normal(0, 0.1, 800).astype("float32")
        soundfile.write(audio / "recordings/4_theo_0.wav", noise, RATE)
        tower = FakeTower()
        summary = embed_with(make_encoder(tower), "fsdd", audio, tmp_path / "runs", batch_size=4)
        assert sum(tower.batches) == 8
        assert len([*Path(summary.where).glob("part-*.parquet")]) == 3
        embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "other", batch_size=4)
        assert bytes_below(tmp_path / "runs") == bytes_below(tmp_path / "other")

    def test_two_that_embed_into_the_same_folder_do_not_hurt_each_other(self, audio: Path, tmp_path: Path) -> None:
        # The same ones, and ones that remove each other's parts.
        def run(batch_size: int) -> EmbedSummary:
            return embed_with(
                make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs", batch_size=batch_size, force=True
            )

        with ThreadPoolExecutor(4) as pool:
            assert [summary.clips for summary in pool.map(run, [4, 2, 4, 2])] == [20] * 4
        table = EmbeddingStore(tmp_path / "runs").read("f" * 16, "FSDD")
        assert len(table) == 20


class TestAgain:
    def test_complete_embeddings_of_the_same_clips_are_left_alone(self, audio: Path, tmp_path: Path) -> None:
        embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs")

        def never() -> AudioTower:
            raise AssertionError("the audio tower is not needed")

        idle = Encoder("fake", text=cast(Any, None), load_audio=never, logit_scale=10.0, fingerprint="f" * 16)
        summary = embed_with(idle, "fsdd", audio, tmp_path / "runs")
        assert not summary.made
        assert summary.clips == 20

    def test_force_makes_them_again(self, audio: Path, tmp_path: Path) -> None:
        for _ in range(2):
            tower = FakeTower()
            assert embed_with(make_encoder(tower), "fsdd", audio, tmp_path / "runs", force=True).made
            assert sum(tower.batches) == 20

    def test_other_clips_replace_them(self, audio: Path, tmp_path: Path) -> None:
        embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs")
        (audio / "recordings/0_theo_0.wav").unlink()
        assert embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs").made
        assert len(EmbeddingStore(tmp_path / "runs").read("f" * 16, "FSDD")) == 19

    def test_damaged_ones_are_made_again(self, audio: Path, tmp_path: Path) -> None:
        where = Path(embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs").where)
        (part,) = where.glob("part-*.parquet")
        part.write_bytes(b"broken")
        assert embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs").made
        assert len(EmbeddingStore(tmp_path / "runs").read("f" * 16, "FSDD")) == 20
