"""YAML to checked models, with errors that name file, dotted key, value and what to do, in one line each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.spec.yaml_text import LONGEST_NUMBER, compose, construct, repeated
from sept_core.errors import InputError, gathered
from sept_core.suggestions import known_words, nearest, nearest_hint

__all__ = ["located", "problems_of", "read_yaml", "validate"]

_M = TypeVar("_M", bound=BaseModel)

_QUOTES = "YAML reads yes, no, on and off as true and false: put the word in quotes"

# Replacements for messages of pydantic about Python.
_WORDS = {
    "tuple_type": "not a list",
    "dict_type": "not a mapping of keys to values",
    "too_short": "must not be empty",
    "model_type": "not a mapping of keys to values",
    "model_attributes_type": "not a mapping of keys to values",
}
# Alternatives to a word such as 'all', by the type of pydantic's error.
_BESIDES = {
    "dict_type": "a mapping of keys to values",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
}
# More lines than anybody would read.
_MOST_ERRORS = 1000
_FOLDS = "a mapping of datasets to lists of folds"


@contextmanager
def located(where: str) -> Iterator[None]:
    """Adds the place in the file to errors of the code in the block."""
    try:
        yield
    except InputError as error:
        raise InputError(error.what, where=where, fix=error.fix) from error


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """The mapping in a YAML text.

    Raises:
        InputError: It is not YAML, too large (see `compose`), not a mapping, or repeats a key in a mapping (YAML would
            silently use the last one).
    """
    try:
        tree = compose(text)
        wrong = [*_doubled(tree, where), *_misread(tree, where)]
        document = construct(tree)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise InputError(f"not YAML:{line} {problem}", where=where, fix="correct the file") from error
    if wrong:
        raise gathered(wrong)
    if not isinstance(document, dict):
        fix = "see search_spaces/sweeps/quickstart.yaml"
        raise InputError("not a mapping of keys to values", where=where, fix=fix)
    return document


def validate(model: type[_M], document: dict[str, Any], where: str) -> _M:
    """The document as a model.

    Raises:
        InputError: All its errors, one line each.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise gathered(found for _, found in problems_of(model, document, where, error)) from error


def problems_of(
    model: type[BaseModel], document: dict[str, Any], where: str, error: ValidationError
) -> list[tuple[list[str | int], InputError]]:
    """pydantic's errors by place: the keys that lead to it, and the error."""
    found = error.errors(include_url=False)[:_MOST_ERRORS]
    by_place: dict[tuple[str | int, ...], list[Any]] = {}
    for entry in found:
        by_place.setdefault(tuple(_keys(document, entry)), []).append(entry)
    misspelt = {
        (*place[:-1], nearest(str(place[-1]), _fields_at(model, place[:-1])))
        for place, entries in by_place.items()
        if entries[0]["type"] == "extra_forbidden"
    }
    above = {place[:depth] for place in by_place for depth in range(len(place))}
    return [
        (list(place), _input_error(model, list(place), entries, where))
        for place, entries in by_place.items()
        # A misspelt key is one error, not also a missing key.
        if not (entries[0]["type"] == "missing" and place in misspelt)
        # A list or a mapping is not reported in addition to the errors in it.
        and place not in above
    ]


def _input_error(model: type[BaseModel], path: list[str | int], entries: list[Any], where: str) -> InputError:
    key, value, kind = ".".join(str(part) for part in path), entries[0]["input"], entries[0]["type"]
    place = f"{where}: {key}" if key else where
    if kind == "extra_forbidden":
        return InputError(
            f"unknown key {repeated(path[-1])}",
            where=place,
            fix=known_words(str(path[-1]), _fields_at(model, path[:-1])),
        )
    if kind == "missing":
        return InputError("missing", where=place, fix=f"add '{path[-1]}:'")
    if kind == "invalid_key":
        return InputError(f"the key {repeated(value)} is not a string", where=where, fix=_QUOTES)
    reasons = _neither(path, entries) or _one_of(list(dict.fromkeys(_reason(entry) for entry in entries)))
    shown = "" if isinstance(value, dict) else "empty: " if value is None else f"{repeated(value)}: "
    return InputError(f"{shown}{reasons}", where=place, fix=_advice(entries, path))


def _reason(entry: Any) -> str:
    if entry["type"] in _WORDS:
        return _WORDS[entry["type"]]
    message = str(entry["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:].partition(", unable to ")[0]


def _neither(path: list[str | int], entries: list[Any]) -> str:
    """The message for a value that is neither a word such as ``all`` nor its alternative; "" for other errors."""
    words = [str(entry["ctx"]["expected"]) for entry in entries if entry["type"] == "literal_error"]
    others = [_BESIDES.get(entry["type"]) for entry in entries if entry["type"] != "literal_error"]
    if len(words) != 1 or len(others) != 1 or others[0] is None:
        return ""
    return f"is neither {words[0]} nor {_FOLDS if path == ['folds'] else others[0]}"


def _one_of(reasons: list[str]) -> str:
    """Joins the reasons: a value that fits none of several types has one for each."""
    kind = "should be a valid "
    if len(reasons) > 1 and all(reason.startswith(kind) for reason in reasons):
        kinds = [reason.removeprefix(kind) for reason in reasons]
        return kind + " or ".join(one for one in kinds if one != "integer" or "number" not in kinds)
    return " or ".join(reasons)


def _advice(entries: list[Any], path: list[str | int]) -> str:
    value, kinds = entries[0]["input"], {entry["type"] for entry in entries}
    if value is None:
        return "give it a value"
    if isinstance(value, bool) and kinds & {"string_type", "literal_error"}:
        return _QUOTES
    if "tuple_type" in kinds and not isinstance(value, dict):
        return f"write a list: {path[-1]}: [{value}]"
    if "string_type" in kinds and not isinstance(value, list | dict):
        return f"put it in quotes: '{value}'"
    for entry in entries:
        if entry["type"] == "literal_error" and isinstance(value, str):
            return nearest_hint(value, re.findall(r"'([^']+)'", entry["ctx"]["expected"])).rstrip()
    return ""


def _keys(document: Any, entry: Any) -> list[str | int]:
    # pydantic inserts the names of the types that it tried between the document's keys.
    location, keys = entry["loc"], list[str | int]()
    for part in location:
        entries = range(len(document)) if isinstance(document, list) else document
        if isinstance(entries, dict | range) and part in entries:
            document = document[part]
            keys.append(part)
    return [*keys, location[-1]] if entry["type"] == "missing" else keys


def _fields_at(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """The keys that are allowed at a place of the document."""
    for part in path:
        if part in model.model_fields:
            model = _model_in(model.model_fields[str(part)].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)


def _doubled(node: yaml.Node | None, where: str) -> Iterator[InputError]:
    """An error for every duplicate key."""
    for mapping in _nodes(node):
        seen: set[str] = set()
        for key, _ in mapping.value if isinstance(mapping, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                line = key.start_mark.line + 1
                yield InputError(
                    f"key {repeated(key.value)} is given twice (line {line})", where=where, fix="keep one of them"
                )
            seen.add(key.value)


def _misread(node: yaml.Node | None, where: str) -> Iterator[InputError]:
    """An error for every number that YAML 1.1 reads unexpectedly: 010 as 8, and 1:30 as 90."""
    for scalar in _nodes(node):
        if isinstance(scalar, yaml.ScalarNode) and scalar.tag.endswith((":int", ":float")):
            text = scalar.value.lstrip("+-")
            # Longer numbers are refused when they are read.
            if len(text) < LONGEST_NUMBER and (":" in text or (text[:1] == "0" and text[1:].isdigit())):
                line, read = scalar.start_mark.line + 1, yaml.safe_load(scalar.value)
                fix = f"write {read} if that is meant, or '{scalar.value}' in quotes for the text"
                yield InputError(f"YAML reads {scalar.value} as {read} (line {line})", where=where, fix=fix)


def _nodes(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """The node and all its descendants, each once: aliases may be recursive."""
    waiting, seen = [root] if root is not None else [], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [inner for pair in reversed(node.value) for inner in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
