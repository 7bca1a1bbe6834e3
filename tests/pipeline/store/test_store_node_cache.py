"""A machine's copy of embeddings: made once, mapped by all, not believed when it was touched, and never in the way."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_embeddings import FINGERPRINT, NAME, cached, fill, make_manifest, read, start
from torch.nn.functional import normalize

from pipeline.store import EmbeddingHeader, EmbeddingStore, embeddings, node_cache
from pipeline.store.cache import lock_of
from sept_core.datasets import Clip, DatasetInfo, Manifest
from sept_core.datasets.embeddings import embeddings_folder
from sept_core.datasets.own_dataset import info_to_json
from sept_core.errors import InputError


@pytest.fixture
def root(tmp_path: Path, cache: Path) -> Path:
    """An empty results folder whose embeddings are cached whatever their size."""
    return tmp_path / "runs"


class TestReading:
    def test_the_table_from_the_cache_is_the_one_from_the_parts(self, root: Path, parses: list[str]) -> None:
        rows = fill(root)
        direct = EmbeddingStore(root).read(FINGERPRINT, NAME, cached=False)
        for _ in range(2):
            table = read(root)
            assert torch.equal(table.embeddings, rows)
            for field in ("dataset", "encoder_fingerprint", "manifest_digest", "description", "digest"):
                assert getattr(table, field) == getattr(direct, field)
            for field in ("clip_ids", "classnames", "folds", "groups", "sha256"):
                assert getattr(table, field) == getattr(direct, field)
        assert len(parses) == 2  # the direct one, and the one that made the file

    def test_the_digest_kept_is_the_one_of_the_bits(self, root: Path) -> None:
        fill(root)
        read(root)
        table = read(root)
        assert "digest" in vars(table)
        kept = table.digest
        del vars(table)["digest"]
        assert table.digest == kept

    def test_ones_own_dataset_keeps_its_description(self, root: Path) -> None:
        info = DatasetInfo(
            name="birds",
            kind="events",
            classnames=("tit", "wren"),
            split="fixed",
            folds=("test",),
            template="A {}.",
            extra=True,
        )
        clips = tuple(Clip(name, f"{name}.wav", name, "test", "", "0" * 64) for name in ("tit", "wren"))
        manifest = Manifest("birds", clips)
        header = EmbeddingHeader("birds", "mini", FINGERPRINT, manifest.digest, 8, description=info_to_json(info))
        EmbeddingStore(root).write(header, clips, normalize(torch.ones(2, 8), dim=1))
        for _ in range(2):
            assert EmbeddingStore(root).read(FINGERPRINT, "birds").info == info

    def test_changing_what_was_read_changes_no_file_and_warns_of_nothing(self, root: Path) -> None:
        rows = fill(root)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read(root).embeddings.mul_(2)
            again = read(root)
        assert torch.equal(again.embeddings, rows)
        again.embeddings.zero_()
        assert torch.equal(read(root).embeddings, rows)

    def test_the_tensor_begins_where_one_of_torchs_own_would(self, root: Path) -> None:
        for count, dim in ((10, 8), (11, 7), (1, 1)):
            fill(root, count, dim)
            assert read(root).embeddings.data_ptr() % 64 == 0

    def test_small_ones_in_a_folder_are_read_as_they_are_and_large_ones_once(
        self, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, parses: list[str]
    ) -> None:
        monkeypatch.setattr(embeddings, "_CACHED_BYTES", 10 * 8 * 4)
        fill(root, 10)
        read(root)
        assert not cache.exists()
        fill(root, 11)
        for _ in range(2):
            read(root)
        assert len(cached()) == 1
        assert len(parses) == 2

    def test_embeddings_made_again_are_read_again(self, root: Path) -> None:
        fill(root)
        read(root)
        rows = fill(root, seed=1)
        assert torch.equal(read(root).embeddings, rows)

    def test_damaged_parts_are_refused_and_nothing_is_kept(self, root: Path) -> None:
        fill(root)
        part = next((root / embeddings_folder(FINGERPRINT, NAME)).glob("part-*"))
        part.write_bytes(part.read_bytes()[:-1] + b"x")
        with pytest.raises(InputError, match="does not match its sha256"):
            read(root)
        assert cached() == []

    def test_numpy_and_any_parquet_reader_can_read_the_files(self, root: Path) -> None:
        rows = fill(root)
        read(root)
        (folder,) = cached()
        assert np.array_equal(np.load(folder / "embeddings.npy"), rows.numpy())
        table = pq.read_table(folder / "rows.parquet")
        assert table.column("clip_ids").to_pylist() == [clip.clip_id for clip in make_manifest(10).clips]
        assert json.loads(table.schema.metadata[b"sept.cache"])["fingerprint"] == FINGERPRINT


@pytest.mark.parametrize("name", ["embeddings.npy", "rows.parquet"])
class TestDistrust:
    @pytest.fixture
    def kept(self, root: Path, parses: list[str], name: str) -> Path:
        fill(root, 200)
        read(root)
        parses.clear()
        return cached()[0] / name

    @pytest.mark.parametrize(
        "harm",
        [
            lambda data: b"",
            lambda data: b"x" * len(data),
            lambda data: data[: len(data) // 2],
            lambda data: data[:-1],
            lambda data: data[:-6] + b"ARROW2",
        ],
    )
    @pytest.mark.parametrize("in_place", [True, False])
    def test_a_torn_file_is_made_again(
        self, kept: Path, root: Path, parses: list[str], harm: Callable[[bytes], bytes], in_place: bool
    ) -> None:
        sound = kept.read_bytes()
        overwrite(kept, harm(sound), in_place)
        assert read(root).digest == EmbeddingStore(root).read(FINGERPRINT, NAME, cached=False).digest
        assert parses == [NAME, NAME]
        assert kept.read_bytes() == sound

    @pytest.mark.parametrize("share", [k / 40 for k in range(40)])
    def test_one_flipped_bit_anywhere_never_comes_through(self, kept: Path, root: Path, share: float) -> None:
        expected = EmbeddingStore(root).read(FINGERPRINT, NAME, cached=False)
        data = bytearray(kept.read_bytes())
        data[int(share * len(data))] ^= 4
        times = kept.stat().st_atime_ns, kept.stat().st_mtime_ns
        overwrite(kept, bytes(data), in_place=True)
        os.utime(kept, ns=times)
        table = read(root)
        vars(table).pop("digest")
        assert table.digest == expected.digest
        for column in ("clip_ids", "classnames", "folds", "sounds"):
            assert getattr(table, column) == getattr(expected, column)

    def test_the_files_of_other_embeddings_are_not_taken(self, kept: Path, root: Path, name: str) -> None:
        rows = fill(root, 200, seed=1)
        read(root)
        (other,) = set(cached()) - {kept.parent}
        overwrite(other / name, kept.read_bytes(), in_place=True)
        assert torch.equal(read(root).embeddings, rows)

    def test_files_that_were_copied_are_verified_and_kept(self, kept: Path, root: Path, parses: list[str]) -> None:
        overwrite(kept, kept.read_bytes(), in_place=False)
        for _ in range(3):
            read(root)
        assert parses == []

    def test_without_its_lock_file_it_is_verified_again(self, kept: Path, root: Path, parses: list[str]) -> None:
        lock_of(kept.parent).unlink()
        read(root)
        assert parses == []
        assert lock_of(kept.parent).exists()


def test_an_edited_sound_never_comes_through(root: Path) -> None:
    """Not even in a file whose own checksums are right."""
    sounds = [f"{clip:032x}" for clip in range(10)]
    manifest = make_manifest(10)
    header = EmbeddingHeader(NAME, "mini", FINGERPRINT, manifest.digest, 8)
    EmbeddingStore(root).write(header, manifest.clips, normalize(torch.ones(10, 8), dim=1), sounds=sounds)
    assert read(root).sounds == tuple(sounds)
    file = cached()[0] / "rows.parquet"
    table = pq.read_table(file)
    edited = ["f" * 32, *sounds[1:]]
    pq.write_table(table.set_column(table.column_names.index("sounds"), "sounds", pa.array(edited)), file)
    assert read(root).sounds == tuple(sounds)


def overwrite(path: Path, data: bytes, in_place: bool) -> None:
    if in_place:
        path.write_bytes(data)
        return
    other = path.with_suffix(".other")
    other.write_bytes(data)
    other.replace(path)


class TestInTheWay:
    @pytest.mark.parametrize("fault", [28, 30, 13, 122])
    def test_a_disk_that_does_not_take_it_costs_a_line_and_no_trial(
        self,
        root: Path,
        cache: Path,
        parses: list[str],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        fault: int,
    ) -> None:
        rows = fill(root)

        def full(descriptor: int) -> None:
            raise OSError(fault, os.strerror(fault))

        monkeypatch.setattr(os, "fsync", full)
        with caplog.at_level(logging.WARNING):
            assert torch.equal(read(root).embeddings, rows)
        assert len(parses) == 1
        (record,) = caplog.records
        assert "cannot keep the embeddings of FSDD" in record.message
        assert os.strerror(fault) in record.message
        assert cached() == []
        assert not list(cache.rglob("*.tmp"))

    def test_a_disk_that_is_really_full(self, root: Path, cache: Path) -> None:
        """The kernel refuses to let a process of its own write files beyond a size, as a full disk does."""
        rows = fill(root, 2000)
        code = (
            "import resource, signal, sys, logging; logging.basicConfig(level=logging.WARNING)\n"
            "from pipeline.store import embeddings, find_embeddings; embeddings._CACHED_BYTES = 0\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
            f"print(find_embeddings('{FINGERPRINT}', '{NAME}', sys.argv[1]).embeddings.sum().item())"
        )
        out, err = (process := start(code, root)).communicate(timeout=60)
        assert process.returncode == 0, err
        assert float(out) == pytest.approx(rows.sum().item(), abs=1e-3)
        assert err.count("cannot keep the embeddings of FSDD") == 1
        assert cached() == []
        assert not list(cache.rglob("*.tmp"))

    def test_a_file_in_the_caches_place(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        rows = fill(root)
        (tmp_path / "taken").write_bytes(b"")
        monkeypatch.setenv("SEPT_CACHE", str(tmp_path / "taken"))
        assert torch.equal(read(root).embeddings, rows)
        assert "they are read directly" in caplog.text

    def test_a_cache_that_can_only_be_read_is_still_used(
        self, root: Path, cache: Path, parses: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = fill(root)
        read(root)
        lock_of(cached()[0]).unlink()
        parses.clear()

        def refused(path: Path, *, shared: bool = False) -> Iterator[None]:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(node_cache, "turn", refused)
        assert torch.equal(read(root).embeddings, rows)
        assert parses == []

    @pytest.mark.parametrize("value", ["much", "-1", "nan", "inf"])
    def test_a_size_that_is_none_is_one_line(self, root: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        fill(root)
        monkeypatch.setenv("SEPT_CACHE_GB", value)
        with pytest.raises(InputError, match=f"SEPT_CACHE_GB is '{value}'; give the cache's size in GB"):
            read(root)
