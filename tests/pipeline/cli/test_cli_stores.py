"""``sept data check --store``: a line for each data set's embeddings, and no damage that it does not name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import normalize

from pipeline.store import EmbeddingHeader, EmbeddingStore
from sept_core.checked_json import seal, unseal
from sept_core.datasets import Clip, DatasetInfo, Manifest
from sept_core.datasets.embeddings import embeddings_folder
from sept_core.datasets.own_dataset import info_to_json

Ran = tuple[int, str, str]
Check = Callable[..., Ran]
ONE, OTHER = "1" * 16, "2" * 16
INFO = DatasetInfo(
    name="birds",
    kind="events",
    classnames=("tit", "wren"),
    split="kfold",
    folds=("1", "2"),
    template="A {}.",
    extra=True,
)


def clips_of(count: int = 80) -> list[Clip]:
    return [Clip(f"{n:03d}", f"{n}.wav", INFO.classnames[n % 2], "12"[n // 2 % 2], "", sha(n)) for n in range(count)]


def sha(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def write(root: Path, fingerprint: str = ONE, clips: list[Clip] | None = None, name: str = "birds") -> None:
    manifest = Manifest(name, tuple(clips or clips_of()))
    rows = normalize(torch.randn(len(manifest.clips), 8, generator=torch.Generator().manual_seed(0)), dim=1)
    description = info_to_json(INFO) | {"name": name}
    header = EmbeddingHeader(name, "mini", fingerprint, manifest.digest, 8, description=description)
    EmbeddingStore(root).write(header, manifest.clips, rows)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sept-runs"


@pytest.fixture
def check(sept: Callable[..., Ran]) -> Check:
    def run(*arguments: object) -> Ran:
        return sept("data", "check", "--store", *arguments)

    return run


def folder(root: Path) -> Path:
    return root / embeddings_folder(ONE, "birds")


def edit_manifest(root: Path, **changes: object) -> None:
    path = folder(root) / "manifest.json"
    path.write_bytes(seal(unseal(path.read_bytes()) | changes))


def edit_rows(root: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the rows of the only part, as somebody would who writes a store with tools of one's own."""
    (part,) = folder(root).glob("part-*")
    table = change(pq.read_table(part))
    pq.write_table(table, part)
    digest = hashlib.sha256(part.read_bytes()).hexdigest()
    edit_manifest(root, rows=len(table), parts=[{"name": part.name, "rows": len(table), "sha256": digest}])


def with_row(values: list[float]) -> Callable[[pa.Table], pa.Table]:
    """The table with other numbers in its fourth embedding."""

    def change(table: pa.Table) -> pa.Table:
        rows = table.column("embedding").to_pylist()
        rows[3] = values
        field = table.schema.field("embedding")
        return table.set_column(table.schema.get_field_index("embedding"), field, pa.array(rows, field.type))

    return change


def errors(check: Check) -> list[str]:
    code, out, _ = check("--json")
    (found,) = json.loads(out)
    assert code == (2 if found["errors"] else 0)
    return found["errors"]


def test_sound_embeddings_are_one_line_each(check: Check, root: Path) -> None:
    write(root)
    write(root, OTHER)
    write(root, name="crows")
    code, out, err = check()
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()[2:]] == [
        ["birds", "mini", ONE, "80", "1", "ok"],
        ["birds", "mini", OTHER, "80", "1", "ok"],
        ["crows", "mini", ONE, "80", "1", "ok"],
    ]
    code, out, _ = check("Birds", "--encoder-fingerprint", OTHER, "--json")
    assert [(one["dataset"], one["fingerprint"], one["errors"]) for one in json.loads(out)] == [("birds", OTHER, [])]


def test_in_a_bucket_too(check: Check, s3_root: str) -> None:
    write(s3_root)  # type: ignore[arg-type]
    code, out, _ = check("birds", "--root", s3_root)
    assert code == 0
    assert out.splitlines()[-1].split() == ["birds", "mini", ONE, "80", "1", "ok"]


def test_a_damaged_store_among_sound_ones_ends_with_2(check: Check, root: Path) -> None:
    write(root)
    write(root, name="crows")
    (part,) = folder(root).glob("part-*")
    part.write_bytes(part.read_bytes()[:-1])
    code, out, _ = check()
    assert code == 2
    birds, crows, fix = out.splitlines()[2:]
    assert fix.startswith("birds: make them again: sept embed birds --audio DIR --encoder mini --force")
    assert f"error: the embeddings of birds are damaged ({part.name} does not match its sha256) (and " in birds
    assert crows.split()[-1] == "ok"


def test_every_kind_of_damage_is_named(check: Check, root: Path) -> None:
    write(root)
    (part,) = folder(root).glob("part-*")
    part.unlink()
    assert errors(check)[:2] == [f"{part.name} is missing", "0 rows could be read, but the manifest states 80"]
    for content, line in ((b"{", "not JSON"), (b'{"rows": 1, "sha256": "0"}', "does not match its sha256")):
        (folder(root) / "manifest.json").write_bytes(content)
        (said,) = errors(check)
        assert line in said
    write(root)
    edit_manifest(root, format=4)
    assert errors(check) == ["the embeddings of birds are of format 4, and this release reads formats up to 3"]
    write(root)
    edit_manifest(root, rows=81)
    assert errors(check) == ["80 rows could be read, but the manifest states 81"]
    write(root)
    edit_manifest(root, manifest_digest="0" * 16)
    (said,) = errors(check)
    assert said.endswith(f"but the manifest states {'0' * 16}")
    write(root)
    edit_manifest(root, fingerprint=OTHER)
    assert errors(check) == [f"manifest.json is for fingerprint {OTHER}"]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([float("nan")] + [0.0] * 7, "1 embeddings have NaN or infinite numbers: 003"),
        ([float("inf")] + [0.0] * 7, "1 embeddings have NaN or infinite numbers: 003"),
        ([1.002] + [0.0] * 7, "1 embeddings are not of unit length: 003"),
        ([0.0] * 8, "1 embeddings are not of unit length: 003"),
        ([1.0005] + [0.0] * 7, None),
    ],
)
def test_embeddings_that_no_encoder_made(check: Check, root: Path, values: list[float], line: str | None) -> None:
    write(root)
    edit_rows(root, with_row(values))
    (part,) = folder(root).glob("part-*")
    assert errors(check) == ([f"{part.name}: {line}"] if line else [])


def test_a_clip_id_that_stands_twice(check: Check, root: Path) -> None:
    write(root)
    edit_rows(root, lambda table: pa.concat_tables([table.slice(0, 4), table.slice(3)]))
    assert errors(check)[0] == "1 clip ids belong to more than one row: 003"
    write(root)
    edit_rows(root, lambda table: pa.concat_tables([table.slice(1), table.slice(0, 1)]))
    assert errors(check) == ["the rows are not sorted by clip id"]


def test_audio_in_both_training_and_test_and_classes_without_clips(check: Check, root: Path) -> None:
    clips = clips_of()
    clips[2] = Clip("002", "2.wav", "tit", "2", "", sha(0))
    write(root, clips=clips)
    said = errors(check)
    assert [line.split(";")[0] for line in said] == [
        "fold 1: 1 test clip with the content of a training clip: 002 = 000",
        "fold 2: 1 test clip with the content of a training clip: 000 = 002",
    ]
    # Embedding the same clips again would change nothing.
    assert "make them again" not in check()[1]
    assert json.loads(check("--json")[1])[0]["fix"] == ""
    write(root, clips=[clip for clip in clips_of() if clip.classname == "tit"])
    assert any(line.startswith("1 of 2 classes have no clips: wren; give the whole of") for line in errors(check))


def test_what_was_not_finished_or_is_left_over_is_a_warning(check: Check, root: Path) -> None:
    write(root)
    (folder(root) / "part-00009.parquet").write_bytes(b"")
    code, out, _ = check()
    assert code == 0
    assert "warning: not in the manifest: part-00009.parquet" in out
    (folder(root) / "manifest.json").unlink()
    code, out, _ = check()
    assert code == 0
    assert "warning: no manifest.json: they are incomplete" in out


def test_what_cannot_be_checked_is_one_line(check: Check, sept: Callable[..., Ran], root: Path) -> None:
    assert check()[2] == "error: sept-runs: no embeddings; make some: sept embed DATASET --audio DIR\n"
    write(root)
    code, out, err = check("crows")
    assert (code, out) == (2, "")
    assert err == "error: sept-runs: no embeddings of crows; make them: sept embed crows --audio DIR\n"
    assert "no embeddings of birds by encoder fingerprint 22" in check("birds", "--encoder-fingerprint", OTHER)[2]
    assert check("--audio", ".")[2] == "error: --audio: has no meaning with --store; leave one of them out\n"
    for arguments in ((), ("birds",), ("birds", "crows", "--audio", ".")):
        code, out, err = sept("data", "check", *arguments)
        assert (code, out) == (2, "")
        assert err.endswith("; sept data check DATASET --audio DIR\n")
    assert "add --store" in sept("data", "check", "birds", "--audio", ".", "--encoder-fingerprint", ONE)[2]
