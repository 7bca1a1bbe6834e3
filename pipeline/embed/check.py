"""Checks stored embeddings: every byte, every row and all rows together, read from the store itself.

Unlike ``EmbeddingStore.read``, which stops at the first problem, this lists all of them, and it never uses this
machine's cache. Memory holds one part and the clips' names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.store import EmbeddingStore, Files
from pipeline.store.embedding_writer import ERRORS_FILE
from pipeline.store.embeddings import parts_reader
from pipeline.store.text_features import is_text_features
from sept_core.datasets import DATASETS, Clip, DatasetInfo, Manifest, check_manifest, get_dataset, rows_of
from sept_core.datasets.embeddings import SOUND_COLUMN, TEXT_COLUMNS, embeddings_folder, parse_part
from sept_core.datasets.own_dataset import info_from_json
from sept_core.datasets.pretraining import SAME_SOUND_FIX, same_sound_line, same_sound_pairs, same_sound_rows
from sept_core.datasets.repeats import alike_lines
from sept_core.errors import InputError
from sept_core.text import some

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NORM_TOLERANCE", "StoreFindings", "check_embeddings", "stored_embeddings"]

NORM_TOLERANCE = 1e-3
"""How much an embedding's length may differ from 1, as in ``EmbeddingTable``."""


@dataclass(frozen=True)
class StoreFindings:
    """The findings about one data set's embeddings by one encoder.

    Args:
        dataset: Name of the data set.
        encoder: Name of the encoder; empty if no manifest names it.
        fingerprint: The encoder's fingerprint.
        clips: Number of readable rows.
        parts: Number of parts in the manifest.
        errors: What makes them unusable or would falsify a result, one line each.
        warnings: What the reader of a result should know, one line each.
        fix: What to do if they are damaged; empty if not, since problems of the clips state their own fix.
    """

    dataset: str
    encoder: str
    fingerprint: str
    clips: int
    parts: int
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    fix: str


def stored_embeddings(files: Files) -> list[tuple[str, str]]:
    """(fingerprint, dataset) of all embeddings in a store, including those without a manifest; sorted by data set."""
    found = {tuple(key.split("/")[1:3]) for key in files.list("embeddings") if key.count("/") == 3}
    return sorted(((fingerprint, dataset) for fingerprint, dataset in found), key=lambda one: (one[1], one[0]))


def check_embeddings(files: Files, fingerprint: str, dataset: str) -> StoreFindings:
    """Check the embeddings of a data set.

    Args:
        files: The store.
        fingerprint: The encoder's fingerprint.
        dataset: Name of the data set.

    Raises:
        StoreError: The store cannot be read.
    """
    folder = embeddings_folder(fingerprint, dataset)
    check = _Check(dataset)
    try:
        manifest = EmbeddingStore(files).manifest(fingerprint, dataset)
    except InputError as error:
        return StoreFindings(dataset, "", fingerprint, 0, 0, (error.what,), (), _again(dataset))
    if manifest is None:
        line = "no manifest.json: they are incomplete, and nothing reads them; run sept embed again"
        return StoreFindings(dataset, "", fingerprint, 0, 0, (), (line,), "")
    stated = {name: manifest.get(name) for name in ("fingerprint", "dataset")}
    for name, expected in (("fingerprint", fingerprint), ("dataset", dataset)):
        if stated[name] != expected:
            check.damage.append(f"manifest.json is for {name} {stated[name]}")
    read = parts_reader(files, folder, manifest)
    for part in manifest["parts"]:
        try:
            table = parse_part(dataset, part, read(part["name"]))
        except FileNotFoundError:
            check.damage.append(f"{part['name']} is missing")
        except InputError as error:
            check.damage.append(error.what)
        else:
            check.part(part, table, manifest["dim"])
    check.rows(manifest)
    named = {part["name"] for part in manifest["parts"]} | {"manifest.json", ERRORS_FILE}
    there = [key.rpartition("/")[2] for key in files.list(folder)]
    if surplus := [name for name in there if name not in named and not is_text_features(name)]:
        check.warnings.append(f"not in the manifest: {some(surplus)}")
    if manifest.get("skipped"):
        check.warnings.append(f"clips left out (see {ERRORS_FILE}): {manifest['skipped']}")
    return StoreFindings(
        dataset,
        str(manifest["encoder"]),
        fingerprint,
        len(check.clips),
        len(manifest["parts"]),
        (*check.damage, *check.errors),
        tuple(check.warnings),
        _again(dataset, str(manifest["encoder"])) if check.damage else "",
    )


class _Check:
    """What was read and found so far: damage of the embeddings, and errors in the data set."""

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.clips: list[dict[str, str]] = []
        self.sounds: list[str] = []
        self.damage: list[str] = []
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def part(self, part: dict[str, Any], table: pa.Table, dim: int) -> None:
        """Add the rows of a part and check its embeddings."""
        import numpy as np

        name = part["name"]
        if table.num_rows != part["rows"]:
            self.damage.append(f"{name} has {table.num_rows} rows, but the manifest states {part['rows']}")
        rows = table.select([*TEXT_COLUMNS]).to_pylist()
        self.clips += rows
        known = SOUND_COLUMN in table.column_names
        self.sounds += table.column(SOUND_COLUMN).to_pylist() if known else [""] * len(rows)
        size = table.schema.field("embedding").type.list_size
        if size != dim:
            self.damage.append(f"{name} has embeddings of {size} numbers, but the manifest states {dim}")
            return
        values = table.column("embedding").combine_chunks().flatten().to_numpy().reshape(table.num_rows, size)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            at = [rows[index]["clip_id"] for index in np.flatnonzero(~finite)]
            self.damage.append(f"{name}: {len(at)} embeddings have NaN or infinite numbers: {some(at)}")
        lengths = np.linalg.norm(values[finite].astype(np.float64), axis=1)
        if (wrong := np.abs(lengths - 1) > NORM_TOLERANCE).any():
            at = [rows[index]["clip_id"] for index in np.flatnonzero(finite)[wrong]]
            self.damage.append(f"{name}: {len(at)} embeddings are not of unit length: {some(at)}")

    def rows(self, manifest: dict[str, Any]) -> None:
        """Check all rows together."""
        if len(self.clips) != manifest["rows"]:
            self.damage.append(f"{len(self.clips)} rows could be read, but the manifest states {manifest['rows']}")
        ids = [clip["clip_id"] for clip in self.clips]
        if doubled := sorted(name for name, count in Counter(ids).items() if count > 1):
            self.damage.append(f"{len(doubled)} clip ids belong to more than one row: {some(doubled)}")
        elif ids != sorted(ids):
            self.damage.append("the rows are not sorted by clip id")
        try:
            clips = Manifest(self.dataset, tuple(Clip(**clip) for clip in _once(self.clips)))
            info = self._info(manifest)
        except InputError as error:
            self.damage.append(error.what)
            return
        if not self.damage and clips.digest != manifest["manifest_digest"]:
            self.damage.append(
                f"the rows have digest {clips.digest}, but the manifest states {manifest['manifest_digest']}"
            )
        findings = check_manifest(clips, None, info)
        self.errors += findings.errors
        self.warnings += findings.warnings
        self._same_sound(info)
        if not self.damage:
            pairs = same_sound_rows(tuple(self.sounds), tuple(clip.sha256 for clip in clips.clips))
            self.warnings += alike_lines(rows_of(clips, info), info, info.folds, pairs)

    def _same_sound(self, info: DatasetInfo) -> None:
        columns = [tuple(clip[name] for clip in self.clips) for name in ("clip_id", "sha256", "fold")]
        pairs = same_sound_pairs(columns[0], tuple(self.sounds), columns[1], columns[2], info)
        if pairs:
            line = same_sound_line(pairs)
            # For a published data set this is a warning; a person's own data can be corrected.
            if info.name in DATASETS:
                self.warnings.append(line)
            else:
                self.errors.append(f"{line}; {SAME_SOUND_FIX}")

    def _info(self, manifest: dict[str, Any]) -> DatasetInfo:
        description = manifest.get("description")
        return get_dataset(self.dataset) if description is None else info_from_json(description)


def _again(dataset: str, encoder: str = "") -> str:
    by = f" --encoder {encoder}" if encoder else ""
    return f"make them again: sept embed {dataset} --audio DIR{by} --force"


def _once(clips: Iterable[dict[str, str]]) -> Iterable[dict[str, str]]:
    """The first row of every clip id: that some come again is reported by then."""
    return {clip["clip_id"]: clip for clip in reversed([*clips])}.values()
