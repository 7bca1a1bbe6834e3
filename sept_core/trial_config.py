"""The configuration of a trial: everything that its numbers depend on, its signature, and the names made of it."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from sept_core.checked_json import canonical_json
from sept_core.datasets.split_overlap import CrossingRule
from sept_core.protocol_facts import ProtocolName
from sept_core.schedule import Precision
from sept_core.semantic.new_class_names import NamingNew

__all__ = [
    "CELL_WORD",
    "METHOD_VERSION",
    "KeyParts",
    "Precision",
    "TrialConfig",
    "folder_of_study",
    "parts_of_key",
    "row_key_of",
    "row_of_study",
    "study_key_of",
]

_PLAIN_FOLD = re.compile(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*")
_LONGEST_FOLD, _KEPT_OF_FOLD = 40, 24

CELL_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")
"""The labels on an axis of a sweep, which become part of the keys of studies."""
_CELL = "@"

METHOD_VERSION = 3
"""Increased whenever the numbers of an unchanged configuration change, so that old results are never mistaken for
new."""


def row_key_of(dataset: str, encoder: str, protocol: str, method: str) -> str:
    """Such as ``ESC10.mini.base-to-new.coop+sept``. None of the four parts contains a dot."""
    return f"{dataset}.{encoder}.{protocol}.{method}"


def study_key_of(row_key: str, fold: str | None, cell: str = "") -> str:
    """The key of a study: the key of its row, with ``strict`` its test fold, and its cell if the sweep has axes, such
    as ``ESC10.mini.base-to-new.coop.fold-2@shots=4``.

    A key names folders, objects in buckets, MLflow runs and arguments on a command line. A fold of letters, digits,
    ``_`` and single ``-``, up to 40 characters, is used as it is; any other name is shortened and followed by ``--``
    and a hash of the whole name: ``fold-speaker_3--99b28ce9``.
    """
    at = f"{_CELL}{cell}" if cell else ""
    if fold is None:
        return row_key + at
    if len(fold) <= _LONGEST_FOLD and _PLAIN_FOLD.fullmatch(fold):
        return f"{row_key}.fold-{fold}{at}"
    kept = re.sub(r"[^A-Za-z0-9]+", "_", fold).strip("_")[:_KEPT_OF_FOLD]
    return f"{row_key}.fold-{kept}--{hashlib.sha256(fold.encode()).hexdigest()[:8]}{at}"


def row_of_study(study_key: str) -> str:
    """The key of a study's row: the study's key without its test fold. None of the four parts contains a dot."""
    key, at, cell = study_key.partition(_CELL)
    return ".".join(key.split(".")[:4]) + at + cell


class KeyParts(NamedTuple):
    """The parts of the key of a study or row; fold and cell are such as ``fold-2`` and ``shots=4``, or empty."""

    dataset: str
    encoder: str
    protocol: str
    method: str
    fold: str
    cell: str

    @property
    def key(self) -> str:
        """The key that these are the parts of."""
        named = ".".join(part for part in self[:5] if part)
        return f"{named}{_CELL}{self.cell}" if self.cell else named


def parts_of_key(key: str) -> KeyParts:
    """The parts of the key of a study or row.

    Raises:
        ValueError: It is not such a key.
    """
    key, _, cell = key.partition(_CELL)
    dataset, encoder, protocol, method, *fold = key.split(".", 4)
    return KeyParts(dataset, encoder, protocol, method, "".join(fold), cell)


def folder_of_study(study_key: str) -> str:
    """The folder of a study's trials, `TrialConfig.study_key`: the study's key without its cell, since trials belong to
    no sweep and so to no cell of one."""
    return study_key.partition(_CELL)[0]


class TrialConfig(BaseModel):
    """Everything that a trial's numbers depend on. Made by ``sept_core.trial.make_config``.

    Attributes:
        selection: What the search is measured on, see ``protocols.py``. ``paper`` is test data; ``strict`` has one
            fold.
        embeddings_digest: `EmbeddingTable.digest` of the dataset: embedding the same clips on another device gives
            different last digits, and so another trial.
        targets: Cross-dataset: name and embeddings digest of each target; else empty.
        left_out: By data set, the number of clips that are not used because the encoder heard their recording or, for a
            target, because the source has it, and a digest of their names. Not written if there are none, so that other
            signatures stay the same.
        hyper: Every hyper-parameter of the baseline, and of SEPT if it is on.
        folds: Test folds; one replica is trained per fold and seed.
        epochs: Passes over a replica's training clips; 0 for a baseline that does not train.
        report_every: Epochs between two reports.
        precision: Precision of the text tower in training; everything else is float32.
        crossing: What to do with training clips that a published split shares with its test clips.
        neighbors_digest: `Neighbors.digest` of the lists that are used: of the classes that are trained on.
        neighbors_naming_new: Whether neighbours that name a new class are kept, as they are by default, or left out,
            which uses the names of new classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method_version: int
    protocol: ProtocolName
    selection: Literal["heldout", "strict", "nested", "paper"]
    encoder: str
    encoder_fingerprint: str
    dataset: str
    manifest_digest: str
    embeddings_digest: str
    targets: dict[str, str] = {}
    left_out: dict[str, str] = {}
    neighbors_digest: str | None
    templates_digest: str | None
    baseline: str
    sept: bool
    hyper: dict[str, int | float | str]
    shots: int
    folds: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: int
    report_every: int
    batch_size: int
    precision: Precision = "float32"
    crossing: CrossingRule = "keep"
    neighbors_naming_new: NamingNew = "keep"

    @model_validator(mode="after")
    def _one_fold(self) -> TrialConfig:
        if self.selection == "strict" and len(self.folds) != 1:
            raise ValueError(f"selection 'strict' has one test fold, not {len(self.folds)}")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields that later releases added are omitted at their defaults, so that signatures stay the same."""
        written: dict[str, Any] = handler(self)
        return {name: value for name, value in written.items() if name not in _LATER or value != _LATER[name]}

    @property
    def signature(self) -> str:
        """16 hex digits; the same signature is the same result."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()[:16]

    @property
    def method(self) -> str:
        """Such as ``coop`` or ``coop+sept``."""
        return f"{self.baseline}+sept" if self.sept else self.baseline

    @property
    def row_key(self) -> str:
        """Such as ``ESC10.mini.base-to-new.coop+sept``: names a row of a report."""
        return row_key_of(self.dataset, self.encoder, self.protocol, self.method)

    @property
    def study_key(self) -> str:
        """The `row_key`; ``strict`` has a study for each test fold: ``ESC10.mini.base-to-new.coop+sept.fold-2``."""
        return study_key_of(self.row_key, self.folds[0] if self.selection == "strict" else None)


_LATER: dict[str, Any] = {"crossing": "keep", "left_out": {}, "neighbors_naming_new": "keep"}
