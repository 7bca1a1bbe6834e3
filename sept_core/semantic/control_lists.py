"""Lists of neighbours whose quality is known to be bad, to see what the quality of neighbours is worth.

They are made from the class names that are trained on and, for ``other-classes``, their lists: nothing else is known
to them, so they are as honest as the lists that they replace. A sweep names them in place of a file:
``neighbors: {ESC10: control:random-words}``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sept_core.datasets import prompt_name
from sept_core.errors import InputError
from sept_core.semantic.neighbors import Neighbors, broken_rules
from sept_core.suggestions import known_words

__all__ = ["CONTROLS", "CONTROL_PREFIX", "control_lists"]

CONTROL_PREFIX = "control:"
CONTROLS = ("random-words", "other-classes")
"""Pairs of words that have nothing to do with sounds; and the list of the next class in alphabetical order."""

_LENGTH = 20
_PLAIN = """
amber beige brass broad cotton curved dusty elegant faded fragile glossy golden grey hollow ivory leather linen
marble narrow oval painted pale plain polished purple round rusty scarlet shiny silver slim smooth square striped
tall tiny velvet wide wooden yellow
"""
_THINGS = """
almond balcony basket blanket bookshelf button cabinet candle carpet ceiling cupboard cushion drawer envelope folder
garden jacket ladder lemon mattress mirror mushroom napkin notebook orchard pencil picture pillow postcard potato
ribbon sandwich scarf statue suitcase teacup towel umbrella vase wallet
"""


def control_lists(name: str, neighbors: Neighbors, classnames: Sequence[str]) -> Neighbors:
    """The control lists of the classes that are trained on.

    Random words that contain the name of a class are left out. Terms of another class may contain its name, which lists
    for use must not: to pull a class towards another is what this control is for.

    Args:
        name: One of `CONTROLS`.
        neighbors: The lists of these classes that they replace.
        classnames: The classes.

    Raises:
        InputError: There are no control lists of this name, or only one class, which has no other.
    """
    if name not in CONTROLS:
        fix = known_words(name, CONTROLS)
        raise InputError(f"there are no control lists '{name}'", where=CONTROL_PREFIX + name, fix=fix)
    classes = sorted(map(prompt_name, classnames))
    if name == "other-classes" and len(classes) < 2:
        raise InputError("a single class has no other", where=CONTROL_PREFIX + name, fix="use random-words")
    origin = {"made by": f"sept, as {CONTROL_PREFIX}{name}"}
    if name == "other-classes":
        following = (*classes[1:], classes[0])
        lists = {one: tuple(neighbors.by_class[other]) for one, other in zip(classes, following, strict=True)}
        return replace(neighbors, by_class=lists, origin=origin)
    made = replace(neighbors, by_class=_random(neighbors.dataset, classes), origin=origin)
    wrong = {(broken.classname, broken.at) for broken in broken_rules(made, classnames)}
    kept = {
        one: tuple(term for at, term in enumerate(terms) if (one, at) not in wrong)
        for one, terms in made.by_class.items()
    }
    return replace(made, by_class=kept)


def _random(dataset: str, classes: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    pairs = [f"{plain} {thing}" for plain in _PLAIN.split() for thing in _THINGS.split()]
    # By hash, so that the words do not depend on a library's random numbers.
    pairs.sort(key=lambda pair: hashlib.sha256(f"{dataset}/{pair}".encode()).digest())
    count = min(_LENGTH, len(pairs) // len(classes))
    return {one: tuple(pairs[at * count : (at + 1) * count]) for at, one in enumerate(classes)}
