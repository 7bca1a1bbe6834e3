"""Neighbours: the N related terms p_i^n that SEPT (arXiv 2601.20867) gives each training class c_i.

A neighbour list is data that a person can read and review: one JSON file per dataset,

    {"dataset": "ESC10",
     "origin": {"model": "...", "date": "...", "prompt": "..."},
     "neighbors": {"dog bark": ["barking dog", ...], ...}}

with the best terms first, so that a trial takes the first N. The rules that `check_neighbors` enforces are what keeps
the loss meaningful: a neighbour that names another class would pull a class towards its rival, and one that names a
held-out class would leak it into the training.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from shlex import quote
from typing import Any

from sept_core.datasets import prompt_name
from sept_core.errors import InputError

__all__ = [
    "MAX_NEIGHBOR_LENGTH",
    "BrokenRule",
    "Neighbors",
    "broken_rules",
    "check_neighbors",
    "load_neighbors",
    "read_neighbors",
]

MAX_NEIGHBOR_LENGTH = 60
"""Longest neighbour, in characters: a term, not a sentence; the text towers take 77 tokens with the context."""

# A figure or an ordinal names a digit as surely as the word does, and no suffix rule finds these.
_NUMBER_FORMS: Mapping[str, tuple[str, ...]] = {
    "zero": ("0", "0th", "zeroth"),
    "one": ("1", "1st", "first"),
    "two": ("2", "2nd", "second"),
    "three": ("3", "3rd", "third"),
    "four": ("4", "4th", "fourth"),
    "five": ("5", "5th", "fifth"),
    "six": ("6", "6th", "sixth"),
    "seven": ("7", "7th", "seventh"),
    "eight": ("8", "8th", "eighth"),
    "nine": ("9", "9th", "ninth"),
    "ten": ("10", "10th", "tenth"),
}


@dataclass(frozen=True)
class Neighbors:
    """The neighbour lists of a dataset.

    Args:
        dataset: Name of the dataset.
        by_class: Neighbours of each class, best first; keys and terms in the form that prompts use
            (`sept_core.datasets.prompt_name`).
        origin: Where the lists come from: model, date, prompt. Not part of the `digest`.
    """

    dataset: str
    by_class: Mapping[str, tuple[str, ...]]
    origin: Mapping[str, str] = field(default_factory=dict)

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
            raise InputError(f"n_neighbors is {n}", mend="ask for at least 1 neighbour per class")
        where = f"neighbours of {self.dataset}"
        chosen = []
        for classname in classnames:
            terms = self.by_class.get(prompt_name(classname))
            if terms is None:
                raise InputError(f"no neighbours for the class '{classname}'", where=where, mend="add a list for it")
            if len(terms) < n:
                raise InputError(
                    f"class '{classname}' has {len(terms)} neighbours, {n} were asked for",
                    where=where,
                    mend=f"lower n_neighbors to {len(terms)} or add terms to the list",
                )
            chosen.append(list(terms[:n]))
        return chosen


def load_neighbors(dataset: str, path: Path | None = None) -> Neighbors:
    """Read and check the neighbour lists of a dataset: the packaged ones, or a file of your own.

    The classes known here are those that the file lists; check the result against the class names of the dataset
    with `check_neighbors` to find missing and unknown ones.

    Args:
        dataset: Name of the dataset, in any case.
        path: A JSON file in the form of the packaged ones; None for the packaged one.

    Raises:
        InputError: No such file, not such a JSON, lists of another dataset, or a rule of `check_neighbors` broken.
    """
    source = _packaged(dataset) if path is None else path
    where = source.name if path is None else str(path)
    try:
        text = source.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the neighbours: {error.strerror or error}", where=where, mend="check the path"
        ) from error
    return read_neighbors(text, dataset, where)


def read_neighbors(text: bytes, dataset: str, where: str) -> Neighbors:
    """`load_neighbors` of a file already read; ``where`` names it in errors.

    Raises:
        InputError: As `load_neighbors`.
    """
    try:
        document = json.loads(text.decode("utf-8"), object_pairs_hook=_without_repeats)
    except ValueError as error:
        # What a person fills in has comments, and is checked line by line before it is stored as JSON.
        by_hand = where.lower().endswith((".yaml", ".yml"))
        stored = f"check and store it: sept neighbors {dataset} --from {quote(where)}; no sweep has to name it then"
        raise InputError(
            f"not a file of neighbours in JSON: {error}", where=where, mend=stored if by_hand else "correct the file"
        ) from error
    neighbors = _parse(document, dataset, where)
    broken = check_neighbors(neighbors, list(neighbors.by_class))
    if broken:
        more = f" (the first of {len(broken)} broken rules)" if len(broken) > 1 else ""
        raise InputError(broken[0] + more, where=where, mend="correct the list")
    return neighbors


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
    `MAX_NEIGHBOR_LENGTH` characters in the form that prompts have, occurs once in the whole file, is not its own
    class's name, and does not hold another class's name as whole words, in the singular, plural, possessive, as a
    figure or ordinal, or, where the name has several words, with its words in the -ing form.
    """
    return [str(broken) for broken in broken_rules(neighbors, classnames)]


def broken_rules(neighbors: Neighbors, classnames: Sequence[str]) -> list[BrokenRule]:
    """`check_neighbors`, with the place of each."""
    names = [prompt_name(name) for name in classnames]
    patterns = {name: _name_pattern(name) for name in names}
    broken = [
        BrokenRule(name, None, f"class '{name}' has no neighbours")
        for name in names
        if not neighbors.by_class.get(name)
    ]
    broken += [
        BrokenRule(name, None, f"'{name}' is no class of {neighbors.dataset}")
        for name in neighbors.by_class
        if name not in patterns
    ]
    owner: dict[str, str] = {}
    for name, terms in neighbors.by_class.items():
        # "car" inside "car horn" is part of the class's own name, no leak.
        rivals = {other: found for other, found in patterns.items() if other != name and not found.search(name)}
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


def _name_pattern(name: str) -> re.Pattern[str]:
    # "cafe/restaurant" is a class with two names.
    readings = []
    for reading in name.split("/"):
        words = re.findall(r"[^\W_]+", reading)
        if words:
            readings.append(r"[\W_]+".join(_word_pattern(word, phrase=len(words) > 1) for word in words))
    # A name without a letter or figure occurs nowhere as a word; an empty pattern would occur everywhere.
    return re.compile(rf"\b(?:{'|'.join(readings)})\b" if readings else r"(?!)")


def _word_pattern(word: str, *, phrase: bool) -> str:
    forms = {word, f"{word}s", f"{word}es", *_NUMBER_FORMS.get(word, ())}
    if word.endswith("s") and not word.endswith("ss"):
        forms.add(word[:-1])
    if word.endswith("y"):
        forms.add(f"{word[:-1]}ies")
    if phrase:
        # In a lone word this would forbid "training" beside "train" and "parking" beside "park".
        forms |= {f"{word}ing", f"{word.removesuffix('e')}ing"}
    return rf"(?:{'|'.join(map(re.escape, sorted(forms)))})(?:'s|s')?"


def _packaged(dataset: str) -> Traversable:
    folder = files("sept_core") / "semantic" / "data" / "neighbors"
    known = {entry.name.removesuffix(".json"): entry for entry in folder.iterdir() if entry.name.endswith(".json")}
    source = known.get(dataset.casefold())
    if source is None:
        raise InputError(
            f"no packaged neighbours for the dataset '{dataset}'",
            mend=f"packaged: {', '.join(sorted(known))}; for others give a JSON file of your own",
        )
    return source


def _parse(document: Any, dataset: str, where: str) -> Neighbors:
    mend = 'the form is {"dataset": NAME, "origin": {...}, "neighbors": {CLASS: [TERM, ...]}}'
    if not isinstance(document, dict):
        raise InputError("not a JSON object", where=where, mend=mend)
    unknown = sorted(document.keys() - {"dataset", "origin", "neighbors"})
    if unknown:
        raise InputError(f"unknown key '{unknown[0]}'", where=where, mend=mend)
    named = document.get("dataset")
    if not isinstance(named, str):
        raise InputError("key 'dataset' must be the name of the dataset", where=where, mend=mend)
    if named.casefold() != dataset.casefold():
        raise InputError(f"neighbours of '{named}', not of '{dataset}'", where=where, mend="give the file that fits")
    origin = document.get("origin", {})
    if not isinstance(origin, dict) or not all(isinstance(value, str) for value in origin.values()):
        raise InputError("key 'origin' must be an object of texts", where=where, mend=mend)
    lists = document.get("neighbors")
    if not isinstance(lists, dict) or not lists:
        raise InputError("key 'neighbors' must be an object with a list per class", where=where, mend=mend)
    by_class: dict[str, tuple[str, ...]] = {}
    for classname, terms in lists.items():
        name = prompt_name(classname)
        if not isinstance(terms, list):
            raise InputError(f"the neighbours of class '{classname}' must be a list", where=where, mend=mend)
        if not name:
            raise InputError("a class has an empty name", where=where, mend="name the class as the dataset does")
        if name in by_class:
            raise InputError(f"class '{name}' is there twice", where=where, mend="join the two lists")
        # What is not a text stays as it is, for check_neighbors to name.
        by_class[name] = tuple(prompt_name(term) if isinstance(term, str) else term for term in terms)
    return Neighbors(dataset=named, by_class=by_class, origin=origin)


def _without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; the standard reader would drop the first of two equal keys in silence."""
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"key '{key}' is there twice")
        seen[key] = value
    return seen
