"""Lists and counts in a line of an error or a finding."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["count_of", "some"]

_SHOWN = 5


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are: ``a, b, c, d, e and 7 more``."""
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def count_of(count: int, one: str) -> str:
    """Such as ``1 clip`` and ``12 clips``."""
    return f"{count} {one}{'' if count == 1 else 's'}"
