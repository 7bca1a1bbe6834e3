"""What trials read besides their configuration, loaded once per process by the driver and by every worker."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from pipeline.data.prepared import find_neighbors, read_prepared
from pipeline.spec import StudyInputs
from pipeline.store.embeddings import find_embeddings
from pipeline.store.fetch import fetch
from pipeline.store.open_store import open_files, root_option_of
from pipeline.store.text_features import Kept, read_text_features
from sept_core.datasets import EmbeddingTable
from sept_core.encoders import load_encoder
from sept_core.errors import InputError

if TYPE_CHECKING:
    from sept_core.encoders import Encoder
    from sept_core.trial import TrialInputs

__all__ = ["Loader", "load_inputs", "study_encoder", "study_table"]

Loader = Callable[[str, StudyInputs], "TrialInputs"]
"""Loads, from the results folder, what the trials of a study read."""


def load_inputs(root: str, inputs: StudyInputs) -> TrialInputs:
    """Encoder, embeddings (the user's, else the shipped ones), targets and, with SEPT, neighbours.

    Raises:
        InputError: Unknown encoder, files that are not of the encoder, no embeddings, no neighbours, or neighbours that
            break a rule; with what to do.
    """
    from sept_core.trial import TrialInputs

    encoder = study_encoder(inputs)
    digests = inputs.embeddings
    table = study_table(root, encoder, inputs.dataset, digests.get(inputs.dataset))
    # Use the text features that `sept embed` has computed.
    for dataset in (inputs.dataset, *inputs.targets):
        encoder.text.keep(_read_texts(root, encoder.fingerprint, dataset))
    return TrialInputs(
        encoder,
        table,
        find_neighbors(root, table.info, inputs.neighbors, inputs.protocol) if inputs.sept else None,
        {target: study_table(root, encoder, target, digests.get(target)) for target in inputs.targets},
    )


def study_encoder(inputs: StudyInputs) -> Encoder:
    """The encoder, loaded once per process.

    Raises:
        InputError: As `load_encoder`.
    """
    return _encoder(inputs.encoder, inputs.weights, inputs.text_model)


def study_table(root: str, encoder: Encoder, dataset: str, digest: str | None = None) -> EmbeddingTable:
    """A dataset's embeddings, read once per process; with a digest, those of this digest.

    Raises:
        InputError: There are none, or the dataset was prepared again after it was embedded.
    """
    return _read_table(root, encoder.fingerprint, encoder.name, dataset, digest)


@lru_cache(maxsize=2)
def _encoder(name: str, weights: str | None, text_model: str | None) -> Encoder:
    return load_encoder(name, weights, text_model, fetch)


@lru_cache(maxsize=16)
def _read_texts(root: str, fingerprint: str, dataset: str) -> Kept:
    return read_text_features(open_files(root), fingerprint, dataset)


@lru_cache(maxsize=16)
def _read_table(root: str, fingerprint: str, encoder: str, dataset: str, digest: str | None) -> EmbeddingTable:
    table = find_embeddings(fingerprint, dataset, root, encoder=encoder, digest=digest)
    prepared = read_prepared(root, dataset) if table.description is not None else None
    if prepared is not None and (prepared.info, prepared.manifest.digest) != (table.info, table.manifest_digest):
        raise InputError(
            f"the data set {dataset} was prepared again after it was embedded",
            fix=f"sept embed {dataset} --audio DIR --encoder {encoder}{root_option_of(open_files(root))}",
        )
    return table
