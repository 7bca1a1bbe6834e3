"""Reads files of neighbours, whose form is described in ``neighbors.py``: the packaged ones and your own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from shlex import quote
from typing import Any

from sept_core.checked_json import parse_json
from sept_core.datasets import prompt_name
from sept_core.errors import InputError
from sept_core.protocol_facts import protocol_of
from sept_core.semantic.neighbors import Neighbors, refuse_broken

__all__ = ["load_neighbors", "neighbor_kind", "parse_neighbors", "read_neighbors"]


def neighbor_kind(protocol: str) -> str:
    """Which lists a protocol uses: those of ``base`` classes, or of ``all``; also the name of their folder.

    Raises:
        InputError: No such protocol.
    """
    return "all" if protocol_of(protocol).all_classes else "base"


def load_neighbors(dataset: str, path: Path | None = None, *, protocol: str = "base-to-new") -> Neighbors:
    """Read and check the neighbour lists of a dataset: the packaged ones, or a file of your own.

    Only the classes in the file are known here: use `check_neighbors` with the training classes to find missing and
    unknown ones.

    Args:
        dataset: Name of the dataset, in any case.
        path: A JSON file in the form of the packaged ones; None for the packaged one of the protocol.
        protocol: Decides which packaged lists: those of the base classes or, if it trains on all classes, of all.

    Raises:
        InputError: No such file, not of this form, lists of another dataset, or a broken rule of `check_neighbors`.
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
    """The lists of a JSON file, without checking any rule.

    Raises:
        InputError: It is not of this form, or has lists of another dataset.
    """
    try:
        document = parse_json(text, _without_repeats)
    except ValueError as error:
        # A file filled in by hand has comments, and is checked line by line before it is stored as JSON.
        by_hand = where.lower().endswith((".yaml", ".yml"))
        stored = (
            f"check and store it: sept neighbors {dataset} --from {quote(where)}; then sweeps find it without naming it"
        )
        raise InputError(
            f"not a file of neighbours in JSON: {error}", where=where, fix=stored if by_hand else "correct the file"
        ) from error
    return _parse(document, dataset, where)


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
        raise InputError("key 'origin' must be an object of strings", where=where, fix=fix)
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
        # Values that are not strings are kept for check_neighbors to report.
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
    """A JSON object as a dict; the standard reader would silently drop the first of two equal keys."""
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"key '{key}' is there twice")
        seen[key] = value
    return seen
