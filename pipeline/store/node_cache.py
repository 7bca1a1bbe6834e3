"""Embeddings in the form that a machine's trials share: one Arrow file, mapped into memory by all of them.

    $SEPT_CACHE/embeddings/<key>.arrow

The key is a digest of encoder, data set and the store's ``manifest.json``, so that embeddings that were made again
are another file. It is written once, from parts that were verified one by one, by one process while others wait; then
opening it costs milliseconds, and however many trials read it, its pages are in memory once.

What is in the file is not believed for its name. It carries the digests of its rows, of what its clips sound like and
of its embeddings, sealed, and its lock file holds the size, inode and time of change that it had when they were last
found to be true. As long as that is still so, nobody has written to it; otherwise everything is digested again, and
what does not fit is made again. A cache that is full or cannot be written costs time and stops nobody.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.store.cache import (
    cache_folder,
    cache_limit,
    lock_of,
    mark_used,
    remove_leftovers,
    temporary,
    trim,
    turn,
)
from sept_core.datasets import EmbeddingTable
from sept_core.datasets.manifest import digest_of
from sept_core.datasets.own import info_from_json, info_to_json
from sept_core.documents import canonical_json, seal, unseal
from sept_core.errors import InputError

__all__ = ["cached_file", "read_through"]

logger = logging.getLogger(__name__)

_METADATA = b"sept.cache"
# Of rows with many clips each: kept as numbers into a list of the values.
_REPEATED = ("classname", "fold", "group")
_ALIGNED = 64
# Part of the key, so that another layout of the file is another file.
_LAYOUT = 3


@dataclass(frozen=True)
class _Wanted:
    """What a cached file must hold.

    Args:
        dataset: Name of the data set.
        fingerprint: Of the encoder.
        manifest_sha256: Of the bytes of the store's ``manifest.json``.
    """

    dataset: str
    fingerprint: str
    manifest_sha256: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        name = canonical_json([_LAYOUT, self.dataset, self.fingerprint, self.manifest_sha256])
        return cache_folder() / "embeddings" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.arrow"


def cached_file(fingerprint: str, dataset: str, manifest: bytes) -> Path:
    """Where the embeddings that a store's ``manifest.json`` (its bytes) describes lie, or would lie, in the cache."""
    return _Wanted(dataset, fingerprint, hashlib.sha256(manifest).hexdigest()).path


def read_through(fingerprint: str, dataset: str, manifest: bytes, make: Callable[[], EmbeddingTable]) -> EmbeddingTable:
    """The embeddings that a store's manifest describes, over this machine's copy, which is made where there is none.

    The tensor lies over the mapped file without a copy. Who changes it changes only pages of one's own.

    Args:
        fingerprint: Of the encoder.
        dataset: Canonical name of the data set.
        manifest: The bytes of ``manifest.json``.
        make: Reads and verifies the embeddings themselves.

    Raises:
        InputError: ``SEPT_CACHE_GB`` is no number, or as ``make``.
    """
    cache_limit()  # what is wrong with the setting is told at once, not by whoever comes to trim
    wanted = _Wanted(dataset, fingerprint, hashlib.sha256(manifest).hexdigest())
    path, made, table = wanted.path, None, None
    try:
        table = _unchanged(path, wanted)
        if table is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with turn(path):
                # Others may have made it meanwhile.
                table = _unchanged(path, wanted) or _verified(path, wanted)
                if table is None:
                    made = make()
                    _write(path, wanted, made)
                    table = _sound(path, wanted)
                lock_of(path).write_text(_stamp(path.stat()), encoding="ascii")
            trim(path)
    except OSError as error:
        # A cache that came with the machine, say, and cannot be written, holds what others have made.
        if table is None and made is None:
            with suppress(OSError):
                table = _verified(path, wanted)
        if table is None:
            reason = error.strerror or str(error)
            logger.warning("%s cannot keep the embeddings of %s (%s); they are read directly", path, dataset, reason)
    mark_used(path)
    return table or made or make()


def _unchanged(path: Path, wanted: _Wanted) -> EmbeddingTable | None:
    """The table, if the file is the one that was last found sound; else None."""
    with suppress(FileNotFoundError):
        stamp = lock_of(path).read_text(encoding="ascii", errors="replace")
        if stamp == _stamp(path.stat()):
            return _sound(path, wanted, stamp)
    return None


def _sound(path: Path, wanted: _Wanted, stamp: str | None = None) -> EmbeddingTable | None:
    """The table over a file whose digests are known to be true; else as `_opened`."""
    opened = _opened(path, wanted, stamp)
    if opened is None:
        return None
    table, digest, _ = opened
    table.remember_digest(digest)
    return table


def _verified(path: Path, wanted: _Wanted) -> EmbeddingTable | None:
    """The table, if everything that the file holds has the digest that is kept with it; else None."""
    opened = _opened(path, wanted)
    if opened is None:
        return None
    table, digest, sounds_digest = opened
    rows = zip(table.clip_ids, table.classnames, table.folds, table.groups, table.sha256, strict=True)
    found = digest_of(rows), table.digest, _sounds_digest(table)
    if found != (table.manifest_digest, digest, sounds_digest):
        logger.warning("%s is damaged and is made again", path)
        return None
    return table


def _sounds_digest(table: EmbeddingTable) -> str:
    """Over what the clips sound like, which tells what the encoder has heard; the manifest's digest leaves it out."""
    return hashlib.sha256(canonical_json(table.sounds).encode()).hexdigest()


def _stamp(status: os.stat_result) -> str:
    """What changes whenever somebody writes to a file or puts another in its place."""
    return f"{status.st_size} {status.st_ino} {status.st_ctime_ns}"


def _opened(path: Path, wanted: _Wanted, stamp: str | None = None) -> tuple[EmbeddingTable, str, str] | None:
    """The table over a file and the digests that it states; None where it is missing, torn, foreign or of others.

    Args:
        path: The file.
        wanted: What it must hold.
        stamp: Of the file that is meant, where it must be that one.
    """
    try:
        with open(path, "rb") as file:
            if stamp is not None and _stamp(os.fstat(file.fileno())) != stamp:
                return None
            # Private: pages are everybody's until one is written to. (A read-only one makes torch warn.)
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (FileNotFoundError, ValueError):  # an empty file cannot be mapped
        return None
    import pyarrow as pa

    try:
        return _table(mapping, wanted, whole=stamp is None)
    # Arrow's own errors are of several families, some of them OSError; here all of them are about the content.
    except (pa.ArrowException, OSError, ValueError, KeyError, IndexError, TypeError, InputError) as error:
        logger.warning("%s is not what it should be and is made again: %s", path, " ".join(str(error).split())[:200])
        return None


def _table(mapping: mmap.mmap, wanted: _Wanted, *, whole: bool) -> tuple[EmbeddingTable, str, str]:
    """The table over a mapped file, and the digests of its embeddings and of its sounds that are written in it.

    Args:
        mapping: The file.
        wanted: What it must hold.
        whole: Look at every value's form, for it may be anybody's file.

    Raises:
        Exception: It is not one of `_write`.
    """
    import pyarrow as pa
    import torch

    buffer = pa.py_buffer(mapping)
    batch = pa.ipc.open_file(buffer).get_batch(0)
    if whole:
        batch.validate(full=True)
    told = unseal(batch.schema.metadata[_METADATA])
    if _Wanted(told["dataset"], told["fingerprint"], told["manifest_sha256"]) != wanted:
        raise ValueError("it is of other embeddings")
    rows, dim = told["rows"], told["dim"]
    values = batch.column("embedding").values
    offset = values.buffers()[1].address - buffer.address
    if (batch.num_rows, len(values), values.offset) != (rows, rows * dim, 0):
        raise ValueError("it does not have the rows that it names")
    table = EmbeddingTable(
        dataset=told["dataset"],
        encoder_fingerprint=told["fingerprint"],
        manifest_digest=told["manifest_digest"],
        clip_ids=tuple(batch.column("clip_id").to_pylist()),
        classnames=_spread(batch.column("classname")),
        folds=_spread(batch.column("fold")),
        groups=_spread(batch.column("group")),
        sha256=tuple(batch.column("sha256").to_pylist()),
        embeddings=torch.frombuffer(mapping, dtype=torch.float32, count=rows * dim, offset=offset).view(rows, dim),
        description=None if told["description"] is None else info_from_json(told["description"]),
        sounds=tuple(batch.column("sound").to_pylist()),
    )
    return table, told["digest"], told["sounds_digest"]


def _spread(column: Any) -> tuple[str, ...]:
    """The values of a dictionary column, equal ones being one object."""
    values = column.dictionary.to_pylist()
    return tuple(map(values.__getitem__, column.indices.to_pylist()))


def _write(path: Path, wanted: _Wanted, table: EmbeddingTable) -> None:
    """Write the file: it appears whole, or not at all.

    Raises:
        OSError: It cannot be written.
    """
    import pyarrow as pa

    item = pa.field("element", pa.float32(), nullable=False)
    flat = pa.array(table.embeddings.contiguous().numpy().reshape(-1))
    texts = {
        "clip_id": pa.array(table.clip_ids, pa.string()),
        "classname": pa.array(table.classnames, pa.string()),
        "fold": pa.array(table.folds, pa.string()),
        "group": pa.array(table.groups, pa.string()),
        "sha256": pa.array(table.sha256, pa.string()),
        "sound": pa.array(table.sounds, pa.string()),
    }
    # The embeddings first, for where they begin then depends on no other column.
    columns = {"embedding": pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(item, table.dim))}
    columns |= {name: text.dictionary_encode() if name in _REPEATED else text for name, text in texts.items()}
    told = seal(
        {
            "dataset": wanted.dataset,
            "fingerprint": wanted.fingerprint,
            "manifest_sha256": wanted.manifest_sha256,
            "manifest_digest": table.manifest_digest,
            "digest": table.digest,
            "sounds_digest": _sounds_digest(table),
            "rows": len(table),
            "dim": table.dim,
            "description": None if table.description is None else info_to_json(table.description),
        }
    )
    batch = _aligned(pa.RecordBatch.from_pydict(columns), told)
    remove_leftovers(path)
    hidden = temporary(path)
    try:
        with pa.OSFile(str(hidden), "wb") as sink:
            _write_batch(sink, batch)
        with open(hidden, "rb") as file:
            os.fsync(file.fileno())
        os.rename(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def _aligned(batch: Any, told: bytes) -> Any:
    """The batch with its metadata, filled up so that in the file the embeddings begin at a multiple of 64 bytes.

    As tensors of torch's own do; what a library computes may depend on it in the last digit.
    """
    import pyarrow as pa

    # A row tells where they begin: what stands before them is as long for one row as for all.
    sink = pa.BufferOutputStream()
    _write_batch(sink, batch.slice(0, 1).replace_schema_metadata({_METADATA: told, b"fill": b""}))
    file = sink.getvalue()
    begin = pa.ipc.open_file(file).get_batch(0).column(0).values.buffers()[1].address - file.address
    return batch.replace_schema_metadata({_METADATA: told, b"fill": b" " * (-begin % _ALIGNED)})


def _write_batch(sink: Any, batch: Any) -> None:
    import pyarrow as pa

    options = pa.ipc.IpcWriteOptions(allow_64bit=True)
    with pa.ipc.new_file(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
