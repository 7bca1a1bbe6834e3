"""Counts and lists in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["Progress", "plural", "some"]

Progress = Callable[[int, int], None]
"""Called again and again with (how many are done, how many in all)."""

_SHOWN = 5


def plural(count: int, one: str, many: str = "") -> str:
    """Such as ``1 study`` and ``6 studies``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are: ``a, b, c, d, e and 7 more``."""
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
