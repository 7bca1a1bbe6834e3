"""Neighbours: the N related terms p_i^n that SEPT (arXiv 2601.20867) gives each training class c_i.

A neighbour list is data that a person can read and review: one JSON file per dataset and kind,

    {"dataset": "ESC10",
     "written_from": ["chainsaw", "clock tick", ...],
     "origin": {"model": "...", "date": "...", "prompt": "..."},
     "neighbors": {"chainsaw": ["gas saw", ...], ...}}

with the best terms first, so that a trial takes the first N. There are two kinds. For base-to-new, lists of the base
classes, written and checked without the names of the new ones; for cross-dataset, lists of all classes, since all of a
source's are trained on. ``written_from`` names every class that the writer knew of, so that the file itself shows what
its lists can know. A file without it, as earlier releases wrote them, was written knowing all classes that it lists.

The rules that `check_neighbors` enforces hold among the classes that are trained on: a neighbour that names another of
them would pull a class towards its rival. Which terms happen to name a class that is not trained on is counted, not
forbidden (`sept_core.semantic.blind`): to forbid it, the writer would have to know that class.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from shlex import quote
from typing import Any

from sept_core.datasets import prompt_name
from sept_core.documents import parse_json
from sept_core.errors import InputError
from sept_core.nearest import known_words
from sept_core.semantic.naming import rivals_of

__all__ = [
    "MAX_NEIGHBOR_LENGTH",
    "BrokenRule",
    "Neighbors",
    "broken_rules",
    "check_neighbors",
    "load_neighbors",
    "neighbor_kind",
    "parse_neighbors",
    "read_neighbors",
    "refuse_broken",
]

# The folders of the packaged lists.
_KINDS: Mapping[str, str] = {"base-to-new": "base", "cross-dataset": "all"}

MAX_NEIGHBOR_LENGTH = 60
"""Longest neighbour, in characters: a term, not a sentence; the text towers take 77 tokens with the context."""


def neighbor_kind(protocol: str) -> str:
    """Which lists a protocol takes: those of ``base`` classes, or of ``all``; also the name of their folder.

    Raises:
        InputError: No such protocol.
    """
    if protocol not in _KINDS:
        raise InputError(f"unknown protocol '{protocol}'", fix=known_words(protocol, _KINDS))
    return _KINDS[protocol]


@dataclass(frozen=True)
class Neighbors:
    """The neighbour lists of a dataset.

    Args:
        dataset: Name of the dataset.
        by_class: Neighbours of each class, best first; keys and terms in the form that prompts use
            (`sept_core.datasets.prompt_name`).
        origin: Where the lists come from: model, date, prompt. Not part of the `digest`.
        written_from: The classes that the writer knew of, in the form that prompts use, sorted; None for those listed.
            Not part of the `digest`.
    """

    dataset: str
    by_class: Mapping[str, tuple[str, ...]]
    origin: Mapping[str, str] = field(default_factory=dict)
    written_from: tuple[str, ...] | None = None

    @property
    def known(self) -> frozenset[str]:
        """The classes that the writer of the lists knew of, in the form that prompts use."""
        return frozenset(self.by_class if self.written_from is None else self.written_from)

    def only(self, classnames: Iterable[str]) -> Neighbors:
        """The lists of these classes alone, as far as there are any; what the writer knew stays the same."""
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
                    f"class '{classname}' has {len(terms)} neighbours, {n} were asked for",
                    where=where,
                    fix=f"lower n_neighbors to {len(terms)} or add terms to the list" if terms else "add terms to it",
                )
            chosen.append(list(terms[:n]))
        return chosen


def load_neighbors(
    dataset: str,
    path: Path | None = None,
    *,
    protocol: str = "base-to-new",
) -> Neighbors:
    """Read and check the neighbour lists of a dataset: the packaged ones, or a file of your own.

    The classes known here are those that the file lists; check the result against those that are trained on with
    `check_neighbors` to find missing and unknown ones.

    Args:
        dataset: Name of the dataset, in any case.
        path: A JSON file in the form of the packaged ones; None for the packaged one that fits the protocol.
        protocol: ``base-to-new``: the packaged lists of the base classes; ``cross-dataset``: those of all classes.

    Raises:
        InputError: No such file, not such a JSON, lists of another dataset, or a rule of `check_neighbors` broken.
    """
    source = _packaged(dataset, protocol) if path is None else path
    where = f"{neighbor_kind(protocol)}/{source.name}" if path is None else str(path)
    try:
        text = source.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the neighbours: {error.strerror or error}", where=where, fix="check the path"
        ) from error
    return read_neighbors(text, dataset, where)


def read_neighbors(text: bytes, dataset: str, where: str) -> Neighbors:
    """`load_neighbors` of a file already read; ``where`` names it in errors.

    Raises:
        InputError: As `load_neighbors`.
    """
    neighbors = parse_neighbors(text, dataset, where)
    refuse_broken(neighbors, list(neighbors.by_class), where)
    return neighbors


def parse_neighbors(text: bytes, dataset: str, where: str) -> Neighbors:
    """The lists of a JSON file as they are, no rule checked.

    Raises:
        InputError: It is not such a JSON, or holds lists of another dataset.
    """
    try:
        document = parse_json(text, _without_repeats)
    except ValueError as error:
        # What a person fills in has comments, and is checked line by line before it is stored as JSON.
        by_hand = where.lower().endswith((".yaml", ".yml"))
        stored = f"check and store it: sept neighbors {dataset} --from {quote(where)}; no sweep has to name it then"
        raise InputError(
            f"not a file of neighbours in JSON: {error}", where=where, fix=stored if by_hand else "correct the file"
        ) from error
    return _parse(document, dataset, where)


def refuse_broken(neighbors: Neighbors, classnames: Sequence[str], where: str, fix: str = "correct the list") -> None:
    """Let no lists pass that break a rule of `check_neighbors`.

    Raises:
        InputError: The first broken rule, and how many there are.
    """
    broken = check_neighbors(neighbors, classnames)
    if broken:
        more = f" (the first of {len(broken)} broken rules)" if len(broken) > 1 else ""
        raise InputError(broken[0] + more, where=where, fix=fix)


@dataclass(frozen=True)
class BrokenRule:
    """A rule that lists of neighbours break; ``str`` of it is one line.

    Args:
        classname: The class whose list it is, or that has none, in the form that prompts use.
        at: Which of its terms, from 0; None where it is the whole list.
        what: What is wrong.
    """

    classname: str
    at: int | None
    what: str

    def __str__(self) -> str:
        return self.what


def check_neighbors(neighbors: Neighbors, classnames: Sequence[str]) -> list[str]:
    """Every rule that the lists break, a line each; empty when all is well.

    The rules: each of ``classnames`` has a list and no other class does; a neighbour is a text of 1 to
    `MAX_NEIGHBOR_LENGTH` characters in the form that prompts have, occurs once in these lists, is not its own class's
    name, and does not hold the name of another of ``classnames`` in a form that `name_pattern` finds.

    Args:
        neighbors: The lists.
        classnames: The classes that are trained on with them: the base classes, or all (cross-dataset).
    """
    return [str(broken) for broken in broken_rules(neighbors, classnames)]


def broken_rules(neighbors: Neighbors, classnames: Sequence[str]) -> list[BrokenRule]:
    """`check_neighbors`, with the place of each."""
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
            if isinstance(term, str):  # a list read from JSON cannot be a key
                owner.setdefault(term, name)
    return broken


def _broken_rules(
    term: object, name: str, owner: Mapping[str, str], rivals: Mapping[str, re.Pattern[str]]
) -> list[str]:
    if not isinstance(term, str):
        return ["is not a text"]
    if not term.strip():
        return ["is empty"]
    broken = []
    if term != prompt_name(term):
        broken.append("is not in the form that prompts have (lower case, no underscores)")
    if len(term) > MAX_NEIGHBOR_LENGTH:
        broken.append(f"has {len(term)} characters, more than {MAX_NEIGHBOR_LENGTH}")
    if term == name:
        broken.append("is the name of the class itself")
    if term in owner:
        broken.append("is there twice" if owner[term] == name else f"is also a neighbour of '{owner[term]}'")
    broken += [f"holds the name of the class '{other}'" for other, found in rivals.items() if found.search(term)]
    return broken


def _packaged(dataset: str, protocol: str) -> Traversable:
    folder = files("sept_core") / "semantic" / "data" / "neighbors" / neighbor_kind(protocol)
    known = {entry.name.removesuffix(".json"): entry for entry in folder.iterdir() if entry.name.endswith(".json")}
    source = known.get(dataset.casefold())
    if source is None:
        raise InputError(
            f"no packaged neighbours for the dataset '{dataset}'",
            fix=f"packaged: {', '.join(sorted(known))}; for others give a JSON file of your own",
        )
    return source


def _parse(document: Any, dataset: str, where: str) -> Neighbors:
    fix = (
        'the form is {"dataset": NAME, "written_from": [CLASS, ...], "origin": {...}, '
        '"neighbors": {CLASS: [TERM, ...]}}'
    )
    if not isinstance(document, dict):
        raise InputError("not a JSON object", where=where, fix=fix)
    unknown = sorted(document.keys() - {"dataset", "written_from", "origin", "neighbors"})
    if unknown:
        raise InputError(f"unknown key '{unknown[0]}'", where=where, fix=fix)
    named = document.get("dataset")
    if not isinstance(named, str):
        raise InputError("key 'dataset' must be the name of the dataset", where=where, fix=fix)
    if named.casefold() != dataset.casefold():
        raise InputError(f"neighbours of '{named}', not of '{dataset}'", where=where, fix="give the file that fits")
    origin = document.get("origin", {})
    if not isinstance(origin, dict) or not all(isinstance(value, str) for value in origin.values()):
        raise InputError("key 'origin' must be an object of texts", where=where, fix=fix)
    lists = document.get("neighbors")
    if not isinstance(lists, dict) or not lists:
        raise InputError("key 'neighbors' must be an object with a list per class", where=where, fix=fix)
    by_class: dict[str, tuple[str, ...]] = {}
    for classname, terms in lists.items():
        name = prompt_name(classname)
        if not isinstance(terms, list):
            raise InputError(f"the neighbours of class '{classname}' must be a list", where=where, fix=fix)
        if not name:
            raise InputError("a class has an empty name", where=where, fix="name the class as the dataset does")
        if name in by_class:
            raise InputError(f"class '{name}' is there twice", where=where, fix="join the two lists")
        # What is not a text stays as it is, for check_neighbors to name.
        by_class[name] = tuple(prompt_name(term) if isinstance(term, str) else term for term in terms)
    return Neighbors(named, by_class, origin, _written_from(document, by_class, where, fix))


def _written_from(
    document: Mapping[str, Any], by_class: Mapping[str, object], where: str, fix: str
) -> tuple[str, ...] | None:
    if "written_from" not in document:
        return None
    names = document["written_from"]
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError("key 'written_from' must be a list of class names", where=where, fix=fix)
    known = {prompt_name(name) for name in names}
    for name in by_class:
        if name not in known:
            raise InputError(
                f"'written_from' lacks '{name}', which has a list",
                where=where,
                fix="name every class that the writer knew of",
            )
    return tuple(sorted(known))


def _without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; the standard reader would drop the first of two equal keys in silence."""
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"key '{key}' is there twice")
        seen[key] = value
    return seen
