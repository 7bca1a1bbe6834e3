"""The protocols, and what differs between them; whoever must know asks here instead of comparing names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from sept_core.errors import InputError
from sept_core.suggestions import known_words

__all__ = ["OBJECTIVES", "PROTOCOLS", "Protocol", "ProtocolName", "objective_among", "protocol_of"]

ProtocolName = Literal["base-to-new", "few-shot", "cross-dataset"]


@dataclass(frozen=True)
class Protocol:
    """What is trained on, what is measured, and how it may be chosen.

    Attributes:
        name: As in a spec.
        all_classes: Whether it trains on all classes of a dataset, so that none is new; else on the base classes.
        data: The keys of a sweep that name its datasets, those with studies first.
        selections: The selections that apply to it.
        validated: Names of the accuracies on validation clips; the objective of the search first.
        compared: Names of the test accuracies that a gain compares; the headline last.
    """

    name: ProtocolName
    all_classes: bool
    data: tuple[str, ...]
    selections: tuple[str, ...]
    validated: tuple[str, ...]
    compared: tuple[str, ...]

    @property
    def objective(self) -> str:
        """Name of the accuracy that the search maximises."""
        return self.validated[0]

    @property
    def headline(self) -> str:
        """Name of the test accuracy by which rows are compared."""
        return self.compared[-1]

    @property
    def selection_fix(self) -> str:
        """What to do about a selection that does not apply."""
        *others, last = self.selections
        return f"use selection: {', '.join(others)} or {last}"

    @property
    def transfers(self) -> bool:
        """Whether what was learned is tested on other datasets."""
        return "targets" in self.data

    @property
    def tests_untrained(self) -> bool:
        """Whether it tests classes that it did not train on, so that a method must be able to name such classes."""
        return self.transfers or not self.all_classes


# Without new classes there is none to hide, as `nested` does.
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "base-to-new",
            all_classes=False,
            data=("datasets",),
            selections=("heldout", "strict", "nested", "paper"),
            validated=("h", "base", "new"),
            compared=("base", "new", "h"),
        ),
        Protocol(
            "few-shot",
            all_classes=True,
            data=("datasets",),
            selections=("heldout", "strict", "paper"),
            validated=("accuracy",),
            compared=("accuracy",),
        ),
        Protocol(
            "cross-dataset",
            all_classes=True,
            data=("sources", "targets"),
            selections=("heldout", "strict"),
            validated=("source",),
            compared=("source", "targets"),
        ),
    )
}
assert tuple(PROTOCOLS) == get_args(ProtocolName)

OBJECTIVES = tuple(protocol.objective for protocol in PROTOCOLS.values())
"""Names of the accuracies that the searches maximise; a result has one of them."""


def protocol_of(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        InputError: There is none.
    """
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol '{name}'", fix=known_words(name, PROTOCOLS))
    return PROTOCOLS[name]


def objective_among(names: Iterable[str], prefix: str = "") -> str | None:
    """The name of the search objective among the names of measures, such as ``val/h``; None if it is missing.

    Args:
        names: Names of validation measures.
        prefix: What all these names begin with, such as ``val/``.
    """
    found = set(names)
    return next((f"{prefix}{name}" for name in OBJECTIVES if f"{prefix}{name}" in found), None)
