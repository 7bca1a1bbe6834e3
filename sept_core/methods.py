"""The methods that a trial can train, by their names in specs, and their hyper-parameters; loads no torch."""

from __future__ import annotations

from sept_core.errors import InputError
from sept_core.hyper import HyperParameter
from sept_core.learners import LEARNERS, get_learner
from sept_core.semantic.loss import SEPT_HYPER
from sept_core.suggestions import known_words

__all__ = [
    "NESTED_CLASSES",
    "TRANSFER_SELECTIONS",
    "declared_hyper",
    "hyper_parameters",
    "known_methods",
    "split_method",
]

NESTED_CLASSES = 4
"""Smallest number of base classes that the selection ``nested`` can split again, two and two."""

TRANSFER_SELECTIONS = ("heldout", "strict")
"""The selections of cross-dataset: it trains on all classes, so there are no new classes to hide, as ``nested``
does."""

_SEPT = "+sept"


def split_method(method: str) -> tuple[str, bool]:
    """Baseline, and whether SEPT is on: ``coop+sept`` is ``("coop", True)``."""
    baseline = method.removesuffix(_SEPT)
    return baseline, baseline != method


def known_methods() -> tuple[str, ...]:
    """Every method that a sweep can run: the baselines, and with ``+sept`` those that SEPT can act on."""
    measured = {name: learner for name, learner in LEARNERS.items() if learner.unseen}
    plugged = tuple(f"{name}{_SEPT}" for name, learner in measured.items() if learner.trainable)
    return (*measured, *plugged)


def hyper_parameters(baseline: str, sept: bool) -> dict[str, HyperParameter]:
    """The hyper-parameters of a baseline, with or without SEPT, by name.

    Raises:
        InputError: Unknown baseline, one that cannot be measured by any protocol, or SEPT on one that trains nothing.
    """
    if "+" in baseline and baseline not in LEARNERS:
        # SEPT is misspelt (coop+spet), or given twice.
        method = f"{baseline}{_SEPT}" if sept else baseline
        raise InputError(f"unknown method '{method}'", fix=known_words(method, known_methods()))
    learner = get_learner(baseline)
    if not learner.unseen:
        raise InputError(
            f"'{baseline}' cannot name a class that it was not trained on",
            fix="base-to-new, cross-dataset and SEPT all need that; train it with sept_core.training alone",
        )
    if sept and not learner.trainable:
        raise InputError(f"'{baseline}' learns nothing, so SEPT has nothing to act on", fix=f"use '{baseline}' alone")
    declared = (*learner.hyper, *(SEPT_HYPER if sept else ()))
    return {parameter.name: parameter for parameter in declared}


def declared_hyper() -> dict[str, HyperParameter]:
    """The hyper-parameters of all methods by name."""
    declared = (*(parameter for learner in LEARNERS.values() for parameter in learner.hyper), *SEPT_HYPER)
    return {parameter.name: parameter for parameter in declared}
