"""The result of a trial and the points of its curve: plain values that are written to and read from JSON."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    model_validator,
)

from sept_core.checked_json import canonical_json
from sept_core.correct_counts import Tested
from sept_core.json_dataclasses import DurationS, OmitEmpty, Stored, TimeMs
from sept_core.protocol_facts import OBJECTIVES, objective_among
from sept_core.trial_config import METHOD_VERSION, TrialConfig

__all__ = [
    "Report",
    "TrialResult",
    "canonical_json",
    "failed_result",
    "now_ms",
    "software",
]

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


def _rule_of(config: TrialConfig) -> tuple[str, ...]:
    """One line for a trial of an earlier method version, none for one of this version."""
    later = [rule for version, rule in _RULES_BEFORE.items() if config.method_version <= version]
    if not later:
        return ()
    return (f"made under method version {config.method_version} (now {METHOD_VERSION}): {'; '.join(later)}",)


def _with_objective(metrics: dict[str, float]) -> dict[str, float]:
    name = objective_among(metrics, "val/")
    if name is None or not math.isfinite(metrics[name]):
        raise ValueError(f"the objective (val/{', val/'.join(OBJECTIVES)}) is missing or not finite")
    return metrics


@dataclass(frozen=True)
class Report(Stored):
    """One point of a trial's curve.

    Attributes:
        epoch: Epochs trained.
        metrics: ``val/h`` (the objective), ``val/base``, ``val/new`` (few-shot: ``val/accuracy``, cross-dataset:
            ``val/source``, the objectives) in percent, means over replicas on held-out clips; ``loss/total``,
            ``loss/base``, ``loss/intra``, ``loss/inter``, means over the epoch's steps and replicas. With SEPT, in
            percent (reports of earlier releases lack them): ``sept/active_intra`` and ``sept/active_inter``, the hinges
            whose margin is violated, means over the same; and ``sept/gradient``, on the epoch's first step, the norm of
            the gradient of lambda (L_intra + L_inter) as a share of it plus the norm of the base loss's, the mean over
            replicas (each norm is over all parameters of a replica).
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
        """What a search maximises, in percent: the harmonic mean on held-out clips; without new classes their
        accuracy."""
        name = objective_among(self.metrics, "val/")
        assert name is not None  # checked when it was made
        return self.metrics[name]


@dataclass(frozen=True)
class TrialResult(Stored):
    """How a trial ended.

    Attributes:
        validation: ``h``, ``base``, ``new`` in percent on held-out clips: means over replicas (``h`` is the mean of the
            replicas' harmonic means), their sample standard deviations ``*_std``, macro F1 ``*_f1``, and
            ``h_of_means``. Few-shot: ``accuracy``; cross-dataset: ``source``.
        test: The same on test clips. Cross-dataset: also every target by name, and ``targets``, their mean.
            Never used to choose anything, except with ``selection: paper``, which validates on test clips.
            Base-to-new also ranks them among all names: ``all`` (all clips), ``all_base``, ``all_new``, their harmonic
            mean ``all_h``, and ``all_f1``; results of earlier releases lack these.
        replicas: One row per fold and seed.
        confusion: By group (``base``, ``new``; few-shot: ``accuracy``): test clips by true class (rows) and predicted
            class (columns), all replicas.
        classnames: By group: names of the rows.
        train_seconds: Seconds of training and validation, all replicas.
        error: Traceback of a failed trial.
        warnings: What a reader must know about the data behind the result, one line each.
        tested: By fold and group, which test clips were classified correctly, by source recording or speaker; results
            of earlier releases have none.
        parameters: Number of trained parameters of one replica; 0 if nothing is trained, and in results of earlier
            releases.
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
    # Not compared: results of earlier releases do not have it.
    parameters: Annotated[int, OmitEmpty] = field(default=0, compare=False)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.signature != self.config.signature:
            raise ValueError(f"signature {self.signature} is not its configuration's ({self.config.signature})")
        name = objective_among(self.validation)
        if self.state == "finished" and not (self.curve and name and math.isfinite(self.validation[name])):
            raise ValueError("a finished trial without curve or validation metrics")
        warnings = tuple(dict.fromkeys((*_rule_of(self.config), *self.warnings)))
        return self if warnings == self.warnings else replace(self, warnings=warnings)

    @property
    def objective(self) -> float:
        """What a search maximises: the validation harmonic mean; without new classes the accuracy on held-out
        clips."""
        name = objective_among(self.validation)
        assert name is not None  # a finished result has it
        return self.validation[name]


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
