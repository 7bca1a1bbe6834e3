"""Writes the Parquet parts of a data set's embeddings: the same clips always give the same bytes.

A part holds the embeddings of some consecutive clips. Its name identifies what went in and what came out:
``part-00003-<16 hex of clips and encoder>-<16 hex of the bytes>.parquet``. So existing parts need not be made again,
and no part ever replaces a different one: two writers at a time, or old and new parts of a data set that has changed,
do not disturb each other. ``manifest.json`` lists the parts that belong together; it is written last and replaced as a
whole. ``errors.parquet`` lists the clips that could not be embedded, with the reasons.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.store.open_store import Files
from sept_core.checked_json import canonical_json, parse_json, seal
from sept_core.datasets import Clip, Manifest
from sept_core.datasets.embeddings import (
    FORMAT,
    ROWS_PER_PART,
    SOUND_COLUMN,
    TEXT_COLUMNS,
    embeddings_folder,
    parse_manifest,
)
from sept_core.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

__all__ = [
    "ERRORS_FILE",
    "ROWS_PER_PART",
    "EmbeddingHeader",
    "EmbeddingParts",
    "Part",
    "WrittenPart",
    "plan_parts",
]

ERRORS_FILE = "errors.parquet"


@dataclass(frozen=True)
class EmbeddingHeader:
    """What was embedded, and how.

    Attributes:
        dataset: Name of the data set.
        encoder: Name of the encoder.
        fingerprint: The encoder's, over weights and preprocessing.
        manifest_digest: ``Manifest.digest`` of the clips.
        dim: Size of an embedding.
        preprocessing: Plain values: how a clip was prepared for the encoder, and how it was encoded.
        attribution: Authors and licence of the audio, where its licence asks for them.
        description: The description of a person's own data set (``info_to_json``); None for a registered one.
    """

    dataset: str
    encoder: str
    fingerprint: str
    manifest_digest: str
    dim: int
    preprocessing: dict[str, int | float | str] = field(default_factory=dict)
    attribution: str = ""
    description: dict[str, Any] | None = None


@dataclass(frozen=True)
class Part:
    """Consecutive clips that are embedded and written together; their file's name begins with ``stem``."""

    stem: str
    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class WrittenPart:
    """A part in the store.

    Attributes:
        name: Its file's name.
        rows: Number of embeddings in it.
        sha256: Digest of its bytes.
        faults: By clip id: why a clip of the part has no embedding.
    """

    name: str
    rows: int
    sha256: str
    faults: dict[str, str]


def plan_parts(header: EmbeddingHeader, clips: Sequence[Clip]) -> list[Part]:
    """The parts in which to write the embeddings of these clips, which are sorted by clip id.

    A part's name does not depend on *all* clips: a clip that was replaced changes only its own part.
    """
    own = asdict(replace(header, manifest_digest=""))
    parts: list[Part] = []
    for start in range(0, len(clips), ROWS_PER_PART):
        chosen = tuple(clips[start : start + ROWS_PER_PART])
        content = canonical_json([FORMAT, own, [astuple(clip) for clip in chosen]])
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        parts.append(Part(f"part-{len(parts):05d}-{digest}", chosen))
    return parts


class EmbeddingParts:
    """The folder of one data set's embeddings by one encoder, as its writer sees it.

    Args:
        files: The store.
        header: What the embeddings are.
    """

    def __init__(self, files: Files, header: EmbeddingHeader) -> None:
        self.header = header
        self._files = files
        self._folder = embeddings_folder(header.fingerprint, header.dataset)

    def find(self, parts: Sequence[Part]) -> dict[str, WrittenPart]:
        """Those of the parts that are in the store already and undamaged, by their stems."""
        by_stem = {part.stem: part for part in parts}
        keys = [key for key in self._files.list(self._folder) if _stem(key) in by_stem]
        found = {}
        for key, data in self._files.read_many(keys).items():
            part = by_stem[_stem(key)]
            name = key.rpartition("/")[2]
            faults = _faults_in(data, part, self.header.dim) if _name(part, data) == name else None
            if faults is not None:
                rows = len(part.clips) - len(faults)
                found[part.stem] = WrittenPart(name, rows, hashlib.sha256(data).hexdigest(), faults)
        return found

    def write(self, part: Part, embeddings: Tensor, faults: dict[str, str], sounds: Sequence[str] = ()) -> WrittenPart:
        """Write a part.

        Args:
            part: The part.
            embeddings: float32 ``[clips, dim]``, unit norm, of its clips without a fault, in their order.
            faults: By clip id: why a clip has none.
            sounds: Fingerprints of the same clips' sounds, as `sound_of` gives them; empty if they are not known.

        Raises:
            ValueError: Wrong shape or type.
        """
        import torch

        good = [clip for clip in part.clips if clip.clip_id not in faults]
        if embeddings.shape != (len(good), self.header.dim) or embeddings.dtype != torch.float32:
            raise ValueError(
                f"{len(good)} clips need float32 [{len(good)}, {self.header.dim}], "
                f"not {embeddings.dtype} {list(embeddings.shape)}"
            )
        if sounds and len(sounds) != len(good):
            raise ValueError(f"{len(sounds)} sounds of {len(good)} clips")
        data = _parquet(_arrow(self.header, good, embeddings, sounds or [""] * len(good), faults))
        name = _name(part, data)
        self._files.write(self._key(name), data)
        return WrittenPart(name, len(good), hashlib.sha256(data).hexdigest(), faults)

    def write_errors(self, parts: Sequence[Part], written: dict[str, WrittenPart]) -> None:
        """Write ``errors.parquet``, a row for each clip without an embedding; remove it if there is no such clip."""
        rows = [
            (*astuple(clip), reason)
            for part in parts
            for clip in part.clips
            if (reason := written[part.stem].faults.get(clip.clip_id)) is not None
        ]
        if rows:
            self._files.write(self._key(ERRORS_FILE), _parquet(_errors(self.header, rows)))
        else:
            self._files.delete(self._key(ERRORS_FILE))

    def publish(self, parts: Sequence[Part], written: dict[str, WrittenPart], accepted: int = 0) -> bool:
        """Make these parts the data set's embeddings, and remove parts that are no longer used.

        Args:
            parts: All parts of the data set.
            written: What was written of them, by stem.
            accepted: How many of the clips without an embedding are left out without --skip-bad.

        Returns:
            Whether all of them are still there: a process that publishes other parts at the same time removes them.

        Raises:
            ValueError: There is no part, or no clip without a fault.
        """
        chosen = [written[part.stem] for part in parts]
        good = [clip for part in parts for clip in part.clips if clip.clip_id not in written[part.stem].faults]
        if not good:
            raise ValueError("embeddings without a row")
        content = {
            **asdict(self.header),
            "format": FORMAT,
            "manifest_digest": Manifest(self.header.dataset, tuple(good)).digest,
            "source_digest": self.header.manifest_digest,
            "rows": len(good),
            "skipped": sum(len(part.faults) for part in chosen),
            **({"accepted": accepted} if accepted else {}),
            "parts": [{"name": part.name, "rows": part.rows, "sha256": part.sha256} for part in chosen],
        }
        before = self._published()
        self._files.write(self._key("manifest.json"), seal(content))
        # Only what the last manifest names: other parts may belong to a process that still works.
        for name in sorted(before - {part.name for part in chosen}):
            self._files.delete(self._key(name))
        # By the manifest that is there now, which may be another process's.
        return {self._key(name) for name in self._published()} <= {*self._files.list(self._folder)}

    def _published(self) -> set[str]:
        """Names of the parts that the manifest in the store lists."""
        try:
            manifest = parse_manifest(self.header.dataset, self._files.read(self._key("manifest.json")))
            return {part["name"] for part in manifest["parts"]}
        except (FileNotFoundError, InputError):
            return set()

    def _key(self, name: str) -> str:
        return f"{self._folder}/{name}"


def _name(part: Part, data: bytes) -> str:
    return f"{part.stem}-{hashlib.sha256(data).hexdigest()[:16]}.parquet"


def _stem(key: str) -> str:
    return key.rpartition("/")[2].rpartition("-")[0]


def _parquet(table: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    # Everything that affects the bytes is given, so that the same rows give the same file.
    pq.write_table(
        table,
        sink,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=["classname", "fold", "group"],
        write_statistics=True,
        row_group_size=ROWS_PER_PART,
    )
    return sink.getvalue().to_pybytes()


def _arrow(
    header: EmbeddingHeader, clips: Sequence[Clip], embeddings: Tensor, sounds: Sequence[str], faults: dict[str, str]
) -> pa.Table:
    """Rows as an Arrow table ``[clips, 8]`` with the header, and the clips without a row, in its metadata."""
    import pyarrow as pa

    item = pa.field("element", pa.float32(), nullable=False)
    fields = [pa.field(name, pa.string(), nullable=False) for name in (*TEXT_COLUMNS, SOUND_COLUMN)]
    fields.append(pa.field("embedding", pa.list_(item, header.dim), nullable=False))
    metadata = _metadata(header) | {
        "sept.preprocessing": json.dumps(header.preprocessing, sort_keys=True),
    }
    if header.description is not None:
        metadata["sept.description"] = json.dumps(header.description, sort_keys=True)
    if header.attribution:
        metadata["sept.attribution"] = header.attribution
    if faults:
        metadata["sept.faults"] = json.dumps(faults, sort_keys=True)
    columns = [pa.array([getattr(clip, name) for clip in clips], pa.string()) for name in TEXT_COLUMNS]
    columns.append(pa.array(sounds, pa.string()))
    values = pa.array(embeddings.detach().cpu().numpy().reshape(-1))
    columns.append(pa.FixedSizeListArray.from_arrays(values, type=pa.list_(item, header.dim)))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=metadata))


def _errors(header: EmbeddingHeader, rows: Sequence[tuple[str, ...]]) -> pa.Table:
    import pyarrow as pa

    fields = [pa.field(name, pa.string(), nullable=False) for name in (*TEXT_COLUMNS, "reason")]
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=_metadata(header)))


def _metadata(header: EmbeddingHeader) -> dict[str, str]:
    return {
        "sept.encoder": header.encoder,
        "sept.fingerprint": header.fingerprint,
        "sept.dataset": header.dataset,
    }


def _faults_in(data: bytes, part: Part, dim: int) -> dict[str, str] | None:
    """The faults that a part's file lists; None if it does not hold the part."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
        metadata = table.schema.metadata or {}
        faults = parse_json(metadata.get(b"sept.faults", b"{}"))
        expected = [clip.clip_id for clip in part.clips if clip.clip_id not in faults]
        sound = (
            table.column("clip_id").to_pylist() == expected
            and SOUND_COLUMN in table.column_names
            and table.schema.field("embedding").type.list_size == dim
        )
    except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError):
        return None
    return dict(faults) if sound else None
