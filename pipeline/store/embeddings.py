"""Embeddings of data sets as Parquet: made once per encoder and data set, read by every trial.

    embeddings/<encoder fingerprint>/<dataset>/part-00000.parquet, ..., manifest.json

``manifest.json`` is written last: without it the embeddings are not there. One row per clip, sorted by clip id, with
the columns clip_id, path, classname, fold, group, sha256 and embedding (a fixed-size list of float32); encoder and
preprocessing stand in the schema's metadata. pandas, DuckDB and Polars read the parts as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.store.documents import unseal
from pipeline.store.embedding_writer import TEXT_COLUMNS, EmbeddingHeader, EmbeddingWriter, embeddings_folder
from pipeline.store.files import Files, open_files
from sept_core.datasets import Clip, EmbeddingTable, Manifest, info_from_json
from sept_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.datasets import DatasetInfo

__all__ = ["BUNDLED", "EmbeddingStore", "find_embeddings"]

BUNDLED = Path(__file__).parent / "bundled"
"""Root of the embeddings that ship with the package, so that a first sweep needs no audio."""


class EmbeddingStore:
    """Embeddings under a results folder (or under ``BUNDLED``).

    Args:
        root: The folder, or the ``Files`` of the store.
    """

    def __init__(self, root: Path | str | Files) -> None:
        self.files = open_files(root) if isinstance(root, (str, Path)) else root

    def manifest(self, fingerprint: str, dataset: str) -> dict[str, Any] | None:
        """The content of ``manifest.json``: the header's fields, ``rows`` and ``parts``; None when not there.

        Raises:
            InputError: It is damaged.
        """
        try:
            return unseal(self.files.read(f"{embeddings_folder(fingerprint, dataset)}/manifest.json"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise _damaged(dataset, f"manifest.json: {error}") from error

    def has(self, fingerprint: str, dataset: str) -> bool:
        """Whether the embeddings were written to the end; only ``read`` tells whether they are still sound."""
        return self.files.exists(f"{embeddings_folder(fingerprint, dataset)}/manifest.json")

    def digest(self, fingerprint: str, dataset: str, description: DatasetInfo | None = None) -> str | None:
        """Manifest digest of the embeddings that are there, sound and of this description; else None."""
        try:
            table = self.read(fingerprint, dataset) if self.has(fingerprint, dataset) else None
        except InputError:
            return None
        return None if table is None or table.description != description else table.manifest_digest

    def folder(self, fingerprint: str, dataset: str) -> str:
        """Where the embeddings lie (or would lie): a path where there is one, else the key."""
        key = embeddings_folder(fingerprint, dataset)
        return str(self.files.local_path(key) or key)

    def writer(self, header: EmbeddingHeader) -> EmbeddingWriter:
        """A context manager that takes rows bit by bit and publishes all of them, or nothing, at its end."""
        return EmbeddingWriter(self.files, header)

    def write(self, header: EmbeddingHeader, clips: Sequence[Clip], embeddings: Tensor) -> None:
        """Write all rows at once; see ``EmbeddingWriter.add``."""
        with self.writer(header) as writer:
            writer.add(clips, embeddings)

    def read(self, fingerprint: str, dataset: str) -> EmbeddingTable:
        """Read and verify embeddings.

        Raises:
            InputError: They are not there, or they are damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq
        import torch

        manifest = self.manifest(fingerprint, dataset)
        if manifest is None:
            raise _missing(fingerprint, dataset, "")
        tables = []
        for part in manifest["parts"]:
            try:
                data = self.files.read(f"{embeddings_folder(fingerprint, dataset)}/{part['name']}")
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


def find_embeddings(
    fingerprint: str, dataset: str, root: Path | str | Files | None, *, encoder: str = ""
) -> EmbeddingTable:
    """The embeddings of a data set: those under the user's root first, then those shipped with the package.

    Args:
        fingerprint: Of the encoder.
        dataset: Canonical name of the data set.
        root: The results folder; None to look only among those shipped.
        encoder: Name of the encoder, for the message.

    Raises:
        InputError: There are none, with the command that makes them; or they are damaged.
    """
    for place in (root, BUNDLED):
        if place is None:
            continue
        store = EmbeddingStore(place)
        if store.has(fingerprint, dataset):
            return store.read(fingerprint, dataset)
    raise _missing(fingerprint, dataset, encoder)


def _missing(fingerprint: str, dataset: str, encoder: str) -> InputError:
    maker = f"encoder {encoder} (fingerprint {fingerprint})" if encoder else f"encoder fingerprint {fingerprint}"
    option = f" --encoder {encoder}" if encoder else ""
    return InputError(
        f"no embeddings of {dataset} for {maker}", mend=f"make them: sept embed {dataset.lower()} --audio DIR{option}"
    )


def _damaged(dataset: str, what: str) -> InputError:
    return InputError(
        f"the embeddings of {dataset} are damaged ({what})",
        mend=f"make them again: sept embed {dataset.lower()} --audio DIR --force",
    )
