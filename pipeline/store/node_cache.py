"""Embeddings in the form that a machine's trials share: a NumPy file that all of them map into memory.

    $SEPT_CACHE/embeddings/<key>/embeddings.npy    float32 [clips, dim]
                                 rows.parquet      what the clips are, and the digests of everything, sealed

The key is a digest of encoder, data set and the store's ``manifest.json``, so that embeddings that were made again have
another folder. One process writes the folder, from parts that it verified one by one, while others wait; then opening
it costs milliseconds, and however many trials read it, its pages are in memory once.

The folder is not trusted for its name. It carries the digests of its rows, of its sounds and of its embeddings, and its
lock file holds the size, inode and time of change that both files had when they were last verified. As long as these
are the same, nobody has written to the files; otherwise everything is digested again, and what does not match is made
again. A cache that is full or cannot be written costs time but stops nobody.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.store.cache import (
    cache_folder,
    cache_limit,
    lock_of,
    mark_used,
    remove_entry,
    remove_leftovers,
    temporary,
    trim,
    turn,
)
from pipeline.text import one_line
from sept_core.checked_json import canonical_json, seal, unseal
from sept_core.datasets import EmbeddingTable
from sept_core.datasets.manifest import digest_of
from sept_core.datasets.own_dataset import info_from_json, info_to_json
from sept_core.errors import InputError

__all__ = ["read_through"]

logger = logging.getLogger(__name__)

_EMBEDDINGS, _ROWS = "embeddings.npy", "rows.parquet"
_METADATA = b"sept.cache"
# Many clips have the same class, fold and group: equal ones share one string.
_REPEATED, _UNIQUE = ("classnames", "folds", "groups"), ("clip_ids", "sha256", "sounds")
# Part of the key, so that another layout is another folder.
_LAYOUT = 4


def read_through(fingerprint: str, dataset: str, manifest: bytes, make: Callable[[], EmbeddingTable]) -> EmbeddingTable:
    """The embeddings that a store's manifest describes, over this machine's copy, which is made if it is missing.

    The tensor shares the mapped file. Changes to it stay in the process that makes them.

    Args:
        fingerprint: Of the encoder.
        dataset: Canonical name of the data set.
        manifest: The bytes of ``manifest.json``.
        make: Reads and verifies the embeddings themselves.

    Raises:
        InputError: ``SEPT_CACHE_GB`` is not a number, or as ``make``.
    """
    cache_limit()  # a wrong setting is reported at once, not by the process that trims
    wanted = {
        "dataset": dataset,
        "fingerprint": fingerprint,
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
    }
    key = hashlib.sha256(canonical_json([_LAYOUT, *wanted.values()]).encode()).hexdigest()[:32]
    folder = cache_folder() / "embeddings" / key
    table: EmbeddingTable | None = None
    made: EmbeddingTable | None = None
    try:
        table = _unchanged(folder, wanted)
        if table is None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with turn(folder):
                # Another process may have made it meanwhile.
                table = _unchanged(folder, wanted) or _open(folder, wanted, verify=True)
                if table is None:
                    made = make()
                    _write(folder, wanted, made)
                    table = _open(folder, wanted, verify=False)
                lock_of(folder).write_text(_stamp(folder), encoding="ascii")
            trim(folder)
    except OSError as error:
        # A cache that came with the machine, for example, may be read-only, but holds what others have made.
        if made is None:
            table = _open(folder, wanted, verify=True)
        if table is None:
            logger.warning(
                "%s cannot keep the embeddings of %s (%s); they are read directly",
                *(folder, dataset, error.strerror or error),
            )
    mark_used(folder)
    return table or made or make()


def _unchanged(folder: Path, wanted: dict[str, str]) -> EmbeddingTable | None:
    """The table, if the files are the ones that were last verified; else None."""
    with suppress(FileNotFoundError):
        if lock_of(folder).read_text(encoding="ascii", errors="replace") == _stamp(folder):
            return _open(folder, wanted, verify=False)
    return None


def _stamp(folder: Path) -> str:
    """What changes whenever somebody writes to one of the files or replaces it."""
    states = [(folder / name).stat() for name in (_EMBEDDINGS, _ROWS)]
    return " ".join(f"{state.st_size} {state.st_ino} {state.st_ctime_ns}" for state in states)


def _open(folder: Path, wanted: dict[str, str], *, verify: bool) -> EmbeddingTable | None:
    """The table over a folder's files; None where they are missing, torn, damaged or of other embeddings.

    Args:
        folder: The folder.
        wanted: Which embeddings it must hold.
        verify: Whether to digest everything, rather than rely on the digest that is stored with it.
    """
    import pyarrow as pa

    try:
        table, stated = _table(folder, wanted)
        if verify and _digests(table) != {
            name: stated[name] for name in ("manifest_digest", "digest", "sounds_digest")
        }:
            raise ValueError("it does not have the digest that is stored with it")
    except (FileNotFoundError, NotADirectoryError):
        return None
    # Arrow's errors belong to several families, some to OSError; here all of them are about the content.
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, EOFError, InputError) as error:
        logger.warning("%s is damaged and is made again: %s", folder, one_line(error))
        return None
    if not verify:
        table.remember_digest(stated["digest"])
    return table


def _table(folder: Path, wanted: dict[str, str]) -> tuple[EmbeddingTable, dict[str, Any]]:
    """The table over a folder's files, and what is stored with it.

    Raises:
        Exception: The folder is not one of `_write`.
    """
    import numpy as np
    import pyarrow.parquet as pq
    import torch

    with pq.ParquetFile(folder / _ROWS, page_checksum_verification=True) as file:
        rows = file.read()
    stated = unseal(rows.schema.metadata[_METADATA])
    if {name: stated[name] for name in wanted} != wanted:
        raise ValueError("it is of other embeddings")
    # Private ("c"): pages are shared until one is written to. (torch warns about read-only ones.)
    values = np.load(folder / _EMBEDDINGS, mmap_mode="c")
    table = EmbeddingTable(
        dataset=stated["dataset"],
        encoder_fingerprint=stated["fingerprint"],
        manifest_digest=stated["manifest_digest"],
        embeddings=torch.from_numpy(values),
        description=None if stated["description"] is None else info_from_json(stated["description"]),
        **{name: tuple(map(sys.intern, rows.column(name).to_pylist())) for name in _REPEATED},
        **{name: tuple(rows.column(name).to_pylist()) for name in _UNIQUE},
    )
    return table, stated


def _digests(table: EmbeddingTable) -> dict[str, str]:
    rows = zip(table.clip_ids, table.classnames, table.folds, table.groups, table.sha256, strict=True)
    return {
        "manifest_digest": digest_of(rows),
        "digest": table.digest,
        # The sounds identify clips that the encoder was trained on; the manifest's digest leaves them out.
        "sounds_digest": hashlib.sha256(canonical_json(table.sounds).encode()).hexdigest(),
    }


def _write(folder: Path, wanted: dict[str, str], table: EmbeddingTable) -> None:
    """Write the folder: it appears whole, or not at all.

    Raises:
        OSError: It cannot be written.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    description = None if table.description is None else info_to_json(table.description)
    stated = seal(wanted | _digests(table) | {"description": description})
    rows = pa.table({name: pa.array(getattr(table, name), pa.string()) for name in (*_UNIQUE, *_REPEATED)})
    remove_leftovers(folder)
    if folder.exists():
        remove_entry(folder)
    hidden = temporary(folder)
    try:
        hidden.mkdir()
        np.save(hidden / _EMBEDDINGS, table.embeddings.contiguous().numpy())
        rows = rows.replace_schema_metadata({_METADATA: stated})
        # Fast to read rather than small: the embeddings are far larger.
        pq.write_table(rows, hidden / _ROWS, compression="NONE", use_dictionary=[*_REPEATED], write_page_checksum=True)
        for name in (_EMBEDDINGS, _ROWS):
            with open(hidden / name, "rb") as file:
                os.fsync(file.fileno())
        os.rename(hidden, folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
