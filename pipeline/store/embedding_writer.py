"""Writes the Parquet parts of a data set's embeddings: the same rows give the same bytes, and all rows or none."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pipeline.store.files import Files
from sept_core.datasets import Clip
from sept_core.datasets.embeddings import TEXT_COLUMNS, embeddings_folder
from sept_core.documents import seal

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

__all__ = ["ROWS_PER_PART", "EmbeddingHeader", "EmbeddingWriter"]

ROWS_PER_PART = 4096
"""A part is what writer and reader hold in memory at once: at 1,024 dimensions 16 MB."""


@dataclass(frozen=True)
class EmbeddingHeader:
    """What embeddings are of, and by what they were made.

    Attributes:
        dataset: Name of the data set.
        encoder: Name of the encoder.
        fingerprint: The encoder's, over weights and preprocessing.
        manifest_digest: ``Manifest.digest`` of the clips.
        dim: Size of an embedding.
        preprocessing: Plain values that say what was done to a clip before the encoder, to be read by people.
        attribution: Authors and licence of the audio, where its licence asks for them.
        description: What the data set is (``info_to_json``), where it is a person's own; None for a registered one.
    """

    dataset: str
    encoder: str
    fingerprint: str
    manifest_digest: str
    dim: int
    preprocessing: dict[str, int | float | str] = field(default_factory=dict)
    attribution: str = ""
    description: dict[str, Any] | None = None


class EmbeddingWriter:
    """Takes rows in the order of their clip ids and publishes them when the ``with`` block ends without an error.

    Until then everything lies in a temporary folder, so that embeddings made earlier stay as they are while new ones
    are computed, and memory holds one part at most.

    Args:
        files: Where to publish.
        header: What the rows are.
    """

    def __init__(self, files: Files, header: EmbeddingHeader) -> None:
        self.header = header
        self._files = files
        self._folder = embeddings_folder(header.fingerprint, header.dataset)
        self._staging: tempfile.TemporaryDirectory[str] | None = None
        self._parts: list[dict[str, str | int]] = []
        self._clips: list[Clip] = []
        self._embeddings: list[Tensor] = []
        self._last = ""

    def __enter__(self) -> EmbeddingWriter:
        self._staging = tempfile.TemporaryDirectory(prefix="sept-embeddings-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._staging is None:
            return
        with self._staging as staging:
            if kind is None:
                if self._clips:
                    self._close_part()
                self._publish(Path(staging))
        self._staging = None

    def add(self, clips: Sequence[Clip], embeddings: Tensor) -> None:
        """Add rows.

        Args:
            clips: Sorted by clip id, all after those added before.
            embeddings: float32 ``[clips, dim]``, unit norm.

        Raises:
            ValueError: Wrong shape or type, or not sorted.
        """
        import torch

        if embeddings.shape != (len(clips), self.header.dim) or embeddings.dtype != torch.float32:
            raise ValueError(
                f"{len(clips)} clips need float32 [{len(clips)}, {self.header.dim}], "
                f"not {embeddings.dtype} {list(embeddings.shape)}"
            )
        for index, clip in enumerate(clips):
            if clip.clip_id <= self._last:
                raise ValueError(f"clip '{clip.clip_id}' after '{self._last}': not sorted by clip id")
            self._last = clip.clip_id
            self._clips.append(clip)
            self._embeddings.append(embeddings[index])
            if len(self._clips) == ROWS_PER_PART:
                self._close_part()

    def _close_part(self) -> None:
        import pyarrow.parquet as pq

        if self._staging is None:
            raise RuntimeError("an embedding writer is used as a context manager")
        name = f"part-{len(self._parts):05d}.parquet"
        path = Path(self._staging.name) / name
        # Everything that decides about bytes is said, so that the same rows are the same file.
        pq.write_table(
            _arrow(self.header, self._clips, self._embeddings),
            path,
            version="2.6",
            data_page_version="1.0",
            compression="zstd",
            compression_level=3,
            use_dictionary=["classname", "fold", "group"],
            write_statistics=True,
            row_group_size=ROWS_PER_PART,
        )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._parts.append({"name": name, "rows": len(self._clips), "sha256": digest})
        self._clips, self._embeddings = [], []

    def _publish(self, staging: Path) -> None:
        if not self._parts:
            raise ValueError("embeddings without a row")
        # First the manifest goes: a reader that comes in between finds nothing rather than a mixture.
        self._files.delete(f"{self._folder}/manifest.json")
        names = {str(part["name"]) for part in self._parts}
        for key in self._files.list(self._folder):
            if key.rpartition("/")[2] not in names:
                self._files.delete(key)
        for name in sorted(names):
            self._files.write(f"{self._folder}/{name}", (staging / name).read_bytes())
        content = {
            **asdict(self.header),
            "rows": sum(int(part["rows"]) for part in self._parts),
            "parts": self._parts,
        }
        self._files.write(f"{self._folder}/manifest.json", seal(content))


def _arrow(header: EmbeddingHeader, clips: Sequence[Clip], embeddings: Sequence[Tensor]) -> pa.Table:
    """Rows as an Arrow table ``[clips, 7]`` with the header in its metadata."""
    import pyarrow as pa
    import torch

    flat = torch.stack(list(embeddings)).reshape(-1)
    values = pa.array(flat.detach().cpu().numpy())
    item = pa.field("element", pa.float32(), nullable=False)
    fields = [pa.field(name, pa.string(), nullable=False) for name in TEXT_COLUMNS]
    fields.append(pa.field("embedding", pa.list_(item, header.dim), nullable=False))
    metadata = {
        "sept.encoder": header.encoder,
        "sept.fingerprint": header.fingerprint,
        "sept.dataset": header.dataset,
        "sept.manifest_digest": header.manifest_digest,
        "sept.preprocessing": json.dumps(header.preprocessing, sort_keys=True),
    }
    if header.description is not None:
        metadata["sept.description"] = json.dumps(header.description, sort_keys=True)
    if header.attribution:
        metadata["sept.attribution"] = header.attribution
    columns = [pa.array([getattr(clip, name) for clip in clips], pa.string()) for name in TEXT_COLUMNS]
    columns.append(pa.FixedSizeListArray.from_arrays(values, type=pa.list_(item, header.dim)))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=metadata))
