"""Neighbours: the N related terms p_i^n that SEPT (arXiv 2601.20867) gives each training class c_i.

Neighbour lists are data for people to read and review: one JSON file per dataset and kind,

    {"dataset": "ESC10",
     "written_from": ["chainsaw", "clock tick", ...],
     "origin": {"model": "...", "date": "...", "prompt": "..."},
     "neighbors": {"chainsaw": ["gas saw", ...], ...}}

with the best terms first, so that a trial takes the first N. There are two kinds. For base-to-new, lists of the base
classes, written and checked without the names of the new ones; for cross-dataset, lists of all classes, since all
classes of a source are trained on. ``written_from`` names every class that the writer knew, so that the file itself
shows what its lists may depend on. Files of earlier releases lack it: their writers knew all listed classes.

The rules of `check_neighbors` apply to the training classes: a neighbour that names another training class would pull a
class towards its rival. Terms that happen to name a class which is not trained on are counted, not forbidden
(`sept_core.semantic.new_class_names`): to avoid them, the writer would have to know that class.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sept_core.datasets import prompt_name
from sept_core.errors import InputError
from sept_core.semantic.naming import rivals_of

__all__ = ["MAX_NEIGHBOR_LENGTH", "BrokenRule", "Neighbors", "broken_rules", "check_neighbors", "refuse_broken"]

MAX_NEIGHBOR_LENGTH = 60
"""Longest neighbour, in characters: a term, not a sentence; the text towers take 77 tokens with the context."""


@dataclass(frozen=True)
class Neighbors:
    """The neighbour lists of a dataset.

    Args:
        dataset: Name of the dataset.
        by_class: Neighbours of each class, best first; keys and terms in the form that prompts use
            (`sept_core.datasets.prompt_name`).
        origin: Where the lists come from: model, date, prompt. Not part of the `digest`.
        written_from: The classes that the writer knew, in the form that prompts use, sorted; None for the listed ones.
            Not part of the `digest`.
    """

    dataset: str
    by_class: Mapping[str, tuple[str, ...]]
    origin: Mapping[str, str] = field(default_factory=dict)
    written_from: tuple[str, ...] | None = None

    @property
    def known(self) -> frozenset[str]:
        """The classes that the writer of the lists knew, in the form that prompts use."""
        return frozenset(self.by_class if self.written_from is None else self.written_from)

    def only(self, classnames: Iterable[str]) -> Neighbors:
        """The existing lists of these classes only; the classes that the writer knew stay the same."""
        names = [prompt_name(name) for name in classnames]
        lists = {name: self.by_class[name] for name in names if name in self.by_class}
        return replace(self, by_class=lists, written_from=tuple(sorted(self.known)))

    def to_json(self) -> dict[str, Any]:
        """The document that `read_neighbors` reads."""
        return {
            "dataset": self.dataset,
            "written_from": sorted(self.known),
            "origin": dict(self.origin),
            "neighbors": {name: list(terms) for name, terms in self.by_class.items()},
        }

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of `by_class` as canonical JSON; part of a trial's signature."""
        canonical = json.dumps(
            {name: list(terms) for name, terms in self.by_class.items()}, sort_keys=True, separators=(",", ":")
        )
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:16]

    def first(self, classnames: Sequence[str], n: int) -> list[list[str]]:
        """The first ``n`` neighbours of each class, C x n terms in the order of ``classnames``.

        Raises:
            InputError: ``n`` is below 1, a class has no list, or its list is shorter than ``n``.
        """
        if n < 1:
            raise InputError(f"n_neighbors is {n}", fix="ask for at least 1 neighbour per class")
        where = f"neighbours of {self.dataset}"
        chosen = []
        for classname in classnames:
            terms = self.by_class.get(prompt_name(classname))
            if terms is None:
                raise InputError(f"no neighbours for the class '{classname}'", where=where, fix="add a list for it")
            if len(terms) < n:
                raise InputError(
                    f"class '{classname}' has {len(terms)} neighbours, {n} were requested",
                    where=where,
                    fix=f"lower n_neighbors to {len(terms)} or add terms to the list" if terms else "add terms to it",
                )
            chosen.append(list(terms[:n]))
        return chosen


def refuse_broken(neighbors: Neighbors, classnames: Sequence[str], where: str, fix: str = "correct the list") -> None:
    """Refuse lists that break a rule of `check_neighbors`.

    Raises:
        InputError: With the first broken rule and their number.
    """
    broken = check_neighbors(neighbors, classnames)
    if broken:
        more = f" (the first of {len(broken)} broken rules)" if len(broken) > 1 else ""
        raise InputError(broken[0] + more, where=where, fix=fix)


@dataclass(frozen=True)
class BrokenRule:
    """A rule that lists of neighbours break; ``str()`` gives one line.

    Args:
        classname: The class whose list it is, or that has none, in the form that prompts use.
        at: Index of the term; None for the whole list.
        what: What is wrong.
    """

    classname: str
    at: int | None
    what: str

    def __str__(self) -> str:
        return self.what


def check_neighbors(neighbors: Neighbors, classnames: Sequence[str]) -> list[str]:
    """Every rule that the lists break, a line each; empty if there is none.

    The rules: each of ``classnames`` has a list and no other class does; a neighbour is a text of 1 to
    `MAX_NEIGHBOR_LENGTH` characters in the form that prompts use, occurs once in these lists, is not the name of its
    own class, and does not contain the name of another of ``classnames`` in a form that `name_pattern` finds.

    Args:
        neighbors: The lists.
        classnames: The classes that are trained on with them: the base classes, or all (cross-dataset).
    """
    return [str(broken) for broken in broken_rules(neighbors, classnames)]


def broken_rules(neighbors: Neighbors, classnames: Sequence[str]) -> list[BrokenRule]:
    """`check_neighbors`, with the position of each broken rule."""
    names = [prompt_name(name) for name in classnames]
    broken = [
        BrokenRule(name, None, f"class '{name}' has no neighbours")
        for name in names
        if not neighbors.by_class.get(name)
    ]
    broken += [
        BrokenRule(name, None, f"'{name}' is no class of {neighbors.dataset}")
        for name in neighbors.by_class
        if name not in names
    ]
    owner: dict[str, str] = {}
    for name, terms in neighbors.by_class.items():
        rivals = rivals_of(name, names)
        for at, term in enumerate(terms):
            broken += [
                BrokenRule(name, at, f"class '{name}': neighbour {term!r} {rule}")
                for rule in _broken_rules(term, name, owner, rivals)
            ]
            if isinstance(term, str):  # a list from JSON cannot be a key
                owner.setdefault(term, name)
    return broken


def _broken_rules(
    term: object, name: str, owner: Mapping[str, str], rivals: Mapping[str, re.Pattern[str]]
) -> list[str]:
    if not isinstance(term, str):
        return ["is not a string"]
    if not term.strip():
        return ["is empty"]
    broken = []
    if term != prompt_name(term):
        broken.append("is not in the form that prompts use (lower case, no underscores)")
    if len(term) > MAX_NEIGHBOR_LENGTH:
        broken.append(f"has {len(term)} characters, more than {MAX_NEIGHBOR_LENGTH}")
    if term == name:
        broken.append("is the name of the class itself")
    if term in owner:
        broken.append("is there twice" if owner[term] == name else f"is also a neighbour of '{owner[term]}'")
    broken += [f"contains the name of the class '{other}'" for other, found in rivals.items() if found.search(term)]
    return broken
