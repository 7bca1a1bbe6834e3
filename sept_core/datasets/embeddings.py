"""Embeddings of data sets as Parquet: made once per encoder and data set, read by every trial.

    embeddings/<encoder fingerprint>/<dataset>/part-00000.parquet, ..., manifest.json

``manifest.json`` is written last: without it the embeddings are not there. One row per clip, sorted by clip id, with
the columns clip_id, path, classname, fold, group, sha256 and embedding (a fixed-size list of float32); encoder and
preprocessing stand in the schema's metadata. pandas, DuckDB and Polars read the parts as they are.

This is the reading side, over any place that gives the bytes of a file; ``load_embeddings`` reads a local folder, or
what ships with the package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sept_core.datasets.manifest import Clip, Manifest
from sept_core.datasets.own import info_from_json
from sept_core.datasets.table import EmbeddingTable
from sept_core.documents import unseal
from sept_core.errors import InputError

__all__ = ["BUNDLED", "TEXT_COLUMNS", "embeddings_folder", "load_embeddings", "parse_embeddings", "parse_manifest"]

BUNDLED = Path(__file__).parent / "bundled"
"""Root of the embeddings that ship with the package, so that a first sweep needs no audio."""

TEXT_COLUMNS = ("clip_id", "path", "classname", "fold", "group", "sha256")
"""The columns before ``embedding``: the fields of a ``Clip``, in its order."""


def embeddings_folder(fingerprint: str, dataset: str) -> str:
    """The folder that holds a data set's embeddings by one encoder, as seen from a root."""
    return f"embeddings/{fingerprint}/{dataset}"


def load_embeddings(dataset: str, fingerprint: str, root: Path | str | None = None) -> EmbeddingTable:
    """Embeddings from a local folder.

    Args:
        dataset: Canonical name of the data set.
        fingerprint: Of the encoder.
        root: The results folder that ``sept embed`` wrote to; None for what ships with the package.

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
            mend=f"make them: sept embed {dataset.lower()} --audio DIR",
        ) from error
    return parse_embeddings(fingerprint, dataset, manifest, lambda name: (folder / name).read_bytes())


def parse_manifest(dataset: str, data: bytes) -> dict[str, Any]:
    """The content of ``manifest.json``: the header's fields, ``rows`` and ``parts``.

    Raises:
        InputError: It is damaged.
    """
    try:
        return unseal(data)
    except ValueError as error:
        raise _damaged(dataset, f"manifest.json: {error}") from error


def parse_embeddings(
    fingerprint: str, dataset: str, manifest: dict[str, Any], read: Callable[[str], bytes]
) -> EmbeddingTable:
    """The table of embeddings, verified part by part and row by row.

    Args:
        fingerprint: Of the encoder that they are expected to be by.
        dataset: What they are expected to be of.
        manifest: As ``parse_manifest`` returned it.
        read: The bytes of a part by its name; ``FileNotFoundError`` where there is none.

    Raises:
        InputError: They are damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    tables = []
    for part in manifest["parts"]:
        try:
            data = read(part["name"])
        except FileNotFoundError as error:
            raise _damaged(dataset, f"{part['name']} is missing") from error
        if hashlib.sha256(data).hexdigest() != part["sha256"]:
            raise _damaged(dataset, f"{part['name']} does not match its sha256")
        tables.append(pq.read_table(pa.BufferReader(data)))
    table = pa.concat_tables(tables).combine_chunks()
    columns = {name: tuple(table.column(name).to_pylist()) for name in TEXT_COLUMNS}
    # The digest is computed from the rows rather than believed: it is what a trial's signature rests on.
    digest = Manifest(dataset, tuple(map(Clip, *(columns[name] for name in TEXT_COLUMNS)))).digest
    said = (manifest["fingerprint"], manifest["dataset"], manifest["manifest_digest"], manifest["rows"])
    if said != (fingerprint, dataset, digest, table.num_rows):
        raise _damaged(dataset, "manifest.json does not describe the rows")
    # Embeddings of registered data sets have none; those of earlier releases lack the key.
    description = manifest.get("description")
    flat = table.column("embedding").combine_chunks().flatten().to_numpy()
    return EmbeddingTable(
        dataset=dataset,
        encoder_fingerprint=fingerprint,
        manifest_digest=digest,
        clip_ids=columns["clip_id"],
        classnames=columns["classname"],
        folds=columns["fold"],
        groups=columns["group"],
        sha256=columns["sha256"],
        # Copied: Arrow's memory is read-only and goes with the table.
        embeddings=torch.from_numpy(flat.reshape(table.num_rows, manifest["dim"]).copy()),
        description=None if description is None else info_from_json(description),
    )


def _damaged(dataset: str, what: str) -> InputError:
    return InputError(
        f"the embeddings of {dataset} are damaged ({what})",
        mend=f"make them again: sept embed {dataset.lower()} --audio DIR --force",
    )
