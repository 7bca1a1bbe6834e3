"""Which terms name a class: its name as whole words, in their English inflections."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

__all__ = ["name_pattern", "rivals_of"]

# The word, the figure and the ordinals of a digit name the same thing, and no suffix rule finds them. A class that is
# an ordinal ("first gear") is named only by its other spelling: "one gear" is something else. Words for groups ("pair",
# "trio") do not name a digit: whether they fit is for the reader of a list to judge.
_DIGITS = (
    ("zero", "0", "0th", "zeroth"),
    ("one", "1", "1st", "first"),
    ("two", "2", "2nd", "second"),
    ("three", "3", "3rd", "third"),
    ("four", "4", "4th", "fourth"),
    ("five", "5", "5th", "fifth"),
    ("six", "6", "6th", "sixth"),
    ("seven", "7", "7th", "seventh"),
    ("eight", "8", "8th", "eighth"),
    ("nine", "9", "9th", "ninth"),
    ("ten", "10", "10th", "tenth"),
)
_NUMBER_FORMS: Mapping[str, tuple[str, ...]] = {
    word: forms if word in forms[:2] else forms[2:] for forms in _DIGITS for word in forms
}


@lru_cache(maxsize=2048)
def name_pattern(name: str) -> re.Pattern[str]:
    """Finds a class name in a text: as whole words, in the singular, plural, possessive, as a figure or ordinal, or, if
    the name has several words, with its words in the -ing form.

    Args:
        name: In the form that prompts use; ``cafe/restaurant`` is a class with two names.
    """
    readings = []
    for reading in name.split("/"):
        words = re.findall(r"[^\W_]+", reading)
        if words:
            readings.append(r"[\W_]+".join(_word_pattern(word, phrase=len(words) > 1) for word in words))
    # A name without a letter or digit occurs nowhere as a word; an empty pattern would match everywhere.
    return re.compile(rf"\b(?:{'|'.join(readings)})\b" if readings else r"(?!)")


def rivals_of(name: str, others: Iterable[str]) -> dict[str, re.Pattern[str]]:
    """Patterns of the other classes that a term of this class may name.

    A class whose name is part of this one's ("car" of "car horn") is not among them: the word is part of its own name.
    """
    patterns = {other: name_pattern(other) for other in others if other != name}
    return {other: pattern for other, pattern in patterns.items() if not pattern.search(name)}


def _word_pattern(word: str, *, phrase: bool) -> str:
    forms = {word, f"{word}s", f"{word}es", *_NUMBER_FORMS.get(word, ())}
    if word.endswith("s") and not word.endswith("ss"):
        forms.add(word[:-1])
    if word.endswith("y"):
        forms.add(f"{word[:-1]}ies")
    if phrase:
        # In a single word this would forbid "training" for "train" and "parking" for "park".
        forms |= {f"{word}ing", f"{word.removesuffix('e')}ing"}
    return rf"(?:{'|'.join(map(re.escape, sorted(forms)))})(?:'s|s')?"
