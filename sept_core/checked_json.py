"""JSON documents that detect damage: readable, and with the digest of their own content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["canonical_json", "duration_s", "parse_json", "seal", "time_ms", "unseal"]

_END_OF_CALENDAR_MS = 253_370_764_800_000  # the year 9999: safe for calendars and time zones
_LONGEST_S = 1e9  # about thirty years
_Number = TypeVar("_Number", int, float)


def canonical_json(value: object) -> str:
    """JSON in which equal values have equal text: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def parse_json(text: bytes | str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value of an untrusted JSON text.

    Args:
        text: The text, bytes in UTF-8.
        pairs: Makes the value of an object from its pairs, in place of ``dict``.

    Raises:
        ValueError: It is not JSON, not UTF-8, or nested too deeply for Python.
    """
    try:
        return json.loads(text.decode("utf-8") if isinstance(text, bytes) else text, object_pairs_hook=pairs)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def seal(content: Mapping[str, Any]) -> bytes:
    """The document's bytes: keys sorted, indented, one final newline, with the ``sha256`` of the canonical content.

    Raises:
        ValueError: The content has a number that JSON cannot represent (NaN, infinity).
    """
    # Through JSON once, so that tuples and non-string keys are digested as they will be read.
    plain = json.loads(json.dumps(content, allow_nan=False))
    plain["sha256"] = _digest(plain)
    return (json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()


def unseal(data: bytes) -> dict[str, Any]:
    """The content of a sealed document, without its digest.

    Raises:
        ValueError: Not JSON, not an object, or the digest is missing or does not match.
    """
    try:
        content = parse_json(data)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    stated = content.pop("sha256", None)
    if stated is None:
        raise ValueError("the sha256 of the content is missing")
    try:
        found = _digest(content)
    except RecursionError as error:
        raise ValueError(f"nested too deeply: {error}") from error
    if stated != found:
        raise ValueError("the content does not match its sha256")
    return content


def time_ms(value: Any) -> int:
    """A stored time, in milliseconds since 1970.

    Raises:
        ValueError: Not a number, or outside of the calendar.
    """
    return _number(value, int, _END_OF_CALENDAR_MS, "milliseconds since 1970", "time")


def duration_s(value: Any) -> float:
    """A stored duration, in seconds.

    Raises:
        ValueError: Not a number, or implausibly long.
    """
    return _number(value, float, _LONGEST_S, "seconds", "duration")


def _number(value: Any, kind: Callable[[Any], _Number], end: float, unit: str, name: str) -> _Number:
    """A number from 0 to below ``end``."""
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"not a {name}: {error}") from error
    if not 0 <= number < end:
        raise ValueError(f"{number} {unit} is not a {name}")
    return number


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()
