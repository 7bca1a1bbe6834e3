"""The rows of ``sept data list``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sept_core.errors import InputError

if TYPE_CHECKING:
    from sept_core.datasets import DatasetInfo

__all__ = ["dataset_rows"]


def dataset_rows(root: str) -> Iterator[dict[str, Any]]:
    """One row per dataset, registered and own: classes, folds, neighbours and embeddings.

    Args:
        root: The results folder or bucket.
    """
    from pipeline.data.prepared import own_datasets
    from sept_core.datasets import DATASETS, halves

    embedded = _embedded(root)
    for info in (*DATASETS.values(), *own_datasets(root)):
        base, new = halves(info.classnames)
        yield {
            "dataset": info.name,
            "kind": info.kind,
            "classes": len(info.classnames),
            "base": len(base),
            "new": len(new),
            "folds": list(info.folds),
            "benchmark": not info.extra,
            "own": info.name not in DATASETS,
            "neighbors": _has_neighbors(root, info, "base-to-new"),
            "neighbors_all": _has_neighbors(root, info, "cross-dataset"),
            "embeddings": embedded.get(info.name, []),
        }


def _has_neighbors(root: str, info: DatasetInfo, protocol: str) -> bool:
    from pipeline.data.prepared import find_neighbors

    try:
        find_neighbors(root, info, protocol=protocol)
    except InputError:
        return False
    return True


def _embedded(root: str) -> dict[str, list[str]]:
    """By dataset: the encoders of its embeddings, under the root or shipped with the package."""
    from pipeline.store import EmbeddingStore
    from sept_core.datasets.embeddings import BUNDLED

    found: dict[str, list[str]] = {}
    for where, note in ((root, ""), (BUNDLED, " (bundled)")):
        store = EmbeddingStore(where)
        for key in store.files.list("embeddings"):
            parts = key.split("/")
            if len(parts) == 4 and parts[3] == "manifest.json":
                manifest = store.manifest(parts[1], parts[2])
                if manifest is not None:
                    found.setdefault(parts[2], []).append(f"{manifest['encoder']}{note}")
    return found
