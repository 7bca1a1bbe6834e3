"""All that is wrong with a sweep's file, found at one go, so that a person corrects it once."""

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

# Stand in for what is missing or wrong while the rest of the file is checked.
_STAND_INS: dict[str, Any] = {
    "name": "x",
    "encoder": "mini",
    "methods": ["coop"],
    "trials": 1,
    "training": {"epochs": 1, "report_every": 1},
}
# How many keys deep a wrong value is cut out; what stands beside it is checked.
_DEPTHS = {"budgets": 2, "priorities": 2, "neighbors": 2, "folds": 2, "presets": 2, "spaces": 3}


class Problems:
    """Errors, kept until all is checked."""

    def __init__(self) -> None:
        self._found: list[InputError] = []

    def add(self, *errors: InputError) -> None:
        """Keep errors."""
        self._found += errors

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps an ``InputError`` that is raised within; what comes after the block still runs."""
        try:
            yield
        except InputError as error:
            self.add(error)

    def refuse(self) -> None:
        """See that there are none.

        Raises:
            InputError: All that were kept.
        """
        if self._found:
            raise gathered(self._found)


def validate_most(document: dict[str, Any], where: str, problems: Problems) -> tuple[SweepSpec, set[str]]:
    """The sweep, without what is wrong with single values of it.

    Args:
        document: What the file holds.
        where: Names its file in errors.
        problems: Takes what is wrong.

    Returns:
        The sweep, and the keys in it that hold something else than the file says.

    Raises:
        InputError: So much is wrong that nothing else can be checked.
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
    """Take a value out of what it stands in; whether that leaves the rest as it was meant."""
    depth = _DEPTHS.get(str(place[0]), 1)
    if depth == 1 or len(place) < depth:
        return False
    for key in place[: depth - 1]:
        document = document[key]
    document.pop(place[depth - 1], None)
    return True
