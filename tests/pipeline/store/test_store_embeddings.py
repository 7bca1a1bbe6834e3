"""Embeddings on disk: the same rows give the same bytes, all or none, verified on reading, readable by anyone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import normalize

from pipeline.store import EmbeddingHeader, EmbeddingStore, embedding_writer, embeddings, find_embeddings
from sept_core.datasets import Clip, Manifest
from sept_core.errors import InputError

FINGERPRINT = "0123456789abcdef"
DIM = 8


def make_manifest(count: int = 10) -> Manifest:
    digits = ("zero", "one")
    clips = (
        Clip(
            clip_id=f"{number:04d}",
            path=f"recordings/{number:04d}.wav",
            classname=digits[number % 2],
            fold="theo",
            group="theo",
            sha256=hashlib.sha256(str(number).encode()).hexdigest(),
        )
        for number in range(count)
    )
    return Manifest("FSDD", tuple(clips))


def make_header(manifest: Manifest, attribution: str = "") -> EmbeddingHeader:
    preprocessing: dict[str, int | float | str] = {"sample_rate": 16000, "seconds": 2.0}
    return EmbeddingHeader("FSDD", "mini", FINGERPRINT, manifest.digest, DIM, preprocessing, attribution)


def features(count: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)), dim=1)


def fill(store: EmbeddingStore, count: int = 10, seed: int = 0, attribution: str = "") -> torch.Tensor:
    manifest = make_manifest(count)
    rows = features(count, seed)
    store.write(make_header(manifest, attribution), manifest.clips, rows)
    return rows


def add_then_fail(writer: embedding_writer.EmbeddingWriter, manifest: Manifest, rows: torch.Tensor) -> None:
    """Adds good rows, then the same again, which is refused."""
    for _ in range(2):
        writer.add(manifest.clips, rows)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path)


def folder(root: Path) -> Path:
    return root / "embeddings" / FINGERPRINT / "FSDD"


def test_what_was_written_is_read_bit_for_bit(store: EmbeddingStore) -> None:
    rows = fill(store)
    table = store.read(FINGERPRINT, "FSDD")
    manifest = make_manifest()
    assert torch.equal(table.embeddings, rows)
    assert table.dataset == "FSDD"
    assert table.encoder_fingerprint == FINGERPRINT
    assert table.manifest_digest == manifest.digest
    for name, column in (
        ("clip_id", table.clip_ids),
        ("classname", table.classnames),
        ("fold", table.folds),
        ("group", table.groups),
        ("sha256", table.sha256),
    ):
        assert column == tuple(getattr(clip, name) for clip in manifest.clips)


def test_the_embeddings_read_may_be_changed_by_their_reader(store: EmbeddingStore) -> None:
    rows = fill(store)
    store.read(FINGERPRINT, "FSDD").embeddings.mul_(2)
    assert torch.equal(store.read(FINGERPRINT, "FSDD").embeddings, rows)


def test_equal_rows_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fill(EmbeddingStore(tmp_path / name))
    for file in ("part-00000.parquet", "manifest.json"):
        assert (folder(tmp_path / "a") / file).read_bytes() == (folder(tmp_path / "b") / file).read_bytes()


def test_rows_added_in_batches_give_the_same_files_as_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_writer, "ROWS_PER_PART", 4)
    rows = fill(EmbeddingStore(tmp_path / "once"))
    manifest = make_manifest()
    with EmbeddingStore(tmp_path / "batches").writer(make_header(manifest)) as writer:
        for start in range(0, 10, 3):
            writer.add(manifest.clips[start : start + 3], rows[start : start + 3])
    names = sorted(path.name for path in folder(tmp_path / "once").iterdir())
    assert names == ["manifest.json", "part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    for name in names:
        assert (folder(tmp_path / "once") / name).read_bytes() == (folder(tmp_path / "batches") / name).read_bytes()
    assert torch.equal(EmbeddingStore(tmp_path / "batches").read(FINGERPRINT, "FSDD").embeddings, rows)


def test_parquet_has_the_columns_and_metadata_of_the_layout(store: EmbeddingStore, tmp_path: Path) -> None:
    fill(store, attribution="by somebody, CC BY 3.0")
    table = pq.read_table(folder(tmp_path) / "part-00000.parquet")
    assert table.column_names == ["clip_id", "path", "classname", "fold", "group", "sha256", "embedding"]
    embedding = table.schema.field("embedding")
    assert embedding.type.list_size == DIM
    assert str(embedding.type.value_type) == "float"
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert metadata == {
        "sept.encoder": "mini",
        "sept.fingerprint": FINGERPRINT,
        "sept.dataset": "FSDD",
        "sept.manifest_digest": make_manifest().digest,
        "sept.preprocessing": '{"sample_rate": 16000, "seconds": 2.0}',
        "sept.attribution": "by somebody, CC BY 3.0",
    }
    assert table.column("path").to_pylist()[0] == "recordings/0000.wav"


def test_pandas_reads_the_parts_as_they_are(store: EmbeddingStore, tmp_path: Path) -> None:
    import pandas

    rows = fill(store)
    frame = pandas.read_parquet(folder(tmp_path) / "part-00000.parquet")
    assert frame["embedding"][3].tolist() == rows[3].tolist()


def test_without_a_manifest_nothing_is_there(store: EmbeddingStore, tmp_path: Path) -> None:
    fill(store)
    assert store.has(FINGERPRINT, "FSDD")
    (folder(tmp_path) / "manifest.json").unlink()
    assert not store.has(FINGERPRINT, "FSDD")
    assert store.digest(FINGERPRINT, "FSDD") is None
    with pytest.raises(InputError, match="no embeddings of FSDD"):
        store.read(FINGERPRINT, "FSDD")


def test_an_error_while_writing_leaves_the_old_embeddings_as_they_were(store: EmbeddingStore, tmp_path: Path) -> None:
    rows = fill(store)
    manifest = make_manifest()
    with pytest.raises(ValueError, match="not sorted"), store.writer(make_header(manifest)) as writer:
        add_then_fail(writer, manifest, features(10, seed=1))
    assert torch.equal(store.read(FINGERPRINT, "FSDD").embeddings, rows)
    assert sorted(path.name for path in folder(tmp_path).iterdir()) == ["manifest.json", "part-00000.parquet"]


def test_an_error_while_writing_the_first_time_leaves_nothing(store: EmbeddingStore, tmp_path: Path) -> None:
    manifest = make_manifest()
    with pytest.raises(ValueError, match="not sorted"), store.writer(make_header(manifest)) as writer:
        add_then_fail(writer, manifest, features(10))
    assert list(tmp_path.iterdir()) == []


def test_writing_anew_replaces_rows_and_surplus_parts(
    store: EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_writer, "ROWS_PER_PART", 4)
    fill(store, count=10)
    rows = fill(store, count=6, seed=1)
    assert torch.equal(store.read(FINGERPRINT, "FSDD").embeddings, rows)
    parts = sorted(path.name for path in folder(tmp_path).glob("part-*"))
    assert parts == ["part-00000.parquet", "part-00001.parquet"]


def test_wrong_rows_are_refused(store: EmbeddingStore) -> None:
    manifest = make_manifest()
    header = make_header(manifest)
    for clips, rows in (
        (manifest.clips, features(9)),
        (manifest.clips, features(10).double()),
        (manifest.clips, torch.cat([features(10)] * 2, dim=1)),
        (manifest.clips[::-1], features(10)),
        (manifest.clips[:1] * 2, features(2)),
        ((), features(0)),
    ):
        with pytest.raises(ValueError, match=r"need float32|not sorted|without a row"):
            store.write(header, clips, rows)
    assert not store.has(FINGERPRINT, "FSDD")


class TestDamage:
    def test_a_changed_part_is_noticed(self, store: EmbeddingStore, tmp_path: Path) -> None:
        fill(store)
        part = folder(tmp_path) / "part-00000.parquet"
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
        with pytest.raises(InputError, match=r"FSDD are damaged \(part-00000.parquet does not match.*sept embed fsdd"):
            store.read(FINGERPRINT, "FSDD")
        assert store.digest(FINGERPRINT, "FSDD") is None

    def test_a_missing_part_is_noticed(self, store: EmbeddingStore, tmp_path: Path) -> None:
        fill(store)
        (folder(tmp_path) / "part-00000.parquet").unlink()
        with pytest.raises(InputError, match="part-00000.parquet is missing"):
            store.read(FINGERPRINT, "FSDD")

    @pytest.mark.parametrize("content", [b"", b"{", b'{"rows": 10}\n'])
    def test_a_damaged_manifest_is_noticed(self, store: EmbeddingStore, tmp_path: Path, content: bytes) -> None:
        fill(store)
        (folder(tmp_path) / "manifest.json").write_bytes(content)
        with pytest.raises(InputError, match=r"damaged \(manifest.json"):
            store.read(FINGERPRINT, "FSDD")

    def test_an_edited_manifest_is_noticed(self, store: EmbeddingStore, tmp_path: Path) -> None:
        fill(store)
        path = folder(tmp_path) / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "manifest_digest": "0" * 16}))
        with pytest.raises(InputError, match="does not match its sha256"):
            store.read(FINGERPRINT, "FSDD")

    def test_embeddings_moved_to_another_encoders_folder_are_noticed(
        self, store: EmbeddingStore, tmp_path: Path
    ) -> None:
        fill(store)
        (tmp_path / "embeddings" / FINGERPRINT).rename(tmp_path / "embeddings" / ("f" * 16))
        with pytest.raises(InputError, match="does not describe the rows"):
            store.read("f" * 16, "FSDD")


class TestFind:
    def test_the_users_own_come_first_then_the_bundled(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embeddings, "BUNDLED", tmp_path / "bundled")
        shipped = fill(EmbeddingStore(tmp_path / "bundled"), seed=1)
        assert torch.equal(find_embeddings(FINGERPRINT, "FSDD", tmp_path / "runs").embeddings, shipped)
        assert torch.equal(find_embeddings(FINGERPRINT, "FSDD", None).embeddings, shipped)
        assert not (tmp_path / "runs").exists()
        own = fill(EmbeddingStore(tmp_path / "runs"), seed=2)
        assert torch.equal(find_embeddings(FINGERPRINT, "FSDD", tmp_path / "runs").embeddings, own)

    def test_none_at_all_names_the_command_that_makes_them(self, tmp_path: Path) -> None:
        with pytest.raises(InputError) as error:
            find_embeddings(FINGERPRINT, "ESC50", tmp_path, encoder="mini")
        assert str(error.value) == (
            f"no embeddings of ESC50 for encoder mini (fingerprint {FINGERPRINT}); "
            "make them: sept embed esc50 --audio DIR --encoder mini"
        )
        with pytest.raises(InputError, match=f"encoder fingerprint {FINGERPRINT}; make them: sept embed esc50"):
            find_embeddings(FINGERPRINT, "ESC50", tmp_path)
