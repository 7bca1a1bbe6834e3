"""YAML to checked models, with errors that name file, dotted key, value and what to do, in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from sept_core.errors import InputError

__all__ = ["located", "near_miss", "read_yaml", "validate"]

_M = TypeVar("_M", bound=BaseModel)


@contextmanager
def located(where: str) -> Iterator[None]:
    """Says where in the file an error of the code below belongs."""
    try:
        yield
    except InputError as error:
        raise InputError(error.what, where=where, mend=error.mend) from error


def near_miss(word: str, known: Iterable[str]) -> str:
    """What to do about an unknown word: the nearest known one, and all of them."""
    words = sorted(known)
    near = get_close_matches(word, words, n=1)
    return (f"did you mean '{near[0]}'? " if near else "") + f"known: {', '.join(words)}"


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """The mapping that a YAML text holds.

    Raises:
        InputError: No YAML, no mapping, or a key twice in one mapping (of which YAML would silently take the last).
    """
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise InputError(f"not YAML:{line} {problem}", where=where, mend="correct the file") from error
    for line_number, key in _doubled(tree):
        raise InputError(f"key '{key}' stands twice (line {line_number})", where=where, mend="keep one of them")
    if not isinstance(document, dict):
        mend = "see search_spaces/sweeps/quickstart.yaml"
        raise InputError("not a mapping of keys to values", where=where, mend=mend)
    return document


def validate(model: type[_M], document: dict[str, Any], where: str) -> _M:
    """The document as a model.

    Raises:
        InputError: Of the first of all errors; the line says how many there are.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # An unknown key comes first: it is often the reason for the others (a misspelt one is also a missing one).
        first = next((entry for entry in found if entry["type"] == "extra_forbidden"), found[0])
        places = [_keys(document, entry["loc"], entry["type"] == "missing") for entry in found]
        place = places[found.index(first)]
        # A value that fits none of several types gives an error for each.
        reasons = dict.fromkeys(_reason(entry) for entry, other in zip(found, places, strict=True) if other == place)
        count = len({tuple(other) for other in places})
        raise _input_error(model, place, first, " or ".join(reasons), where, count) from error


def _input_error(
    model: type[BaseModel], path: list[str | int], entry: Any, reason: str, where: str, count: int
) -> InputError:
    key, value = ".".join(str(part) for part in path), entry["input"]
    place = f"{where}: {key}" if key else where
    more = f" (and {count - 1} more error{'s' if count > 2 else ''})" if count > 1 else ""
    if entry["type"] == "extra_forbidden":
        known = near_miss(str(path[-1]), _fields_at(model, path[:-1]))
        return InputError(f"unknown key '{path[-1]}'{more}", where=place, mend=known)
    if entry["type"] == "missing":
        return InputError(f"missing{more}", where=place, mend=f"add '{path[-1]}:'")
    shown = f"{value!r}: " if not isinstance(value, dict) else ""
    mend = ""
    if isinstance(value, str) and _reads_as_number(value):
        # YAML 1.1 reads 1e-3 as a word: it wants a dot in the mantissa and a sign in the exponent.
        mend = f"YAML takes {value} for a text; write {float(value)!r}"
    return InputError(f"{shown}{reason}{more}", where=place, mend=mend)


def _reason(entry: Any) -> str:
    message = str(entry["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


def _keys(document: Any, location: Sequence[str | int], missing: bool) -> list[str | int]:
    # Between the document's own keys pydantic puts the names of the types that it tried.
    keys: list[str | int] = []
    for part in location:
        entries = range(len(document)) if isinstance(document, list) else document
        if isinstance(entries, dict | range) and part in entries:
            document = document[part]
            keys.append(part)
    return [*keys, location[-1]] if missing else keys


def _fields_at(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """The keys that may stand at a place of the document."""
    for part in path:
        if part in model.model_fields:
            model = _model_in(model.model_fields[str(part)].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner))), None)


def _reads_as_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _doubled(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Line and name of every key that its mapping has already."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from _doubled(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _doubled(item)
