"""Finds all errors of a sweep's file at once, so that the user corrects it once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from pipeline.spec.read import problems_of
from pipeline.spec.sweep import SweepSpec
from sept_core.errors import InputError, gathered

__all__ = ["Problems", "validate_most"]

# Placeholders for missing or wrong values while the rest of the file is checked.
_STAND_INS: dict[str, Any] = {
    "name": "x",
    "encoder": "mini",
    "methods": ["coop"],
    "trials": 1,
    "training": {"epochs": 1, "report_every": 1},
}
# Maximum depth at which a wrong value is cut out; its neighbours are still checked.
_DEPTHS = {"budgets": 2, "priorities": 2, "neighbors": 2, "folds": 2, "presets": 2, "spaces": 3}


class Problems:
    """Collects errors until everything is checked."""

    def __init__(self) -> None:
        self._found: list[InputError] = []

    def add(self, *errors: InputError) -> None:
        """Keep errors."""
        self._found += errors

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Collects an ``InputError`` that is raised in the block; the code after the block still runs."""
        try:
            yield
        except InputError as error:
            self.add(error)

    def refuse(self) -> None:
        """Raise the collected errors, if any.

        Raises:
            InputError: All collected errors.
        """
        if self._found:
            raise gathered(self._found)


def validate_most(document: dict[str, Any], where: str, problems: Problems) -> tuple[SweepSpec, set[str]]:
    """The sweep without its wrong values.

    Args:
        document: The content of the file.
        where: Names the file in errors.
        problems: Collects the errors.

    Returns:
        The sweep, and the keys whose values differ from the file.

    Raises:
        InputError: There are so many errors that nothing else can be checked.
    """
    try:
        return SweepSpec.model_validate(document), set()
    except ValidationError as error:
        found = problems_of(SweepSpec, document, where, error)
    problems.add(*(problem for _, problem in found))
    rest = {key: deepcopy(value) for key, value in document.items() if isinstance(key, str)}
    unsure = {str(place[0]) for place, _ in found if place and not _cut(rest, place)}
    for key in unsure:
        rest.pop(key, None)
    try:
        return SweepSpec.model_validate({**_STAND_INS, **rest}), unsure | (_STAND_INS.keys() - rest.keys())
    except ValidationError:
        problems.refuse()
        raise


def _cut(document: Any, place: list[str | int]) -> bool:
    """Remove a value; returns whether the rest still means the same."""
    depth = _DEPTHS.get(str(place[0]), 1)
    if depth == 1 or len(place) < depth:
        return False
    for key in place[: depth - 1]:
        document = document[key]
    document.pop(place[depth - 1], None)
    return True
