"""Turns answers into terms, and terms into lists that follow every rule; reports dropped terms with the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from sept_core.datasets import DatasetInfo, prompt_name
from sept_core.semantic.neighbors import Neighbors, check_neighbors

__all__ = ["MAX_WORDS", "Dropped", "Sorted", "read_terms", "sort_out"]

MAX_WORDS = 5
"""Longest term, in words."""

MAX_READ = 200
"""The most terms read from one answer: a model that repeats itself can write thousands."""

# A term that is too long is reported, but not in full.
_MAX_TERM = 100

# How many brackets to try as the list's beginning: more than any answer needs, and a limit for one full of brackets.
MAX_STARTS = 200

_PLAIN = re.compile(r"[a-z]+(?:['-][a-z]+)*(?: [a-z]+(?:['-][a-z]+)*)*")


@dataclass(frozen=True)
class Dropped:
    """A term that was offered but dropped; its ``str`` is one line.

    Args:
        classname: The class that it was offered for.
        term: The term.
        reason: The rule that it breaks.
    """

    classname: str
    term: str
    reason: str

    def __str__(self) -> str:
        return f"{self.classname}: {self.term!r} {self.reason}"


@dataclass(frozen=True)
class Sorted:
    """The result of all answers so far.

    Args:
        by_class: The first terms of each class that follow the rules, at most as many as wanted, best first.
        missing: How many terms a class still lacks; complete classes are not listed.
        dropped: The dropped terms, in the order of classes and answers, each once.
    """

    by_class: Mapping[str, tuple[str, ...]]
    missing: Mapping[str, int]
    dropped: tuple[Dropped, ...] = field(default=())


def read_terms(text: str) -> list[str] | None:
    """The terms in an answer: ``{"terms": [...]}`` or a bare list, in a code fence or within prose; None without any.

    Only texts count, and at most the first `MAX_READ`; other items of a list are not terms.
    """
    decoder = json.JSONDecoder()
    bare: list[str] | None = None
    marked: list[str] | None = None
    end = 0
    for start in islice((match.start() for match in re.finditer(r"[{\[]", text)), MAX_STARTS):
        if start < end:
            continue
        try:
            found, stop = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if terms := _texts(found.get("terms") if isinstance(found, dict) else found):
            end = stop
            if isinstance(found, dict):
                # The last one: a model that reasons aloud repeats the form that it was given, and its drafts.
                marked = terms
            else:
                bare = bare or terms
    return marked or bare


def _texts(found: object) -> list[str]:
    return [item[:_MAX_TERM] for item in found[:MAX_READ] if isinstance(item, str)] if isinstance(found, list) else []


def sort_out(info: DatasetInfo, offered: Mapping[str, Sequence[str]], n: int) -> Sorted:
    """Filter what was offered for each class.

    A term that was offered for two classes is dropped from both, since it does not distinguish them. The result depends
    on the answers alone, not on the order in which they arrived.

    Args:
        info: The data set, with the classes that the writer of the terms considered.
        offered: All terms that answers gave for a class (in the form that prompts use), best first.
        n: How many terms each class should have.
    """
    names = [prompt_name(name) for name in info.classnames]
    kept: dict[str, list[str]] = {name: [] for name in names}
    dropped: dict[str, list[Dropped]] = {name: [] for name in names}
    owners: dict[str, set[str]] = {}
    for name in names:
        for term in map(_tidy, offered.get(name, ())):
            reason = _broken_rule(info, names, name, term, kept[name])
            if reason:
                dropped[name].append(Dropped(name, term, reason))
            else:
                kept[name].append(term)
                owners.setdefault(term, set()).add(name)
    by_class = {}
    for name in names:
        alone = []
        for term in kept[name]:
            others = sorted(owners[term] - {name})
            if others:
                dropped[name].append(Dropped(name, term, f"was also offered for '{others[0]}'"))
            else:
                alone.append(term)
        by_class[name] = tuple(alone[:n])
    missing = {name: n - len(terms) for name, terms in by_class.items() if len(terms) < n}
    # A model that is asked again tends to repeat itself.
    return Sorted(by_class, missing, tuple(dict.fromkeys(line for name in names for line in dropped[name])))


def _tidy(term: str) -> str:
    # What models add to a term: quotes, a final full stop, a curly apostrophe.
    return " ".join(prompt_name(term.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")).split()).strip(" .\"'`")


def _broken_rule(info: DatasetInfo, names: Sequence[str], name: str, term: str, kept: Sequence[str]) -> str:
    if term in kept:
        return "is in the list twice"
    start = f"class '{name}': neighbour {term!r} "
    lines = check_neighbors(Neighbors(info.name, {name: (term,)}), names)
    broken = [line.removeprefix(start) for line in lines if line.startswith(start)]
    if broken:
        return broken[0]
    if not _PLAIN.fullmatch(term):
        return "is not written in plain English letters"
    words = len(term.split())
    return f"has {words} words, more than {MAX_WORDS}" if words > MAX_WORDS else ""
