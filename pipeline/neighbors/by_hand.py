"""Neighbours that a person wrote, in YAML or JSON: checks the whole file and reports each problem with its line.

    dataset: birds
    written_from: base
    neighbors:
      great tit: [two-note song, bird calling tea-cher, ...]
      wren: [loud trill in a hedge, ...]

``written_from`` states which classes the writer considered: ``base``, ``all``, or a list of names; the default is the
classes that the file lists.

Terms are read as they are written: for YAML ``no`` is a truth value and ``4`` a number, here they are words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.spec.yaml_text import compose
from sept_core.datasets import DatasetInfo, halves, prompt_name
from sept_core.datasets.registry import dataset_key
from sept_core.errors import InputError
from sept_core.semantic.neighbors import Neighbors, broken_rules
from sept_core.suggestions import nearest

__all__ = ["Problem", "read_by_hand"]

_FORM = "write dataset: NAME, then neighbors: with CLASS: [TERM, TERM, ...] for each class"
_KNEW = "write base, all, or a list of class names: [NAME, ...]"


@dataclass(frozen=True)
class Problem:
    """Something to correct; its ``str`` is one line.

    Args:
        line: Its line in the file, from 1; 0 for what is missing.
        what: What is wrong.
    """

    line: int
    what: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}" if self.line else self.what


@dataclass
class _Lists:
    """The lists read so far, with the line of each class and term."""

    by_class: dict[str, tuple[str, ...]]
    classes: dict[str, int]
    terms: dict[str, list[int]]
    problems: list[Problem]


def read_by_hand(
    file: Path, info: DatasetInfo, trained: Sequence[str] | None = None
) -> tuple[Neighbors, list[Problem]]:
    """Read the lists of a file and check those of the classes that are trained on.

    Args:
        file: YAML or JSON in UTF-8.
        info: The data set.
        trained: The classes that are trained on; None for all. Lists of others are not checked.

    Returns:
        The lists of the classes that are trained on, which follow every rule if there are no problems, with the classes
        that their writer considered; and the problems, in the order of their lines.

    Raises:
        InputError: It cannot be read, is not such a file, or is for another data set.
    """
    where = str(file)
    try:
        root = compose(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"cannot read the neighbours: {reason}", where=where, fix="check the path") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        fix = 'close every [ with ], and quote a term that contains , : # [ ] or quotes: "..."'
        raise InputError(
            f"is not YAML ({place}{getattr(error, 'problem', None) or 'cannot be parsed'})", where=where, fix=fix
        ) from error
    lists, origin, knew = _top(root, info, where)
    names = [prompt_name(name) for name in (info.classnames if trained is None else trained)]
    found = _lists(lists, {prompt_name(name) for name in info.classnames} - set(names))
    written_from = list(found.classes) if knew is None else _knew(knew, info, where)
    lacking = next((name for name in found.classes if name not in written_from), None)
    if knew is not None and lacking is not None:
        at = knew.start_mark.line + 1
        found.problems.append(Problem(at, f"written_from does not name '{lacking}', which the file has below"))
    neighbors = Neighbors(info.name, found.by_class, origin, tuple(sorted(written_from)))
    found.problems += _broken(neighbors, names, found)
    return neighbors, sorted(found.problems, key=lambda problem: problem.line)


def _top(
    root: yaml.Node | None, info: DatasetInfo, where: str
) -> tuple[yaml.MappingNode, dict[str, str], yaml.Node | None]:
    """The node with the lists, their origin, and the node of ``written_from``."""
    if not isinstance(root, yaml.MappingNode):
        raise InputError("not a file of neighbours", where=where, fix=_FORM)
    keys = {key.value: node for key, node in root.value if isinstance(key, yaml.ScalarNode)}
    unknown = next((key for key in keys if key not in ("dataset", "written_from", "origin", "neighbors")), None)
    if unknown is not None:
        raise InputError(f"unknown key '{unknown}' (line {keys[unknown].start_mark.line + 1})", where=where, fix=_FORM)
    dataset, lists = keys.get("dataset"), keys.get("neighbors")
    if not isinstance(dataset, yaml.ScalarNode) or not isinstance(lists, yaml.MappingNode):
        lacking = "neighbors" if isinstance(dataset, yaml.ScalarNode) else "dataset"
        raise InputError(f"key '{lacking}' is missing or has a wrong value", where=where, fix=_FORM)
    if dataset_key(dataset.value) != dataset_key(info.name):
        raise InputError(
            f"neighbours of '{dataset.value}', not of '{info.name}'", where=where, fix="give the file for this data set"
        )
    origin = keys.get("origin")
    pairs = origin.value if isinstance(origin, yaml.MappingNode) else []
    texts = {key.value: node.value for key, node in pairs if isinstance(key.value, str) and isinstance(node.value, str)}
    return lists, texts, keys.get("written_from")


def _knew(node: yaml.Node, info: DatasetInfo, where: str) -> list[str]:
    """The classes that the writer considered."""
    if isinstance(node, yaml.ScalarNode) and node.value in ("base", "all"):
        names: Sequence[str] = info.classnames if node.value == "all" else halves(info.classnames)[0]
    elif isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        names = [item.value for item in node.value]
    else:
        line = node.start_mark.line + 1
        raise InputError(f"key 'written_from' has a wrong value (line {line})", where=where, fix=_KNEW)
    return list(dict.fromkeys(map(prompt_name, names)))


def _lists(node: yaml.MappingNode, ignored: Set[str]) -> _Lists:
    """The lists, and the lines of all classes; of ``ignored`` classes nothing else is checked."""
    found = _Lists({}, {}, {}, [])
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = prompt_name(key.value) if isinstance(key, yaml.ScalarNode) else ""
        if not name:
            found.problems.append(Problem(line, "a class has no name"))
            continue
        if name in found.classes:
            found.problems.append(Problem(line, f"class '{name}' is in the file twice (line {found.classes[name]})"))
            continue
        found.classes[name] = line
        if name in ignored:
            continue
        terms: list[str] = []
        lines: list[int] = []
        if isinstance(value, yaml.ScalarNode) and value.value:
            found.problems.append(Problem(line, f"class '{name}': write the terms in brackets: [{value.value}]"))
            terms, lines = [_tidy(term) for term in value.value.split(",")], [line] * len(value.value.split(","))
        elif isinstance(value, yaml.MappingNode):
            found.problems.append(Problem(line, f"class '{name}': write the terms as a list: [TERM, TERM, ...]"))
            terms, lines = [_tidy(str(term.value)) for term, _ in value.value], [line] * len(value.value)
        elif isinstance(value, yaml.SequenceNode):
            for item in value.value:
                at = item.start_mark.line + 1
                if not isinstance(item, yaml.ScalarNode):
                    found.problems.append(Problem(at, f"class '{name}': a term with : or [ ] needs quotes"))
                elif item.value or item.style:
                    terms.append(_tidy(item.value))
                    lines.append(at)
        found.by_class[name], found.terms[name] = tuple(terms), lines
    return found


def _broken(neighbors: Neighbors, names: Sequence[str], found: _Lists) -> Iterator[Problem]:
    """The broken rules; all classes without neighbours are one problem."""
    empty = [name for name in names if not neighbors.by_class.get(name)]
    if empty:
        # Whether the file names them at all helps to find a class that was deleted.
        listed = [f"{name} (line {found.classes[name]})" if name in found.classes else name for name in empty]
        yield Problem(0, f"no neighbours for {len(empty)} of {len(names)} classes: {', '.join(listed)}")
    for broken in broken_rules(neighbors, names):
        if broken.at is not None:
            yield Problem(found.terms[broken.classname][broken.at], broken.what)
        elif broken.classname not in names:
            near = nearest(broken.classname, empty or names)
            hint = f"; did you mean '{near}'?" if near is not None else ""
            yield Problem(found.classes[broken.classname], broken.what + hint)


def _tidy(term: str) -> str:
    return prompt_name(" ".join(term.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split()))
