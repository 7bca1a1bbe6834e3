"""The configuration and the result of a trial: plain values that are written to and read from JSON."""

from __future__ import annotations

import hashlib
import math
import platform
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from sept_core.datasets.crossing import CrossingRule
from sept_core.documents import canonical_json
from sept_core.schedule import Precision
from sept_core.semantic.blind import NamingNew
from sept_core.stored import DurationS, OmitEmpty, Stored, TimeMs
from sept_core.tested import Tested

__all__ = [
    "METHOD_VERSION",
    "Precision",
    "Report",
    "TrialConfig",
    "TrialResult",
    "canonical_json",
    "failed_result",
    "now_ms",
    "row_key_of",
    "row_of_study",
    "software",
    "study_key_of",
]

_PLAIN_FOLD = re.compile(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*")
_LONGEST_FOLD, _KEPT_OF_FOLD = 40, 24

METHOD_VERSION = 3
"""Increased whenever the numbers of an unchanged configuration change, so that old results are never mistaken for
new."""

_RULES_BEFORE: Mapping[int, str] = {
    2: "no full stop behind a learned prompt's name, and SEPT's neighbours were written knowing all class names",
}
"""By method version, what it and earlier versions did differently."""


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@cache
def software() -> tuple[dict[str, str], str]:
    """Versions of the software that can change a number, and the kind of machine."""
    versions = {"python": platform.python_version()}
    for package in ("numpy", "sept-sweep", "torch"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions, f"{platform.system()} {platform.machine()} {_processor()}".strip()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


def row_key_of(dataset: str, encoder: str, protocol: str, method: str) -> str:
    """Such as ``ESC10.mini.base-to-new.coop+sept``. None of the four parts contains a dot."""
    return f"{dataset}.{encoder}.{protocol}.{method}"


def study_key_of(row_key: str, fold: str | None) -> str:
    """The key of a study: the key of its row and, with ``strict``, its test fold.

    A key names folders, objects in buckets, MLflow runs and arguments on a command line. A fold of letters, digits,
    ``_`` and single ``-``, up to 40 characters, is used as it is; any other name is shortened and followed by ``--``
    and a hash of the whole name: ``fold-speaker_3--99b28ce9``.
    """
    if fold is None:
        return row_key
    if len(fold) <= _LONGEST_FOLD and _PLAIN_FOLD.fullmatch(fold):
        return f"{row_key}.fold-{fold}"
    kept = re.sub(r"[^A-Za-z0-9]+", "_", fold).strip("_")[:_KEPT_OF_FOLD]
    return f"{row_key}.fold-{kept}--{hashlib.sha256(fold.encode()).hexdigest()[:8]}"


def row_of_study(study_key: str) -> str:
    """The key of a study's row: the study's key without its test fold. None of the four parts contains a dot."""
    return ".".join(study_key.split(".")[:4])


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
    protocol: Literal["base-to-new", "cross-dataset"]
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


def _rule_of(config: TrialConfig) -> tuple[str, ...]:
    """One line for a trial of an earlier method version, none for one of this version."""
    later = [rule for version, rule in _RULES_BEFORE.items() if config.method_version <= version]
    if not later:
        return ()
    return (f"made under method version {config.method_version} (now {METHOD_VERSION}): {'; '.join(later)}",)


def _with_objective(metrics: dict[str, float]) -> dict[str, float]:
    if not math.isfinite(metrics.get("val/h", metrics.get("val/source", math.nan))):
        raise ValueError("val/h (or val/source) is missing or not finite")
    return metrics


@dataclass(frozen=True)
class Report(Stored):
    """One point of a trial's curve.

    Attributes:
        epoch: Epochs trained.
        metrics: ``val/h`` (the objective), ``val/base``, ``val/new`` (cross-dataset: ``val/source``, the objective) in
            percent, means over replicas on held-out clips; ``loss/total``, ``loss/base``, ``loss/intra``,
            ``loss/inter``, means over the epoch's steps and replicas.
        time_s: Seconds of training so far.
        timestamp_ms: When it was made. Neither of the two is compared.
    """

    epoch: int
    metrics: Annotated[dict[str, float], AfterValidator(_with_objective)]
    # Clocks are not compared: repeating a training gives an equal report.
    time_s: DurationS = field(compare=False)
    timestamp_ms: TimeMs = field(compare=False)

    @property
    def objective(self) -> float:
        """What a search maximises, in percent: the harmonic mean on held-out clips; cross-dataset: their accuracy."""
        return self.metrics["val/h"] if "val/h" in self.metrics else self.metrics["val/source"]


@dataclass(frozen=True)
class TrialResult(Stored):
    """How a trial ended.

    Attributes:
        validation: ``h``, ``base``, ``new`` in percent on held-out clips: means over replicas (``h`` is the mean of the
            replicas' harmonic means), their sample standard deviations ``*_std``, macro F1 ``*_f1``, and
            ``h_of_means``. Cross-dataset: ``source``.
        test: The same on test clips. Cross-dataset: ``source``, every target by name, and ``targets``, their mean.
            Never used to choose anything, except with ``selection: paper``, which validates on test clips.
            Base-to-new also ranks them among all names: ``all`` (all clips), ``all_base``, ``all_new``, their harmonic
            mean ``all_h``, and ``all_f1``; results of earlier releases lack these.
        replicas: One row per fold and seed.
        confusion: By group (``base``, ``new``): test clips by true class (rows) and predicted class (columns), all
            replicas.
        classnames: By group: names of the rows.
        train_seconds: Seconds of training and validation, all replicas.
        error: Traceback of a failed trial.
        warnings: What a reader must know about the data behind the result, one line each.
        tested: By fold and group, which test clips were classified correctly, by source recording or speaker; results
            of earlier releases have none.
    """

    signature: str
    config: TrialConfig
    state: Literal["finished", "failed"]
    curve: tuple[Report, ...]
    validation: dict[str, float]
    test: dict[str, float]
    replicas: tuple[dict[str, Any], ...]
    confusion: dict[str, list[list[int]]]
    classnames: dict[str, list[str]]
    train_seconds: DurationS
    finished_ms: TimeMs
    versions: dict[str, str]
    machine: str
    error: str = ""
    warnings: Annotated[tuple[str, ...], OmitEmpty] = ()
    tested: Annotated[Tested, OmitEmpty] = field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.signature != self.config.signature:
            raise ValueError(f"signature {self.signature} is not its configuration's ({self.config.signature})")
        objective = self.validation.get("h", self.validation.get("source", math.nan))
        if self.state == "finished" and not (self.curve and math.isfinite(objective)):
            raise ValueError("a finished trial without curve or validation metrics")
        warnings = tuple(dict.fromkeys((*_rule_of(self.config), *self.warnings)))
        return self if warnings == self.warnings else replace(self, warnings=warnings)

    @property
    def objective(self) -> float:
        """What a search maximises: the validation harmonic mean; cross-dataset: the source's held-out accuracy."""
        return self.validation["h"] if "h" in self.validation else self.validation["source"]


def failed_result(config: TrialConfig, curve: Sequence[Report], error: str) -> TrialResult:
    """The result of a trial that raised: its curve so far and the traceback."""
    versions, machine = software()
    return TrialResult(
        signature=config.signature,
        config=config,
        state="failed",
        curve=tuple(curve),
        validation={},
        test={},
        replicas=(),
        confusion={},
        classnames={},
        train_seconds=curve[-1].time_s if curve else 0.0,
        finished_ms=now_ms(),
        versions=versions,
        machine=machine,
        error=error,
    )
