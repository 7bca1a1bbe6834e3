"""Embeddings under a results folder; the format itself is `sept_core.datasets.embeddings`.

Those in a bucket, and large ones, are read through this machine's cache (`node_cache`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.store.embedding_writer import EmbeddingHeader, EmbeddingParts, plan_parts
from pipeline.store.node_cache import read_through
from pipeline.store.open_store import Files, open_files, root_option_of
from sept_core.datasets import Clip, EmbeddingTable
from sept_core.datasets.embeddings import BUNDLED, NewerFormat, embeddings_folder, parse_embeddings, parse_manifest
from sept_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.datasets import DatasetInfo

__all__ = ["EmbeddingStore", "find_embeddings", "parts_reader"]

# Reading embeddings smaller than this from a local folder is faster than finding and checking a copy of them.
_CACHED_BYTES = 8_000_000
# Parts that are requested together: enough to keep all connections busy, and small compared with the table itself.
_AHEAD_BYTES = 64_000_000


class EmbeddingStore:
    """Embeddings under a results folder (or under ``BUNDLED``).

    Args:
        root: The folder, or the ``Files`` of the store.
    """

    def __init__(self, root: Path | str | Files) -> None:
        self.files = open_files(root) if isinstance(root, (str, Path)) else root

    def manifest(self, fingerprint: str, dataset: str) -> dict[str, Any] | None:
        """The content of ``manifest.json``: the header's fields, ``rows`` and ``parts``; None if it does not exist.

        Raises:
            InputError: It is damaged.
        """
        try:
            return parse_manifest(dataset, self.files.read(f"{embeddings_folder(fingerprint, dataset)}/manifest.json"))
        except FileNotFoundError:
            return None

    def has(self, fingerprint: str, dataset: str) -> bool:
        """Whether the embeddings are complete; only ``read`` checks whether they are undamaged."""
        return self.files.exists(f"{embeddings_folder(fingerprint, dataset)}/manifest.json")

    def made_of(
        self, fingerprint: str, dataset: str, description: DatasetInfo | None = None
    ) -> tuple[str, int, int] | None:
        """What the stored embeddings of this description were made of, if they are undamaged.

        Returns:
            The manifest digest of all clips, how many of them were left out, and how many of those without
            --skip-bad; None if there are no such embeddings.

        Raises:
            NewerFormat: A later release made them, so they must not be considered damaged and replaced.
        """
        try:
            manifest = self.manifest(fingerprint, dataset)
            if manifest is None or self.read(fingerprint, dataset, cached=False).description != description:
                return None
        except NewerFormat:
            raise
        except InputError:
            return None
        return (
            manifest.get("source_digest", manifest["manifest_digest"]),
            manifest.get("skipped", 0),
            manifest.get("accepted", 0),
        )

    def folder(self, fingerprint: str, dataset: str) -> str:
        """Where the embeddings are (or would be): a path or an ``s3://`` address."""
        key = embeddings_folder(fingerprint, dataset)
        return self.files.address(key)

    def write(
        self, header: EmbeddingHeader, clips: Sequence[Clip], embeddings: Tensor, sounds: Sequence[str] = ()
    ) -> None:
        """Write the embeddings float32 ``[clips, dim]`` of clips that are sorted by their ids.

        Args:
            header: What they are.
            clips: The clips.
            embeddings: The clips' embeddings.
            sounds: Fingerprints of the clips' sounds; empty if they are not known.

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
        written, start = {}, 0
        for part, piece in zip(parts, embeddings.split(sizes), strict=True):
            end = start + len(part.clips)
            written[part.stem] = writer.write(part, piece, {}, sounds[start:end])
            start = end
        writer.publish(parts, written)

    def read(self, fingerprint: str, dataset: str, *, cached: bool = True) -> EmbeddingTable:
        """Read and verify embeddings.

        Args:
            fingerprint: Of the encoder.
            dataset: Canonical name of the data set.
            cached: Whether a copy that this machine verified earlier is good enough, if keeping one is worthwhile.

        Raises:
            InputError: They do not exist, or they are damaged.
            StoreError: They cannot be read.
        """
        folder = embeddings_folder(fingerprint, dataset)
        try:
            data = self.files.read(f"{folder}/manifest.json")
        except FileNotFoundError:
            raise _missing(fingerprint, dataset, "", self.files) from None
        manifest = parse_manifest(dataset, data)

        def make() -> EmbeddingTable:
            return parse_embeddings(fingerprint, dataset, manifest, parts_reader(self.files, folder, manifest))

        here = self.files.local_path(folder) is not None
        if not cached or (here and 4 * manifest["rows"] * manifest["dim"] <= _CACHED_BYTES):
            return make()
        return read_through(fingerprint, dataset, data, make)


def parts_reader(files: Files, folder: str, manifest: dict[str, Any]) -> Callable[[str], bytes]:
    """A function from the name of a part to its bytes; it reads many parts at once and returns each one once.

    Args:
        files: The store.
        folder: Where the parts are in it.
        manifest: Lists them in the order in which they will be requested.
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
    fingerprint: str, dataset: str, root: Path | str | Files | None, *, encoder: str = "", digest: str | None = None
) -> EmbeddingTable:
    """The embeddings of a data set: those under the user's root first, then those shipped with the package.

    Args:
        fingerprint: Of the encoder.
        dataset: Canonical name of the data set.
        root: The results folder; None to look only among those shipped.
        encoder: Name of the encoder, for the message.
        digest: The embeddings to prefer if both places have some: embeddings made on another kind of processor differ
            in their last digits. If neither has this digest, the user's are taken.

    Raises:
        InputError: There are none (the error names the command that makes them), or they are damaged.
    """
    found: EmbeddingTable | None = None
    for place in (root, BUNDLED):
        if place is None:
            continue
        store = EmbeddingStore(place)
        if store.has(fingerprint, dataset):
            table = store.read(fingerprint, dataset)
            if digest in (None, table.digest):
                return table
            found = found or table
    if found is not None:
        return found
    raise _missing(fingerprint, dataset, encoder, None if root is None else EmbeddingStore(root).files)


def _missing(fingerprint: str, dataset: str, encoder: str, files: Files | None) -> InputError:
    maker = f"encoder {encoder} (fingerprint {fingerprint})" if encoder else f"encoder fingerprint {fingerprint}"
    option = f" --encoder {encoder}" if encoder else ""
    option += "" if files is None else root_option_of(files)
    return InputError(
        f"no embeddings of {dataset} for {maker}", fix=f"make them: sept embed {dataset.lower()} --audio DIR{option}"
    )
