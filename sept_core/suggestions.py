"""Suggests the nearest known word for an unknown one in error messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["known_words", "nearest", "nearest_hint"]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant; None if none is similar.

    Capital letters, ``-``, ``_`` and spaces don't count. A prefix of exactly one known word stands for it.

    Args:
        word: The given word.
        known: The known words.
    """
    by_spelling: dict[str, str] = {}
    for right in known:
        by_spelling.setdefault(_spelling(right), right)
    given = _spelling(word)
    if given in by_spelling:
        return by_spelling[given]
    if near := get_close_matches(given, by_spelling, n=1):
        return by_spelling[near[0]]
    longer = [right for right in by_spelling if given and right.startswith(given)]
    return by_spelling[longer[0]] if len(longer) == 1 else None


def nearest_hint(word: str, known: Iterable[str]) -> str:
    """``did you mean 'coop'? `` with a space at the end, or an empty string if no known word is similar."""
    found = nearest(word, known)
    return f"did you mean '{found}'? " if found is not None else ""


def known_words(word: str, known: Iterable[str]) -> str:
    """What to do about an unknown word: the nearest known one, and all of them in the order given."""
    words = list(known)
    return f"{nearest_hint(word, words)}known: {', '.join(words)}"


def _spelling(word: str) -> str:
    return word.casefold().replace("-", "").replace("_", "").replace(" ", "")
