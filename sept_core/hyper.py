"""Hyper-parameters, declared by the code that uses them, so that spaces and configurations are checked against it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sept_core.errors import InputError
from sept_core.suggestions import known_words, nearest_hint

__all__ = ["HyperParameter", "Value", "complete"]

Value = int | float | str


@dataclass(frozen=True)
class HyperParameter:
    """One hyper-parameter.

    Attributes:
        name: Its name in YAML files, in MLflow and in signatures.
        kind: ``int``, ``float`` or ``str``.
        doc: One line: its meaning, in few words up to the first punctuation mark, and the paper's symbol if it has one.
        default: Used where a configuration does not name it; None: depends on encoder or dataset, filled by the trial.
        low: Smallest allowed value (inclusive), for numbers.
        high: Largest allowed value (inclusive), for numbers.
        choices: The allowed words, for strings; empty: any.
        before: What stored values that do not name it mean: a release that did not have it yet wrote them.
        column: Whether it is a column of the trials in MLflow.
    """

    name: str
    kind: type[int] | type[float] | type[str]
    doc: str
    default: Value | None = None
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    before: Value | None = None
    column: bool = False

    @property
    def label(self) -> str:
        """Such as ``learning rate of SGD (lr)``, for an axis."""
        return f"{re.split('[,;:(]', self.doc)[0].strip()} ({self.name})"

    def of(self, values: Mapping[str, Value]) -> Value:
        """Its value in stored hyper-parameters.

        Raises:
            KeyError: It is missing, although every release stored it.
        """
        if self.name not in values and self.before is not None:
            return self.before
        return values[self.name]

    def check(self, value: object, where: str = "") -> Value:
        """The value, converted to its type.

        Raises:
            InputError: It has the wrong type, is not finite, or out of range.
        """
        place = where or self.name
        if self.kind is str:
            if not isinstance(value, str) or (self.choices and value not in self.choices):
                allowed = f"one of {', '.join(self.choices)}" if self.choices else "a string"
                fix = nearest_hint(value, self.choices).rstrip() if isinstance(value, str) else ""
                raise InputError(f"{value!r} is not {allowed}", where=place, fix=fix)
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{value!r} is not a number", where=place)
        if not math.isfinite(value):
            raise InputError(f"{value!r} is not a finite number", where=place)
        if self.kind is int and value != int(value):
            raise InputError(f"{value!r} is not a whole number", where=place)
        number = int(value) if self.kind is int else float(value)
        if not self.low <= number <= self.high:
            raise InputError(f"{value!r} is out of range", where=place, fix=f"allowed: {self.low:g} to {self.high:g}")
        return number


def complete(
    declared: Sequence[HyperParameter],
    given: Mapping[str, object],
    where: str,
    fallback: Mapping[str, Value] | None = None,
) -> dict[str, Value]:
    """All declared hyper-parameters with the given values checked and defaults filled in, sorted by name.

    Args:
        declared: The known hyper-parameters.
        given: The given values.
        where: Names their owner in errors.
        fallback: Values of those whose default depends on encoder or dataset.

    Raises:
        InputError: An unknown name, or a value that ``HyperParameter.check`` refuses.
    """
    known = {parameter.name: parameter for parameter in declared}
    for name in given:
        if name not in known:
            raise InputError(f"unknown hyper-parameter '{name}'", where=where, fix=known_words(name, known))
    values: dict[str, Value] = {}
    for name in sorted(known):
        parameter = known[name]
        value = given.get(name, parameter.default)
        if value is None:
            value = (fallback or {}).get(name)
        if value is None:
            raise InputError(f"hyper-parameter '{name}' has no value", where=where)
        values[name] = parameter.check(value, f"{where}: {name}")
    return values
