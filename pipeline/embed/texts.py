"""The features of texts that trials ask the frozen text tower for: computed once and stored next to the audio's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pipeline.data.prepared import find_neighbors
from pipeline.embed.batches import as_in_an_encoder
from pipeline.store import EmbeddingStore
from pipeline.store.text_features import write_text_features
from sept_core.errors import InputError

if TYPE_CHECKING:
    from sept_core.datasets import EmbeddingTable
    from sept_core.encoders import Encoder
    from sept_core.hyper import Value
    from sept_core.semantic import Neighbors

__all__ = ["keep_texts"]

logger = logging.getLogger(__name__)


def keep_texts(encoder: Encoder, dataset: str, store: EmbeddingStore) -> int:
    """Encode the texts that trials of a data set will ask for, and store them; returns the number of texts.

    It finds them by making such trials: of zero-shot and of KgCoOp with SEPT, which asks for anchors, templates and all
    neighbours, on the base classes and on all. A trial that asks for other texts encodes these itself.

    Args:
        encoder: The encoder; the texts that its text tower has encoded before are forgotten.
        dataset: Canonical name of an embedded data set.
        store: Where its embeddings are.
    """
    from sept_core.trial import TrialInputs, TrialRun, make_config

    table = store.read(encoder.fingerprint, dataset)
    encoder.text.forget()
    with as_in_an_encoder():
        # Trials across data sets ask for the texts of few-shot, and for those of their targets.
        for protocol in ("base-to-new", "few-shot"):
            neighbors = _find(store, table, protocol)
            inputs = TrialInputs(encoder, table, neighbors)
            for method, hyper in _asking_most(table, neighbors).items():
                try:
                    config = make_config(inputs, method, hyper, shots=1, epochs=1, report_every=1, protocol=protocol)
                    run = TrialRun(config, inputs)
                    if method == "zero-shot":
                        run.advance()
                except InputError as error:
                    # For example too few clips of a class for this protocol: then there will be no such trials.
                    logger.info("no texts of %s trials of %s are stored: %s", method, dataset, error)
        kept = encoder.text.kept()
        if kept:
            write_text_features(store.files, encoder.fingerprint, dataset, kept)
    return sum(map(len, kept))


def _find(store: EmbeddingStore, table: EmbeddingTable, protocol: str) -> Neighbors | None:
    """The neighbours of a protocol's training classes; None if an own data set has none yet."""
    try:
        return find_neighbors(store.files, table.info, protocol=protocol)
    except InputError:
        return None


def _asking_most(table: EmbeddingTable, neighbors: Neighbors | None) -> dict[str, dict[str, Value]]:
    """Methods and hyper-parameters of the trials that ask for the most texts."""
    from sept_core.semantic import SEPT_HYPER, load_templates

    if neighbors is None:
        return {"zero-shot": {}, "kgcoop": {}}
    largest = {parameter.name: parameter.high for parameter in SEPT_HYPER}
    most: dict[str, Value] = {
        "n_neighbors": int(min(largest["n_neighbors"], *map(len, neighbors.by_class.values()))),
        "n_templates": int(min(largest["n_templates"], len(load_templates(table.info.kind)))),
    }
    return {"zero-shot": {}, "kgcoop+sept": most}
