"""The embeddings that ship with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_tower import AUDIO, FakeTower, make_encoder

from infra.mini.bundle import ATTRIBUTIONS, main
from infra.mini.synth12 import clip, write_clips
from pipeline.embed import embed
from pipeline.spec import EncoderFiles
from pipeline.store import EmbeddingStore
from sept_core.datasets import load_embeddings
from sept_core.datasets.embeddings import BUNDLED
from sept_core.datasets.pretraining import heard_rows, load_pretraining
from sept_core.encoders import load_encoder


class TestBundle:
    """What ships with the package is what its own command makes of the real audio."""

    @pytest.mark.parametrize("dataset", sorted(ATTRIBUTIONS))
    def test_embeddings_for_the_shipped_encoder_are_bundled_and_sound(self, dataset: str) -> None:
        fingerprint = load_encoder("mini").fingerprint
        if not EmbeddingStore(BUNDLED).has(fingerprint, dataset):
            pytest.fail(
                f"no bundled {dataset} for mini {fingerprint}: "
                "python -m infra.mini.bundle --esc10 DIR --fsdd DIR --synth12 DIR"
            )
        table = EmbeddingStore(BUNDLED).read(fingerprint, dataset)
        assert len(table) == {"ESC10": 400, "FSDD": 900, "Synth12": 576}[dataset]
        manifest = EmbeddingStore(BUNDLED).manifest(fingerprint, dataset)
        assert manifest is not None
        assert manifest["attribution"] == ATTRIBUTIONS[dataset]

    def test_nothing_of_another_encoder_is_left_and_the_attribution_is_there(self) -> None:
        fingerprint = load_encoder("mini").fingerprint
        assert [path.name for path in (BUNDLED / "embeddings").iterdir()] == [fingerprint]
        text = (BUNDLED / "ATTRIBUTION.md").read_text(encoding="utf-8")
        for word in ("Karol J. Piczak", "licenses/by/3.0", "Zohar Jackson", "licenses/by-sa/4.0", "1-100032-A.ogg"):
            assert word in text

    @pytest.mark.audio
    @pytest.mark.parametrize(
        ("dataset", "folder"), [("ESC10", "esc10"), pytest.param("FSDD", "fsdd", marks=pytest.mark.long)]
    )
    def test_they_are_re_created_from_the_audio_to_1e_4(self, dataset: str, folder: str, tmp_path: Path) -> None:
        if not (AUDIO / folder).is_dir():
            pytest.skip(f"the real audio is not at ../shared/audio/{folder} beside the project")
        (summary,) = embed([dataset], AUDIO / folder, EncoderFiles(name="mini"), tmp_path)
        made = EmbeddingStore(tmp_path).read(summary.fingerprint, dataset)
        shipped = EmbeddingStore(BUNDLED).read(summary.fingerprint, dataset)
        assert made.manifest_digest == shipped.manifest_digest
        assert made.clip_ids == shipped.clip_ids
        assert float((made.embeddings - shipped.embeddings).abs().max()) <= 1e-4

    def test_clips_of_synth12_are_synthesised_again_to_the_same_embeddings(self, tmp_path: Path) -> None:
        write_clips(tmp_path / "audio", clips=1)
        (summary,) = embed(["Synth12"], tmp_path / "audio", EncoderFiles(name="mini"), tmp_path)
        made = EmbeddingStore(tmp_path).read(summary.fingerprint, "Synth12")
        shipped = EmbeddingStore(BUNDLED).read(summary.fingerprint, "Synth12")
        rows = [shipped.clip_ids.index(clip) for clip in made.clip_ids]
        assert len(rows) == 72
        assert made.folds == tuple(shipped.folds[row] for row in rows)
        # The last bit of a sample may differ between processors, so the files' digests are not compared.
        assert float((made.embeddings - shipped.embeddings[rows]).abs().max()) <= 1e-3

    def test_a_clip_of_synth12_is_the_same_each_time_and_no_clip_of_the_pretraining(self) -> None:
        one, two = (clip("clock tick", "wind", number) for number in (0, 1))
        assert np.array_equal(one, clip("clock tick", "wind", 0))
        assert not np.array_equal(one, two)
        assert not np.array_equal(one, clip("clock tick", "rain", 0))
        table = load_embeddings("Synth12", load_encoder("mini").fingerprint)
        assert not heard_rows(table, load_pretraining("mini"))

    def test_the_command_replaces_what_an_earlier_encoder_left(
        self, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("infra.mini.bundle.ATTRIBUTIONS", {"FSDD": "by somebody"})
        monkeypatch.setattr("sept_core.encoders.load_encoder", lambda *_: make_encoder(FakeTower()))
        root = tmp_path / "bundled"
        (root / "embeddings/0000/FSDD").mkdir(parents=True)
        (root / "embeddings/0000/FSDD/manifest.json").write_text("{}")
        (root / "ATTRIBUTION.md").write_text("by somebody")
        assert main(["--fsdd", str(audio), "--out", str(root)]) == 0
        assert "FSDD: 20 clips in" in capsys.readouterr().out
        assert [path.name for path in (root / "embeddings").iterdir()] == ["f" * 16]
        assert (root / "ATTRIBUTION.md").exists()
        assert main(["--fsdd", str(tmp_path / "nowhere"), "--out", str(root)]) == 2
        assert capsys.readouterr().err.startswith("error: ")
