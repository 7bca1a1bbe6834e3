"""The methods that a trial can train, by their names in specs, and their hyper-parameters; loads no torch.

A method is a baseline and modifiers, such as ``coop``, ``coop+zebra`` or ``coop+zebra+sept``. SEPT is the last one, and
what it is added to is called its baseline: that of ``coop+zebra+sept`` is ``coop+zebra``.
"""

from __future__ import annotations

from sept_core.errors import InputError
from sept_core.hyper import HyperParameter
from sept_core.learners import LEARNERS, MODIFIERS, get_learner
from sept_core.protocol_facts import PROTOCOLS, protocol_of
from sept_core.semantic.loss import SEPT_HYPER
from sept_core.suggestions import known_words

__all__ = [
    "NESTED_CLASSES",
    "check_method",
    "declared_hyper",
    "hyper_by_part",
    "hyper_parameters",
    "known_methods",
    "split_method",
]

NESTED_CLASSES = 4
"""Smallest number of base classes that the selection ``nested`` can split again, two and two."""

_SEPT = "+sept"


def split_method(method: str) -> tuple[str, bool]:
    """Baseline, and whether SEPT is on: ``coop+sept`` is ``("coop", True)``."""
    baseline = method.removesuffix(_SEPT)
    return baseline, baseline != method


def known_methods() -> tuple[str, ...]:
    """The baselines, each also with one modifier, and with ``+sept`` those that SEPT can act on."""
    modified = [
        f"{name}+{own}"
        for name, learner in LEARNERS.items()
        if learner.unseen and learner.trainable
        for own in MODIFIERS
    ]
    return (*LEARNERS, *modified, *(f"{name}{_SEPT}" for name in (*LEARNERS, *modified) if _takes_sept(name)))


def check_method(method: str, protocol: str) -> None:
    """Check that a protocol can measure a method.

    Raises:
        InputError: Unknown method or protocol, or a method that cannot name the classes that the protocol tests.
    """
    baseline, sept = split_method(method)
    hyper_parameters(baseline, False)  # an unknown method has its own error
    if protocol_of(protocol).tests_untrained and not get_learner(baseline).unseen:
        trained = ", ".join(known.name for known in PROTOCOLS.values() if not known.tests_untrained)
        raise InputError(
            f"'{baseline}' cannot name a class that it was not trained on, and {protocol} tests such classes",
            fix=f"use protocol: {trained}, or leave it out",
        )
    hyper_parameters(baseline, sept)


def hyper_parameters(baseline: str, sept: bool) -> dict[str, HyperParameter]:
    """The hyper-parameters of a baseline, with or without SEPT, by name.

    Raises:
        InputError: Unknown baseline, or SEPT on one whose text features are not learned.
    """
    method = f"{baseline}{_SEPT}" if sept else baseline
    first, *modifiers = baseline.split("+")
    if modifiers and (first not in LEARNERS or not MODIFIERS.keys() >= set(modifiers)):
        # A part is misspelt (coop+spet), or SEPT is given twice.
        raise InputError(f"unknown method '{method}'", fix=known_words(method, known_methods()))
    learner = get_learner(baseline)
    if sept and not learner.trainable:
        raise InputError(f"'{baseline}' learns nothing, so SEPT has nothing to act on", fix=f"use '{baseline}' alone")
    if sept and not _takes_sept(baseline):
        raise InputError(
            f"'{baseline}' does not learn text features of any name, so SEPT has nothing to act on",
            fix=f"use '{baseline}' alone",
        )
    declared = (*learner.hyper, *(SEPT_HYPER if sept else ()))
    return {parameter.name: parameter for parameter in declared}


def hyper_by_part(method: str) -> dict[str, dict[str, HyperParameter]]:
    """The hyper-parameters of a method by the part that brings them: its baseline, its modifiers, SEPT.

    A part has a space of its own in ``search_spaces/`` and in a sweep's ``spaces``.

    Raises:
        InputError: As `hyper_parameters`.
    """
    baseline, sept = split_method(method)
    hyper_parameters(baseline, sept)
    first, *modifiers = baseline.split("+")
    parts = {first: LEARNERS[first].hyper} | {name: MODIFIERS[name].adds for name in modifiers}
    if sept:
        parts["sept"] = SEPT_HYPER
    return {part: {parameter.name: parameter for parameter in declared} for part, declared in parts.items()}


def declared_hyper() -> dict[str, HyperParameter]:
    """The hyper-parameters of all methods by name."""
    learners = (parameter for learner in LEARNERS.values() for parameter in learner.hyper)
    modifiers = (parameter for modifier in MODIFIERS.values() for parameter in modifier.adds)
    return {parameter.name: parameter for parameter in (*learners, *modifiers, *SEPT_HYPER)}


def _takes_sept(baseline: str) -> bool:
    learner = get_learner(baseline)
    return learner.trainable and learner.learns_text and learner.unseen
