"""From clips to embeddings: all clips in order, memory bounded, bad clips named, the shipped store reproduced."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from torch import Tensor
from torch.nn.functional import normalize

from infra.mini.bundle import ATTRIBUTIONS, main
from pipeline.data.audio.open import open_audio
from pipeline.data.prepared import Prepared, write_prepared
from pipeline.embed import EmbedSummary, embed, embed_with
from pipeline.embed.inline import embed_inline
from pipeline.embed.jobs import EmbedJob
from pipeline.embed.place import EncoderPlace
from pipeline.embed.run import _Work
from pipeline.embed.sizing import Begun
from pipeline.store import EmbeddingStore
from pipeline.store.fetch import fetch
from sept_core.datasets import read_csv_dataset, read_layout
from sept_core.datasets.embeddings import BUNDLED, TEXT_COLUMNS
from sept_core.encoders import AudioTower, Encoder, Preparation, load_encoder
from sept_core.errors import InputError

REPOSITORY = Path(__file__).parents[3]
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

    def preparation(self) -> Preparation:
        return self._window

    def _window(self, waveform: Tensor) -> Tensor:
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
    for module in ("embed.jobs", "embed.run", "store.embedding_writer"):
        monkeypatch.setattr(f"pipeline.{module}.ROWS_PER_PART", 8)
    told: list[int | None] = []

    def attempt(size: int, encoded: int) -> None:
        """One that encodes so many clips of so many at once, unless an earlier one was begun with another number."""
        work = _Work(make_encoder(FakeTower()), tmp_path / "runs", None, skip_bad=False, force=False)
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
            embed(["birds"], prepared[1], EncoderPlace("mini"), tmp_path / "elsewhere")


def test_where_weights_lie_reaches_the_encoders_loader(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def fake(*arguments: object) -> Encoder:
        asked.append(arguments)
        return make_encoder(FakeTower())

    monkeypatch.setattr("sept_core.encoders.load_encoder", fake)
    monkeypatch.setattr("pipeline.embed.run.keep_texts", lambda *_: 0)
    embed(["fsdd"], audio, EncoderPlace("msclap-2023", "w.pth", "hub:gpt2"), tmp_path / "runs")
    assert asked == [("msclap-2023", "w.pth", "hub:gpt2", fetch)]


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
            embed(["fsdd", "FSDD"], audio, EncoderPlace("mini"), tmp_path / "runs")

    def test_unknown_names_and_folders_are_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sept_core.encoders.load_encoder", lambda *_: make_encoder(FakeTower()))
        with pytest.raises(InputError, match=r"unknown dataset 'esc11'; did you mean 'ESC10'"):
            embed(["esc11"], tmp_path, EncoderPlace("mini"), tmp_path / "runs")
        with pytest.raises(InputError, match="folder does not exist"):
            embed(["esc10"], tmp_path / "nowhere", EncoderPlace("mini"), tmp_path / "runs")
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="no audio"):
            embed(["esc10"], tmp_path / "empty", EncoderPlace("mini"), tmp_path / "runs")
        assert not (tmp_path / "runs").exists()


class TestBundle:
    """What ships with the package is what its own command makes of the real audio."""

    @pytest.mark.parametrize("dataset", sorted(ATTRIBUTIONS))
    def test_embeddings_for_the_shipped_encoder_are_bundled_and_sound(self, dataset: str) -> None:
        fingerprint = load_encoder("mini").fingerprint
        if not EmbeddingStore(BUNDLED).has(fingerprint, dataset):
            pytest.fail(
                f"no bundled {dataset} for mini {fingerprint}: python -m infra.mini.bundle --esc10 DIR --fsdd DIR"
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
    @pytest.mark.parametrize(
        ("dataset", "folder"), [("ESC10", "esc10"), pytest.param("FSDD", "fsdd", marks=pytest.mark.long)]
    )
    def test_they_are_re_created_from_the_audio_to_1e_4(self, dataset: str, folder: str, tmp_path: Path) -> None:
        if not (AUDIO / folder).is_dir():
            pytest.skip(f"the real audio is not at ../shared/audio/{folder} beside the project")
        (summary,) = embed([dataset], AUDIO / folder, EncoderPlace("mini"), tmp_path)
        made = EmbeddingStore(tmp_path).read(summary.fingerprint, dataset)
        shipped = EmbeddingStore(BUNDLED).read(summary.fingerprint, dataset)
        assert made.manifest_digest == shipped.manifest_digest
        assert made.clip_ids == shipped.clip_ids
        assert float((made.embeddings - shipped.embeddings).abs().max()) <= 1e-4

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
