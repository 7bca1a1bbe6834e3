"""Embeddings on disk: the same rows give the same bytes, all or none, verified on reading, readable by anyone."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import normalize

from pipeline.store import EmbeddingHeader, EmbeddingStore, embedding_writer, embeddings, find_embeddings
from pipeline.store.embedding_writer import EmbeddingParts, plan_parts
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


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path)


def folder(root: Path) -> Path:
    return root / "embeddings" / FINGERPRINT / "FSDD"


def part_in(root: Path) -> Path:
    (part,) = folder(root).glob("part-*.parquet")
    return part


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
    first, second = ({path.name: path.read_bytes() for path in folder(tmp_path / name).iterdir()} for name in "ab")
    assert first == second
    assert len(first) == 2


def test_many_rows_are_several_parts(store: EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_writer, "ROWS_PER_PART", 4)
    rows = fill(store)
    names = sorted(path.name for path in folder(tmp_path).iterdir())
    assert [re.sub("[0-9a-f]{16}", "*", name) for name in names] == [
        "manifest.json",
        "part-00000-*-*.parquet",
        "part-00001-*-*.parquet",
        "part-00002-*-*.parquet",
    ]
    assert torch.equal(store.read(FINGERPRINT, "FSDD").embeddings, rows)


def test_parquet_has_the_columns_and_metadata_of_the_layout(store: EmbeddingStore, tmp_path: Path) -> None:
    fill(store, attribution="by somebody, CC BY 3.0")
    table = pq.read_table(part_in(tmp_path))
    assert table.column_names == ["clip_id", "path", "classname", "fold", "group", "sha256", "sound", "embedding"]
    embedding = table.schema.field("embedding")
    assert embedding.type.list_size == DIM
    assert str(embedding.type.value_type) == "float"
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert metadata == {
        "sept.encoder": "mini",
        "sept.fingerprint": FINGERPRINT,
        "sept.dataset": "FSDD",
        "sept.preprocessing": '{"sample_rate": 16000, "seconds": 2.0}',
        "sept.attribution": "by somebody, CC BY 3.0",
    }
    assert table.column("path").to_pylist()[0] == "recordings/0000.wav"


def test_pandas_reads_the_parts_as_they_are(store: EmbeddingStore, tmp_path: Path) -> None:
    import pandas

    rows = fill(store)
    frame = pandas.read_parquet(part_in(tmp_path))
    assert frame["embedding"][3].tolist() == rows[3].tolist()


def test_without_a_manifest_nothing_is_there(store: EmbeddingStore, tmp_path: Path) -> None:
    fill(store)
    assert store.has(FINGERPRINT, "FSDD")
    (folder(tmp_path) / "manifest.json").unlink()
    assert not store.has(FINGERPRINT, "FSDD")
    assert store.made_of(FINGERPRINT, "FSDD") is None
    with pytest.raises(InputError, match="no embeddings of FSDD"):
        store.read(FINGERPRINT, "FSDD")


def test_embeddings_are_there_as_they_were_until_the_last_of_the_new_ones_is_written(
    store: EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_writer, "ROWS_PER_PART", 4)
    rows = fill(store)
    manifest, other = make_manifest(), features(10, seed=1)
    writer, parts = (
        EmbeddingParts(store.files, make_header(manifest)),
        plan_parts(make_header(manifest), manifest.clips),
    )
    written = {}
    for part, piece in zip(parts, other.split(4), strict=True):
        written[part.stem] = writer.write(part, piece, {})
        assert torch.equal(store.read(FINGERPRINT, "FSDD").embeddings, rows)
    assert writer.publish(parts, written)
    assert torch.equal(store.read(FINGERPRINT, "FSDD").embeddings, other)
    assert len([*folder(tmp_path).iterdir()]) == 4


def test_a_part_that_is_none_is_not_found(store: EmbeddingStore, tmp_path: Path) -> None:
    fill(store)
    header, clips = make_header(make_manifest()), make_manifest().clips
    parts, writer = plan_parts(header, clips), EmbeddingParts(store.files, header)
    assert writer.find(parts).keys() == {parts[0].stem}
    assert writer.find(plan_parts(replace(header, encoder="other"), clips)) == {}
    assert writer.find(plan_parts(header, clips[:5])) == {}
    part = part_in(tmp_path)
    data = part.read_bytes()
    part.write_bytes(data[:-1])
    assert writer.find(parts) == {}
    # Under a name that fits its bytes, but with other rows.
    part.unlink()
    foreign = folder(tmp_path) / f"{parts[0].stem}-{hashlib.sha256(b'x').hexdigest()[:16]}.parquet"
    foreign.write_bytes(b"x")
    assert writer.find(parts) == {}


def test_writing_anew_replaces_rows_and_surplus_parts(
    store: EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_writer, "ROWS_PER_PART", 4)
    fill(store, count=10)
    rows = fill(store, count=6, seed=1)
    assert torch.equal(store.read(FINGERPRINT, "FSDD").embeddings, rows)
    assert len([*folder(tmp_path).glob("part-*")]) == 2


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
        with pytest.raises(ValueError, match=r"need float32|not sorted|without a row|embeddings of"):
            store.write(header, clips, rows)
    assert not store.has(FINGERPRINT, "FSDD")


class TestDamage:
    def test_a_changed_part_is_noticed(self, store: EmbeddingStore, tmp_path: Path) -> None:
        fill(store)
        part = part_in(tmp_path)
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
        with pytest.raises(InputError, match=r"FSDD are damaged \(part-00000.*parquet does not match.*sept embed fsdd"):
            store.read(FINGERPRINT, "FSDD")
        assert store.made_of(FINGERPRINT, "FSDD") is None

    def test_a_missing_part_is_noticed(self, store: EmbeddingStore, tmp_path: Path) -> None:
        fill(store)
        part_in(tmp_path).unlink()
        with pytest.raises(InputError, match=r"part-00000-.*parquet is missing"):
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
            f"make them: sept embed esc50 --audio DIR --encoder mini --root {tmp_path}"
        )
        with pytest.raises(InputError, match=f"encoder fingerprint {FINGERPRINT}; make them: sept embed esc50"):
            find_embeddings(FINGERPRINT, "ESC50", tmp_path)
