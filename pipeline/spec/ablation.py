"""An ablation in the spec of a sweep: fixed configurations instead of a search. Written by ``sept ablate``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from pydantic import Field

from pipeline.spec.models import Model
from sept_core.hyper import Value
from sept_core.trial_config import TrialConfig, parts_of_key

__all__ = ["VARIANTS", "Ablation", "AblationTrial", "ablation_name", "is_ablation"]

VARIANTS = (
    "SEPT off",
    "intra only",
    "inter only",
    "no margins",
    "constant margins",
    "N halved",
    "N doubled",
    "T halved",
    "T doubled",
)
"""The variants in the order of the tables. N: neighbours per class. T: templates behind a margin."""

_LONGEST_NAME, _DIGEST = 64, 8
_MARK = ".ablate."


class AblationTrial(Model):
    """One configuration of an ablation.

    Attributes:
        method: Such as ``coop+sept``; ``coop`` for a variant without SEPT.
        hyper: All hyper-parameters of the method.
        folds: The test folds that it is trained for, in order, and the variant that it is for each of them: each test
            fold has a chosen configuration of its own, and variants of two of these may be equal.
    """

    method: str
    hyper: dict[str, Value]
    folds: dict[str, str] = Field(min_length=1)


class Ablation(Model):
    """The ablation of a study: variants of the configurations that a sweep has chosen, each trained for the test folds
    of its original.

    Attributes:
        sweep: The sweep whose study it is.
        row: The row of its report, such as ``ESC10.mini.base-to-new.coop+sept``.
        trials: The configurations.
        remarks: By variant: why it is left out for some folds or all, or how it differs from its name.
    """

    sweep: str
    row: str
    trials: tuple[AblationTrial, ...] = Field(min_length=1)
    remarks: dict[str, str] = Field(default_factory=dict)


def ablation_name(sweep: str, row: str, chosen: Mapping[str, TrialConfig]) -> str:
    """Name of the sweep with the ablation of a row: the same as long as the same trials are chosen.

    Args:
        sweep: The sweep of the row.
        row: Key of the row.
        chosen: By test fold the chosen configuration.
    """
    parts = parts_of_key(row)
    content = json.dumps([row, [(fold, config.signature) for fold, config in sorted(chosen.items())]])
    digest = hashlib.sha256(content.encode()).hexdigest()[:_DIGEST]
    readable = f"{sweep}{_MARK}{parts.dataset}.{parts.method.removesuffix('+sept')}"
    return f"{readable[: _LONGEST_NAME - _DIGEST - 1]}.{digest}"


def is_ablation(sweep: str) -> bool:
    """Whether this is the name of an ablation."""
    return _MARK in sweep
