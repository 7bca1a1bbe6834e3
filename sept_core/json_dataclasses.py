"""Dataclasses that are written to and read from JSON by pydantic."""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from sept_core.checked_json import duration_s, time_ms

__all__ = ["DurationS", "OmitEmpty", "Stored", "TimeMs"]

TimeMs = Annotated[int, BeforeValidator(time_ms)]
DurationS = Annotated[float, BeforeValidator(duration_s)]
OmitEmpty = Field(exclude_if=lambda value: not value)
"""For a field that a later release added: it is not written when empty, so that stored bytes stay the same."""


class Stored:
    """Base of a dataclass whose values are stored as JSON, field by field.

    Values made in Python are not checked, those read from JSON are; unknown fields of later releases are ignored.
    """

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        written: dict[str, Any] = _adapter(type(self)).dump_python(self, mode="json")  # type: ignore[arg-type]
        return written

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Back from plain values.

        Raises:
            ValueError: Damaged: something is missing, of the wrong type or contradictory.
        """
        try:
            value: Self = _adapter(cls).validate_python(data)  # type: ignore[arg-type]
            return value
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = "".join(f"{part}: " for part in first["loc"])
            name = re.sub(r"[A-Z]", lambda letter: f" {letter[0].lower()}", cls.__name__)
            raise ValueError(f"not a{name}: {place}{first['msg'].removeprefix('Value error, ')}") from error


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
