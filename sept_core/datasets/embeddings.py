"""Embeddings of data sets as Parquet: made once per encoder and data set, read by every trial.

    embeddings/<encoder fingerprint>/<dataset>/part-00000.parquet, ..., manifest.json

``manifest.json`` is written last: without it, there are no embeddings. It names the parts in order and the ``format``
(1 if missing). One row per clip, sorted by clip id, with the columns clip_id,
path, classname, fold, group, sha256, sound (an acoustic fingerprint) and embedding (a fixed-size list of float32);
encoder and preprocessing are in the schema's metadata. pandas and DuckDB read the parts as they are.

This module reads them, from any store that returns the bytes of a file; ``load_embeddings`` reads a local folder, or
the embeddings that ship with the package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sept_core.checked_json import unseal
from sept_core.datasets.manifest import Clip, Manifest
from sept_core.datasets.own_dataset import info_from_json
from sept_core.datasets.table import EmbeddingTable
from sept_core.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "BUNDLED",
    "FORMAT",
    "ROWS_PER_PART",
    "SOUND_COLUMN",
    "TEXT_COLUMNS",
    "NewerFormat",
    "embeddings_folder",
    "load_embeddings",
    "parse_embeddings",
    "parse_manifest",
    "parse_part",
]

FORMAT = 3
"""The newest format that is read; 2 has no column ``sound``, and 1 differs from 2 in the names of the parts alone."""

ROWS_PER_PART = 256
"""Clips per part: at most this many are lost when encoding is interrupted; 1 MB at 1,024 dimensions."""

BUNDLED = Path(__file__).parent / "bundled"
"""Root of the embeddings that ship with the package, so that a first sweep needs no audio."""

TEXT_COLUMNS = ("clip_id", "path", "classname", "fold", "group", "sha256")
"""The columns before ``embedding``: the fields of a ``Clip``, in its order."""


SOUND_COLUMN = "sound"
"""The next column: the acoustic fingerprint of a clip (``sept_core.datasets.sound``); empty if unknown."""


class NewerFormat(InputError):  # noqa: N818 (it names a state)
    """Embeddings were written by a later release: they are not damaged and need not be made again."""


def embeddings_folder(fingerprint: str, dataset: str) -> str:
    """The folder that holds a data set's embeddings by one encoder, relative to a root."""
    return f"embeddings/{fingerprint}/{dataset}"


def load_embeddings(dataset: str, fingerprint: str, root: Path | str | None = None) -> EmbeddingTable:
    """Embeddings from a local folder.

    Args:
        dataset: Canonical name of the data set.
        fingerprint: Of the encoder.
        root: The results folder that ``sept embed`` wrote to; None for the ones that ship with the package.

    Raises:
        InputError: They are not there, or they are damaged.
    """
    folder = Path(BUNDLED if root is None else root) / embeddings_folder(fingerprint, dataset)
    try:
        manifest = parse_manifest(dataset, (folder / "manifest.json").read_bytes())
    except OSError as error:
        raise InputError(
            f"no embeddings of {dataset} for encoder fingerprint {fingerprint}",
            where=str(folder),
            fix=f"make them: sept embed {dataset.lower()} --audio DIR",
        ) from error
    return parse_embeddings(fingerprint, dataset, manifest, lambda name: (folder / name).read_bytes())


def parse_manifest(dataset: str, data: bytes) -> dict[str, Any]:
    """The content of ``manifest.json``: the header's fields, ``rows`` and ``parts``.

    Raises:
        NewerFormat: It is of a format that this release cannot read.
        InputError: It is damaged.
    """
    try:
        content = unseal(data)
    except ValueError as error:
        raise _damaged(dataset, f"manifest.json: {error}") from error
    stated = content.get("format", 1)
    if not isinstance(stated, int) or isinstance(stated, bool) or stated < 1:
        raise _damaged(dataset, f"manifest.json: no such format: {stated!r}")
    if stated > FORMAT:
        raise NewerFormat(
            f"the embeddings of {dataset} are of format {stated}, and this release reads formats up to {FORMAT}",
            fix="install the release of sept-sweep that made them, or a newer one",
        )
    return content


def parse_part(dataset: str, part: dict[str, Any], data: bytes) -> pa.Table:
    """The rows of a part: an Arrow table with the columns of the layout.

    Args:
        dataset: What the embeddings are of, for the message.
        part: Its entry in the manifest's ``parts``.
        data: The bytes of its file.

    Raises:
        InputError: They are not those of the manifest.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if hashlib.sha256(data).hexdigest() != part["sha256"]:
        raise _damaged(dataset, f"{part['name']} does not match its sha256")
    return pq.read_table(pa.BufferReader(data)).combine_chunks()


def parse_embeddings(
    fingerprint: str, dataset: str, manifest: dict[str, Any], read: Callable[[str], bytes]
) -> EmbeddingTable:
    """The table of embeddings, verified part by part and row by row.

    Memory holds the table and one part.

    Args:
        fingerprint: Fingerprint of the expected encoder.
        dataset: Name of the expected data set.
        manifest: As ``parse_manifest`` returned it.
        read: The bytes of a part by its name; raises ``FileNotFoundError`` if there is none. Called in the manifest's
            order.

    Raises:
        InputError: They are damaged.
    """
    import torch

    rows, dim = manifest["rows"], manifest["dim"]
    embeddings = torch.empty(rows, dim, dtype=torch.float32)
    texts: dict[str, list[str]] = {name: [] for name in TEXT_COLUMNS}
    sounds: list[str] = []
    start = 0
    for part in manifest["parts"]:
        try:
            data = read(part["name"])
        except FileNotFoundError as error:
            raise _damaged(dataset, f"{part['name']} is missing") from error
        table = parse_part(dataset, part, data)
        end = start + table.num_rows
        if end > rows or table.schema.field("embedding").type.list_size != dim:
            raise _damaged(dataset, "manifest.json does not describe the rows")
        flat = table.column("embedding").combine_chunks().flatten().to_numpy()
        embeddings.numpy()[start:end] = flat.reshape(table.num_rows, dim)
        for name in TEXT_COLUMNS:
            texts[name] += table.column(name).to_pylist()
        known = SOUND_COLUMN in table.column_names
        sounds += table.column(SOUND_COLUMN).to_pylist() if known else [""] * table.num_rows
        start = end
    columns = {name: tuple(texts[name]) for name in TEXT_COLUMNS}
    # The digest is computed from the rows, not taken from the manifest: a trial's signature depends on it.
    digest = Manifest(dataset, tuple(map(Clip, *(columns[name] for name in TEXT_COLUMNS)))).digest
    said = (manifest["fingerprint"], manifest["dataset"], manifest["manifest_digest"], rows)
    if said != (fingerprint, dataset, digest, start):
        raise _damaged(dataset, "manifest.json does not describe the rows")
    # Embeddings of registered data sets have no description; those of earlier releases lack the key.
    description = manifest.get("description")
    return EmbeddingTable(
        dataset=dataset,
        encoder_fingerprint=fingerprint,
        manifest_digest=digest,
        clip_ids=columns["clip_id"],
        classnames=columns["classname"],
        folds=columns["fold"],
        groups=columns["group"],
        sha256=columns["sha256"],
        embeddings=embeddings,
        description=None if description is None else info_from_json(description),
        sounds=tuple(sounds),
    )


def _damaged(dataset: str, what: str) -> InputError:
    return InputError(
        f"the embeddings of {dataset} are damaged ({what})",
        fix=f"make them again: sept embed {dataset.lower()} --audio DIR --force",
    )
