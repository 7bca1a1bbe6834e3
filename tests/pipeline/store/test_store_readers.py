"""Anybody's tools read embeddings as they lie there: each way in five lines that can be copied."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_embeddings import FINGERPRINT, NAME, fill, make_manifest

from pipeline.store import EmbeddingStore
from sept_core.checked_json import seal, unseal
from sept_core.datasets.embeddings import (
    FORMAT,
    SOUND_COLUMN,
    TEXT_COLUMNS,
    NewerFormat,
    embeddings_folder,
    load_embeddings,
)

READERS = {
    "pyarrow": """
import json, pyarrow as pa, pyarrow.parquet as pq
parts = json.load(open("manifest.json"))["parts"]
table = pa.concat_tables([pq.read_table(part["name"]) for part in parts])
""",
    "pyarrow.dataset": """
import json, pyarrow.dataset
parts = json.load(open("manifest.json"))["parts"]
table = pyarrow.dataset.dataset([part["name"] for part in parts]).to_table()
""",
    "pandas": """
import json, pandas
parts = json.load(open("manifest.json"))["parts"]
frame = pandas.concat([pandas.read_parquet(part["name"]) for part in parts], ignore_index=True)
""",
    "duckdb": """
import json, duckdb
parts = [part["name"] for part in json.load(open("manifest.json"))["parts"]]
rows = duckdb.sql("select * from read_parquet($parts) order by clip_id", params={"parts": parts})
""",
}


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Embeddings ``[10, 8]`` in three parts, in the folder that the test is in."""
    monkeypatch.setattr("pipeline.store.embedding_writer.ROWS_PER_PART", 4)
    written = fill(tmp_path)
    monkeypatch.chdir(tmp_path / embeddings_folder(FINGERPRINT, NAME))
    assert len([*Path().glob("part-*.parquet")]) == 3
    return written


def run(reader: str) -> dict[str, Any]:
    code = READERS[reader].strip()
    assert len(code.splitlines()) <= 5
    names: dict[str, Any] = {}
    exec(code, names)
    return names


@pytest.mark.parametrize("reader", ["pyarrow", "pyarrow.dataset"])
def test_arrow_reads_rows_types_and_metadata(rows: Any, reader: str) -> None:
    import pyarrow as pa

    table = run(reader)["table"]
    assert table.column("embedding").to_pylist() == rows.tolist()
    for name in TEXT_COLUMNS:
        assert table.schema.field(name).type == pa.string()
        assert table.column(name).to_pylist() == [getattr(clip, name) for clip in make_manifest(10).clips]
    kind = table.schema.field("embedding").type
    assert (kind.list_size, kind.value_type) == (8, pa.float32())
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert metadata["sept.encoder"] == "mini"
    assert metadata["sept.fingerprint"] == FINGERPRINT


def test_pandas_reads_rows_and_types(rows: Any) -> None:
    import numpy as np

    frame = run("pandas")["frame"]
    assert np.array_equal(np.stack(frame["embedding"]), rows.numpy())
    assert frame["embedding"][0].dtype == np.float32
    assert [*frame.columns] == [*TEXT_COLUMNS, SOUND_COLUMN, "embedding"]
    assert [*frame["classname"]] == [clip.classname for clip in make_manifest(10).clips]


def test_duckdb_reads_rows_types_and_metadata(rows: Any) -> None:
    duckdb = pytest.importorskip("duckdb", reason="the test extra installs duckdb")
    found = run("duckdb")["rows"]
    assert [*found.columns] == [*TEXT_COLUMNS, SOUND_COLUMN, "embedding"]
    assert [str(kind) for kind in found.types] == ["VARCHAR"] * 7 + ["FLOAT[]"]
    fetched = found.fetchall()
    assert [row[0] for row in fetched] == [clip.clip_id for clip in make_manifest(10).clips]
    assert [[*row[-1]] for row in fetched] == rows.tolist()
    metadata = duckdb.sql("select decode(key), decode(value) from parquet_kv_metadata('part-*.parquet')").fetchall()
    assert dict(metadata)["sept.fingerprint"] == FINGERPRINT
    counts = duckdb.sql("select classname, count(*) from 'part-*.parquet' group by classname order by 1").fetchall()
    assert counts == [("one", 5), ("zero", 5)]


class TestFormat:
    @pytest.mark.parametrize("stated", [None, 1, 2, 3])
    def test_formats_that_are_read(self, rows: Any, tmp_path: Path, stated: int | None) -> None:
        state_format(stated)
        assert load_embeddings(NAME, FINGERPRINT, tmp_path).embeddings.tolist() == rows.tolist()

    @pytest.mark.parametrize("stated", [None, 1, 2])
    def test_what_earlier_releases_wrote_has_no_sounds_and_is_read(
        self, rows: Any, tmp_path: Path, stated: int | None
    ) -> None:
        now = load_embeddings(NAME, FINGERPRINT, tmp_path)
        without_sounds()
        state_format(stated)
        for table in (
            load_embeddings(NAME, FINGERPRINT, tmp_path),
            EmbeddingStore(tmp_path).read(FINGERPRINT, NAME, cached=False),
        ):
            assert (table.sounds, table.digest) == (("",) * 10, now.digest)

    def test_a_newer_one_is_refused_and_not_taken_for_damage(self, rows: Any, tmp_path: Path) -> None:
        state_format(FORMAT + 1)
        expected = (
            f"the embeddings of FSDD are of format {FORMAT + 1}, and this release reads formats up to {FORMAT}; inst"
        )
        for read in (
            lambda: load_embeddings(NAME, FINGERPRINT, tmp_path),
            lambda: EmbeddingStore(tmp_path).read(FINGERPRINT, NAME),
            # Asked before embedding: to call them absent would have them overwritten.
            lambda: EmbeddingStore(tmp_path).made_of(FINGERPRINT, NAME),
        ):
            with pytest.raises(NewerFormat) as error:
                read()
            assert str(error.value).startswith(expected)

    @pytest.mark.parametrize("stated", [0, -1, "2", True, 1.5])
    def test_what_is_no_format_is_damage(self, rows: Any, tmp_path: Path, stated: object) -> None:
        state_format(stated)
        with pytest.raises(Exception, match="damaged .*no such format"):
            load_embeddings(NAME, FINGERPRINT, tmp_path)
        assert EmbeddingStore(tmp_path).made_of(FINGERPRINT, NAME) is None


def without_sounds() -> None:
    """Parts as they were before format 3."""
    content = unseal(Path("manifest.json").read_bytes())
    for part in content["parts"]:
        pq.write_table(pq.read_table(part["name"]).drop_columns([SOUND_COLUMN]), part["name"])
        part["sha256"] = hashlib.sha256(Path(part["name"]).read_bytes()).hexdigest()
    Path("manifest.json").write_bytes(seal(content))


def state_format(stated: object) -> None:
    content = unseal(Path("manifest.json").read_bytes())
    content.pop("format", None)
    if stated is not None:
        content["format"] = stated
    Path("manifest.json").write_bytes(seal(content))
