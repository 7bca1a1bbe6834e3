"""Features of plain texts, stored next to a data set's embeddings, so that a trial starts at once.

    embeddings/<encoder fingerprint>/<dataset>/texts-<how they were computed>.parquet

Hand-crafted prompts, neighbours and anchors are the same for all trials of a study; encoding them takes a large text
model up to a minute on a CPU. They are stored list by list, as `TextTower.encode` receives them, and only used where
the same numbers would be computed: by the same release of torch, on the same kind of CPU, with as many threads.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.store.open_store import Files
from sept_core.datasets.embeddings import embeddings_folder

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Kept", "is_text_features", "read_text_features", "write_text_features"]

Kept = dict[tuple[str, ...], "Tensor"]
"""Features ``[texts, dim]`` by the list of texts."""


def write_text_features(files: Files, fingerprint: str, dataset: str, kept: Mapping[tuple[str, ...], Tensor]) -> str:
    """Store features, in place of those stored before.

    Args:
        files: The store.
        fingerprint: Of the encoder.
        dataset: What the texts are about.
        kept: float32 ``[texts, dim]`` by list, computed by this process with its current settings.

    Returns:
        Key of the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists = sorted(kept)
    rows = [(number, text) for number, texts in enumerate(lists) for text in texts]
    values = b"".join(kept[texts].contiguous().numpy().tobytes() for texts in lists)
    dim = kept[lists[0]].shape[1]
    item = pa.field("element", pa.float32(), nullable=False)
    schema = pa.schema(
        [
            pa.field("list", pa.int32(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("feature", pa.list_(item, dim), nullable=False),
        ],
        metadata={"sept.fingerprint": fingerprint, "sept.computed": _computed(), "sept.sha256": _digest(rows, values)},
    )
    flat = pa.Array.from_buffers(pa.float32(), len(rows) * dim, [None, pa.py_buffer(values)])
    columns = [
        pa.array([number for number, _ in rows], pa.int32()),
        pa.array([text for _, text in rows], pa.string()),
        pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(item, dim)),
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd", use_dictionary=["text"])
    key = _key(fingerprint, dataset)
    files.write(key, sink.getvalue().to_pybytes())
    return key


def read_text_features(files: Files, fingerprint: str, dataset: str) -> Kept:
    """The features that this process would compute with its settings; empty if there are none, or they are damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    try:
        table = pq.read_table(pa.BufferReader(files.read(_key(fingerprint, dataset))))
        rows = list(zip(table["list"].to_pylist(), table["text"].to_pylist(), strict=True))
        features = table["feature"].combine_chunks()
        values = features.flatten().to_numpy().tobytes()
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        said = metadata["sept.fingerprint"], metadata["sept.computed"], metadata["sept.sha256"]
        if said != (fingerprint, _computed(), _digest(rows, values)):
            return {}
        every = torch.frombuffer(bytearray(values), dtype=torch.float32).reshape(len(rows), features.type.list_size)
    except (FileNotFoundError, pa.ArrowException, OSError, KeyError, ValueError, AttributeError):
        return {}
    kept, start = {}, 0
    for _, group in itertools.groupby(rows, key=lambda row: row[0]):
        texts = tuple(text for _, text in group)
        kept[texts] = every[start : start + len(texts)]
        start += len(texts)
    return kept


def is_text_features(name: str) -> bool:
    """Whether a file next to embeddings is one of these, by its name."""
    return name.startswith("texts-") and name.endswith(".parquet")


def _computed() -> str:
    """What the last digits of features depend on, apart from texts and encoder."""
    import torch

    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


def _key(fingerprint: str, dataset: str) -> str:
    how = hashlib.sha256(_computed().encode()).hexdigest()[:8]
    return f"{embeddings_folder(fingerprint, dataset)}/texts-{how}.parquet"


def _digest(rows: list[tuple[int, str]], values: bytes) -> str:
    digest = hashlib.sha256(repr(rows).encode())
    digest.update(values)
    return digest.hexdigest()
