"""Embeddings under a results folder; the format itself is `sept_core.datasets.embeddings`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.store.embedding_writer import EmbeddingHeader, EmbeddingWriter
from pipeline.store.files import Files, open_files
from sept_core.datasets import Clip, EmbeddingTable
from sept_core.datasets.embeddings import BUNDLED, embeddings_folder, parse_embeddings, parse_manifest
from sept_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.datasets import DatasetInfo

__all__ = ["EmbeddingStore", "find_embeddings"]


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
            return parse_manifest(dataset, self.files.read(f"{embeddings_folder(fingerprint, dataset)}/manifest.json"))
        except FileNotFoundError:
            return None

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
        """Where the embeddings lie (or would lie): a path or an ``s3://`` address."""
        key = embeddings_folder(fingerprint, dataset)
        return self.files.address(key)

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
        manifest = self.manifest(fingerprint, dataset)
        if manifest is None:
            raise _missing(fingerprint, dataset, "")
        folder = embeddings_folder(fingerprint, dataset)
        return parse_embeddings(fingerprint, dataset, manifest, lambda name: self.files.read(f"{folder}/{name}"))


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
