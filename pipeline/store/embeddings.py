"""Embeddings under a results folder; the format itself is `sept_core.datasets.embeddings`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.store.embedding_writer import EmbeddingHeader, EmbeddingParts, plan_parts
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

    def made_of(self, fingerprint: str, dataset: str, description: DatasetInfo | None = None) -> tuple[str, int] | None:
        """What the embeddings that are there, sound and of this description were made of.

        Returns:
            The manifest digest of all clips, and how many of them were left out; None where there are no such
            embeddings.
        """
        try:
            manifest = self.manifest(fingerprint, dataset)
            if manifest is None or self.read(fingerprint, dataset).description != description:
                return None
        except InputError:
            return None
        return manifest.get("source_digest", manifest["manifest_digest"]), manifest.get("skipped", 0)

    def folder(self, fingerprint: str, dataset: str) -> str:
        """Where the embeddings lie (or would lie): a path or an ``s3://`` address."""
        key = embeddings_folder(fingerprint, dataset)
        return self.files.address(key)

    def write(self, header: EmbeddingHeader, clips: Sequence[Clip], embeddings: Tensor) -> None:
        """Write the embeddings float32 ``[clips, dim]`` of clips that are sorted by their ids.

        Raises:
            ValueError: Wrong shape or type, or not sorted.
        """
        for before, after in pairwise(clips):
            if after.clip_id <= before.clip_id:
                raise ValueError(f"clip '{after.clip_id}' after '{before.clip_id}': not sorted by clip id")
        writer, parts = EmbeddingParts(self.files, header), plan_parts(header, clips)
        sizes = [len(part.clips) for part in parts]
        if len(embeddings) != len(clips):
            raise ValueError(f"{len(embeddings)} embeddings of {len(clips)} clips")
        pieces = zip(parts, embeddings.split(sizes), strict=True)
        writer.publish(parts, {part.stem: writer.write(part, piece, {}) for part, piece in pieces})

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
