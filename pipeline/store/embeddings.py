"""Embeddings under a results folder; the format itself is `sept_core.datasets.embeddings`.

Those that lie in a bucket, and large ones, are read through this machine's cache (`node_cache`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.store.embedding_writer import EmbeddingHeader, EmbeddingWriter
from pipeline.store.files import Files, open_files
from pipeline.store.node_cache import read_through
from sept_core.datasets import Clip, EmbeddingTable
from sept_core.datasets.embeddings import BUNDLED, NewerFormat, embeddings_folder, parse_embeddings, parse_manifest
from sept_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.datasets import DatasetInfo

__all__ = ["EmbeddingStore", "find_embeddings", "parts_reader"]

# In a folder of this machine, smaller ones than this are read faster than a copy of them is found and looked over.
_CACHED_BYTES = 8_000_000
# Parts that are asked for together: enough to keep all connections busy, and little beside the table itself.
_AHEAD_BYTES = 64_000_000


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
        """Manifest digest of the embeddings that are there, sound and of this description; else None.

        Raises:
            NewerFormat: A later release has made them, so that they are not to be taken for damaged and replaced.
        """
        try:
            table = self.read(fingerprint, dataset, cached=False) if self.has(fingerprint, dataset) else None
        except NewerFormat:
            raise
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

    def read(self, fingerprint: str, dataset: str, *, cached: bool = True) -> EmbeddingTable:
        """Read and verify embeddings.

        Args:
            fingerprint: Of the encoder.
            dataset: Canonical name of the data set.
            cached: Whether a copy that this machine verified earlier will do, where one is worth while.

        Raises:
            InputError: They are not there, or they are damaged.
            StoreError: They cannot be read.
        """
        folder = embeddings_folder(fingerprint, dataset)
        try:
            data = self.files.read(f"{folder}/manifest.json")
        except FileNotFoundError:
            raise _missing(fingerprint, dataset, "") from None
        manifest = parse_manifest(dataset, data)

        def make() -> EmbeddingTable:
            return parse_embeddings(fingerprint, dataset, manifest, parts_reader(self.files, folder, manifest))

        here = self.files.local_path(folder) is not None
        if not cached or (here and 4 * manifest["rows"] * manifest["dim"] <= _CACHED_BYTES):
            return make()
        return read_through(fingerprint, dataset, data, make)


def parts_reader(files: Files, folder: str, manifest: dict[str, Any]) -> Callable[[str], bytes]:
    """A function from the name of a part to its bytes, that reads many parts at once and gives each one once.

    Args:
        files: The store.
        folder: Where the parts lie in it.
        manifest: Names them in the order that they will be asked for.
    """
    left = [(part["name"], 4 * part["rows"] * manifest["dim"]) for part in manifest["parts"]]
    waiting: dict[str, bytes] = {}

    def read(name: str) -> bytes:
        key = f"{folder}/{name}"
        if key not in waiting:
            asked, size = [key], 0
            while left and size < _AHEAD_BYTES:
                ahead, of = left.pop(0)
                asked.append(f"{folder}/{ahead}")
                size += of
            waiting.update(files.read_many(asked))
        try:
            return waiting.pop(key)
        except KeyError:
            raise FileNotFoundError(key) from None

    return read


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
