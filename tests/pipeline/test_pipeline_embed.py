"""From clips to embeddings: all clips in order, memory bounded, bad clips named, the shipped store reproduced."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline import embed as embed_module
from pipeline.bundle import ATTRIBUTIONS, main
from pipeline.embed import embed, embed_with
from pipeline.prepared import Prepared, write_prepared
from pipeline.store import EmbeddingStore
from pipeline.store.places import fetch
from sept_core.datasets import read_csv_dataset, read_layout
from sept_core.datasets.embeddings import BUNDLED
from sept_core.encoders import AudioTower, Encoder, load_encoder
from sept_core.errors import InputError

REPOSITORY = Path(__file__).parents[2]
AUDIO = REPOSITORY.parent / "shared" / "audio"
RATE = 8000


class FakeTower(AudioTower):
    """Means of four quarters of the clip: a feature that tells clips apart, and counts what it is given."""

    dim = 4
    sample_rate = RATE
    seconds = 0.1

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.batches: list[int] = []
        self.prepared = 0
        self.lead = 0
        self.lock = threading.Lock()

    def prepare(self, waveform: Tensor) -> Tensor:
        with self.lock:
            self.prepared += 1
            self.lead = max(self.lead, self.prepared - sum(self.batches))
        return waveform[:800]

    def forward(self, windows: Tensor) -> Tensor:
        self.batches.append(len(windows))
        return normalize(windows.reshape(len(windows), 4, -1).mean(dim=2) + 1e-3, dim=1) * self.scale


def make_encoder(tower: AudioTower) -> Encoder:
    # The text tower never takes part in embedding.
    return Encoder("fake", text=cast(Any, None), load_audio=lambda: tower, logit_scale=10.0, fingerprint="f" * 16)


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Twenty clips of FSDD's layout, each of its own noise."""
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for digit in range(10):
        for speaker in ("theo", "lucas"):
            soundfile.write(folder / f"{digit}_{speaker}_0.wav", random.normal(0, 0.1, 800).astype("float32"), RATE)
    return folder.parent


def test_every_clip_gets_its_own_embedding_in_the_manifests_order(audio: Path, tmp_path: Path) -> None:
    tower = FakeTower()
    summary = embed_with(make_encoder(tower), "fsdd", audio, tmp_path / "runs", batch_size=7, threads=4)
    table = EmbeddingStore(tmp_path / "runs").read("f" * 16, "FSDD")
    manifest = read_layout("FSDD", audio)
    assert table.clip_ids == tuple(clip.clip_id for clip in manifest.clips)
    for clip, row in zip(manifest.clips, table.embeddings, strict=True):
        samples = torch.from_numpy(soundfile.read(audio / clip.path, dtype="float32")[0])
        torch.testing.assert_close(row, FakeTower()(samples[None])[0])
    assert tower.batches == [7, 7, 6]
    assert (summary.dataset, summary.clips, summary.made) == ("FSDD", 20, True)
    assert summary.clips_per_second > 0
    assert Path(summary.where).is_dir()


def test_decoding_stays_a_bounded_way_ahead_of_encoding(audio: Path, tmp_path: Path) -> None:
    tower = FakeTower()
    embed_with(make_encoder(tower), "fsdd", audio, tmp_path / "runs", batch_size=2, threads=4)
    assert tower.lead <= 3 * 2


def test_progress_counts_every_clip(audio: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    embed_with(
        make_encoder(FakeTower()),
        "fsdd",
        audio,
        tmp_path / "runs",
        lambda done, total: seen.append((done, total)),
        batch_size=8,
    )
    assert seen == [(8, 20), (16, 20), (20, 20)]


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

    def test_it_is_unknown_under_another_root(self, prepared: tuple[Path, Path], tmp_path: Path) -> None:
        with pytest.raises(InputError, match="unknown dataset 'birds'"):
            embed("birds", prepared[1], "mini", tmp_path / "elsewhere")


def test_where_weights_lie_reaches_the_encoders_loader(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def fake(*arguments: object) -> Encoder:
        asked.append(arguments)
        return make_encoder(FakeTower())

    monkeypatch.setattr("sept_core.encoders.load_encoder", fake)
    embed("fsdd", audio, "msclap-2023", tmp_path / "runs", weights="w.pth", text_model="hub:gpt2")
    assert asked == [("msclap-2023", "w.pth", "hub:gpt2", fetch)]


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
        (where / "part-00000.parquet").write_bytes(b"broken")
        assert embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs").made
        assert len(EmbeddingStore(tmp_path / "runs").read("f" * 16, "FSDD")) == 20


class TestBadInput:
    def test_a_corrupt_clip_is_named_with_the_number_of_others(self, audio: Path, tmp_path: Path) -> None:
        (audio / "recordings/3_theo_0.wav").write_bytes(b"this is no audio")
        (audio / "recordings/5_lucas_0.wav").write_bytes(b"")
        soundfile.write(audio / "recordings/9_theo_0.wav", np.zeros(0, dtype="float32"), RATE)
        tower = FakeTower()
        with pytest.raises(InputError) as error:
            embed_with(make_encoder(tower), "fsdd", audio, tmp_path / "runs", batch_size=4)
        line = str(error.value)
        assert line.startswith(str(audio / "recordings/3_theo_0.wav") + ": cannot be decoded")
        assert "(2 more clips cannot be used either)" in line
        assert "\n" not in line
        assert not (tmp_path / "runs").exists()

    def test_a_zero_length_clip_is_named(self, audio: Path, tmp_path: Path) -> None:
        soundfile.write(audio / "recordings/9_theo_0.wav", np.zeros(0, dtype="float32"), RATE)
        with pytest.raises(InputError, match=r"9_theo_0\.wav: the clip has no samples; "):
            embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs")

    def test_a_bad_clip_leaves_earlier_embeddings_as_they_were(self, audio: Path, tmp_path: Path) -> None:
        embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs")
        before = EmbeddingStore(tmp_path / "runs").read("f" * 16, "FSDD")
        (audio / "recordings/9_theo_0.wav").write_bytes(b"this is no audio")
        with pytest.raises(InputError):
            embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs", force=True)
        assert torch.equal(EmbeddingStore(tmp_path / "runs").read("f" * 16, "FSDD").embeddings, before.embeddings)

    def test_trouble_of_the_machine_is_not_blamed_on_the_clips(
        self, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unloadable(*_: object) -> Tensor:
            raise InputError("torchaudio cannot be loaded", mend="install it")

        monkeypatch.setattr("sept_core.audio.load_clip", unloadable)
        with pytest.raises(InputError, match=r"^torchaudio cannot be loaded; install it$"):
            embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs")

    @pytest.mark.parametrize("scale", [0.5, float("nan")])
    def test_a_feature_that_is_not_of_unit_norm_is_refused(self, audio: Path, tmp_path: Path, scale: float) -> None:
        with pytest.raises(InputError, match=r"0_lucas_0\.wav: the encoder gives a feature of norm"):
            embed_with(make_encoder(FakeTower(scale)), "fsdd", audio, tmp_path / "runs")
        assert not (tmp_path / "runs").exists()

    def test_unknown_names_and_folders_are_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sept_core.encoders.load_encoder", lambda *_: make_encoder(FakeTower()))
        with pytest.raises(InputError, match=r"unknown dataset 'esc11'; did you mean 'ESC10'"):
            embed("esc11", tmp_path, "mini", tmp_path / "runs")
        with pytest.raises(InputError, match="folder does not exist"):
            embed("esc10", tmp_path / "nowhere", "mini", tmp_path / "runs")
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="no audio"):
            embed("esc10", tmp_path / "empty", "mini", tmp_path / "runs")
        assert not (tmp_path / "runs").exists()


class TestBundle:
    """What ships with the package is what its own command makes of the real audio."""

    @pytest.mark.parametrize("dataset", sorted(ATTRIBUTIONS))
    def test_embeddings_for_the_shipped_encoder_are_bundled_and_sound(self, dataset: str) -> None:
        fingerprint = load_encoder("mini").fingerprint
        if not EmbeddingStore(BUNDLED).has(fingerprint, dataset):
            pytest.fail(
                f"no bundled {dataset} for mini {fingerprint}: python -m pipeline.bundle --esc10 DIR --fsdd DIR"
            )
        table = EmbeddingStore(BUNDLED).read(fingerprint, dataset)
        assert len(table) == {"ESC10": 400, "FSDD": 900}[dataset]
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
    @pytest.mark.parametrize(("dataset", "folder"), [("ESC10", "esc10"), ("FSDD", "fsdd")])
    def test_they_are_re_created_from_the_audio_to_1e_4(self, dataset: str, folder: str, tmp_path: Path) -> None:
        if not (AUDIO / folder).is_dir():
            pytest.skip(f"the real audio is not at ../shared/audio/{folder} beside the project")
        summary = embed(dataset, AUDIO / folder, "mini", tmp_path)
        made = EmbeddingStore(tmp_path).read(summary.fingerprint, dataset)
        shipped = EmbeddingStore(BUNDLED).read(summary.fingerprint, dataset)
        assert made.manifest_digest == shipped.manifest_digest
        assert made.clip_ids == shipped.clip_ids
        assert float((made.embeddings - shipped.embeddings).abs().max()) <= 1e-4

    def test_the_command_replaces_what_an_earlier_encoder_left(
        self, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("pipeline.bundle.ATTRIBUTIONS", {"FSDD": "by somebody"})
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


def test_the_default_of_threads_is_bounded(audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = embed_module.ThreadPoolExecutor

    def record(workers: int, **options: str) -> object:
        sizes.append(workers)
        return real(workers, **options)

    monkeypatch.setattr(embed_module, "ThreadPoolExecutor", record)
    monkeypatch.setattr("os.cpu_count", lambda: 96)
    embed_with(make_encoder(FakeTower()), "fsdd", audio, tmp_path / "runs")
    assert sizes == [8]
