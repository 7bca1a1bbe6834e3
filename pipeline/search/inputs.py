"""What trials read besides their configuration: loaded once per process, by the driver and by every worker alike."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache

from pipeline.store.embeddings import find_embeddings
from sept_core.datasets import EmbeddingTable
from sept_core.encoders import Encoder, load_encoder
from sept_core.errors import InputError
from sept_core.semantic import load_neighbors
from sept_core.trial import TrialInputs

__all__ = ["DEFAULT_PROVIDER", "load_inputs", "resolve_provider"]

DEFAULT_PROVIDER = f"{__name__}:load_inputs"


def load_inputs(root: str, encoder: str, dataset: str, sept: bool) -> TrialInputs:
    """Encoder, embeddings (the user's, else the shipped ones) and, with SEPT, neighbours of a dataset.

    Raises:
        InputError: Unknown encoder, no embeddings, no neighbours; with what to do.
    """
    return TrialInputs(_encoder(encoder), _table(root, encoder, dataset), load_neighbors(dataset) if sept else None)


def resolve_provider(path: str) -> Callable[[str, str, str, bool], TrialInputs]:
    """The function (root, encoder, dataset, with SEPT) -> inputs that ``package.module:function`` names.

    Raises:
        InputError: There is no such function.
    """
    module, _, name = path.partition(":")
    try:
        provider: Callable[[str, str, str, bool], TrialInputs] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"no such function: {error}", where=f"provider {path}", mend="give module:function") from error
    return provider


@lru_cache(maxsize=2)
def _encoder(name: str) -> Encoder:
    return load_encoder(name)


@lru_cache(maxsize=4)
def _table(root: str, encoder: str, dataset: str) -> EmbeddingTable:
    return find_embeddings(_encoder(encoder).fingerprint, dataset, root, encoder=encoder)
