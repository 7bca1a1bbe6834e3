"""Reads numbers that YAML 1.1 misreads: one rule for all numbers in a sweep's file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

__all__ = ["as_number", "number_of", "wants_number"]

_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")


def number_of(text: str) -> int | float | None:
    """The number in a string (``1e-3``, which YAML 1.1 reads as a string), None if it is not a number."""
    if not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    return int(value) if "." not in text and value.is_integer() else value


def as_number(value: Any) -> Any:
    """A value for a numeric field: numeric strings become numbers, also in a list or mapping.

    Raises:
        ValueError: ``yes``, ``on``, ``true`` and the like, which Python would take for 1.
    """
    if isinstance(value, bool):
        raise ValueError("a number is needed here (YAML reads yes and on as true, no and off as false)")
    if isinstance(value, str):
        number = number_of(value)
        return value if number is None else number
    if isinstance(value, list | tuple):
        return [as_number(item) for item in value]
    return {key: as_number(item) for key, item in value.items()} if isinstance(value, dict) else value


def wants_number(annotation: Any) -> bool:
    """Whether a field takes numbers and no free text (a fixed word such as ``auto`` is allowed)."""
    kinds = set(_kinds(annotation))
    return bool(kinds & {int, float}) and not kinds - {int, float, type(None), Literal}


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types of the single values that an annotation allows."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _kinds(inner[0])
    elif origin is Literal:
        yield Literal
    elif origin in (Union, UnionType, tuple):
        for one in inner:
            if one is not Ellipsis:
                yield from _kinds(one)
    elif origin is dict:
        yield from _kinds(inner[1])
    else:
        yield annotation
