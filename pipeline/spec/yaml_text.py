"""Reads untrusted YAML so that no text can hang the command or cause an internal error.

Aliases (``*name``) may stand for lists of aliases: eight lines can expand to more values than fit in memory.
"""

from __future__ import annotations

from typing import Any

import yaml
from yaml.nodes import CollectionNode, Node

__all__ = ["LONGEST_NUMBER", "compose", "construct", "repeated"]

LONGEST_NUMBER = 100
"""Characters of a number; Python itself refuses to print one of more than 4,300 digits."""

# Far more than any file of this project has. The parser takes about 10 s for this many characters.
_MOST_CHARACTERS = 2_000_000
_DEEPEST = 50
# Maximum number of values added by aliases.
_MOST_ADDED = 100_000
# What PyYAML raises, in addition to its own errors, for a text that does not fit its tag: a date 2024-13-01, "!!int
# many".
_UNFIT = (ValueError, KeyError, TypeError, AttributeError, OverflowError, IndexError)


def compose(text: str) -> Node | None:
    """The nodes of a YAML text; None if it is empty.

    Raises:
        yaml.YAMLError: It is not YAML, too long, nested too deeply, or its aliases expand too far.
    """
    if len(text) > _MOST_CHARACTERS:
        raise yaml.MarkedYAMLError(problem=f"longer than {_MOST_CHARACTERS:,} characters")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError as error:
        raise yaml.MarkedYAMLError(problem=f"nested more than {_DEEPEST} deep") from error
    if root is not None:
        _measure(root)
    return root


def construct(root: Node | None) -> Any:
    """The values of the nodes of `compose`. Merges (``<<``) change the nodes: inspect them first.

    Raises:
        yaml.YAMLError: A text does not fit its tag.
    """
    return None if root is None else _Loader("").construct_document(root)


def repeated(value: object) -> str:
    """A value for a message: at most 100 characters."""
    said = str(value) if isinstance(value, int | float) else repr(value)
    return said if len(said) <= 100 else f"{said[:97]}..."


class _Loader(yaml.SafeLoader):
    def construct_object(self, node: Node, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float") and len(node.value) > LONGEST_NUMBER:
            problem = f"a number of more than {LONGEST_NUMBER} characters"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        try:
            return super().construct_object(node, deep)
        except _UNFIT as error:
            problem = f"{repeated(node.value)} is not a valid {kind}; if it is text, put it in quotes"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


def _measure(root: Node) -> None:
    """Refuse nodes that nest too deeply, contain themselves, or expand to far more values than are written."""
    measured: dict[int, tuple[int, int]] = {}  # by node: its number of values, and its depth
    above: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting[-1]
        inner = _inner(node)
        if id(node) in above:
            above.remove(id(node))
            sizes, depths = zip((0, 0), *(measured[id(one)] for one in inner), strict=True)
            measured[id(node)] = 1 + sum(sizes), 1 + max(depths)
            if 1 + max(depths) > _DEEPEST:
                raise _at(node, f"nested more than {_DEEPEST} deep")
        if id(node) in measured:
            waiting.pop()
            continue
        above.add(id(node))
        for one in inner:
            if id(one) in above:
                raise _at(one, "an alias (*name) inside its own definition")
        waiting += reversed(inner)
    if measured[id(root)][0] > len(measured) + _MOST_ADDED:
        raise _at(root, f"its aliases (*name) expand to more than {_MOST_ADDED:,} values; write them out")


def _inner(node: Node) -> list[Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, CollectionNode) else []


def _at(node: Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
