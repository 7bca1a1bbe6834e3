"""Raw lists of terms to the files that ship: sorted out, checked, complete, with what their writers knew.

    python -m pipeline.neighbors.shipping raw.json --for base-to-new --origin origin.json

``raw.json`` is ``{DATASET: {CLASS: [TERM, ...]}}``, best terms first, some to spare; several such files are joined.
``origin.json`` holds texts: model or person, date, prompt, note. The lists may be of base classes alone
(``--for base-to-new``) or of all classes (``--for cross-dataset``): the file says that they were written from these, so
whoever wrote them must not have known others.

What ships is stricter than the rules for users: a term shares no word stem with the name of another class of its file.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from pipeline.neighbors.prompt import known_to_model
from pipeline.neighbors.terms import Dropped, Sorted, sort_out
from sept_core.datasets import DATASETS, DatasetInfo, get_dataset, prompt_name
from sept_core.errors import InputError
from sept_core.semantic import naming_untrained
from sept_core.semantic import neighbors as lists
from sept_core.semantic.blind import described_naming

__all__ = ["main", "shared_word", "ship", "sort_out_strictly", "stem"]

TERMS = 20
"""Terms per class that ship."""

_IRREGULAR = {"teeth": "tooth", "broken": "break", "broke": "break", "children": "child", "laughter": "laugh"}


def stem(word: str) -> str:
    """The word without its ending, roughly: what matters is that two forms of one word give the same."""
    word = _IRREGULAR.get(word, word)
    word = re.sub(r"(?<=\w{2})(?:ies|y)$", "i", word)
    word = re.sub(r"(?<=\w{3})(?:ings?|ers?|ed|es|s|e)$", "", word)
    return re.sub(r"(.)\1$", r"\1", word)


def shared_word(term: str, name: str, classnames: Iterable[str]) -> str | None:
    """The word of a term that is a form of a word of another class's name; words of its own class's name do not count.

    Args:
        term: The term.
        name: Its class, in the form that prompts use.
        classnames: The classes that lists are written for, likewise.
    """
    own = {stem(word) for word in _words(name)}
    rivals = {word for other in classnames if other != name for word in _words(other) if stem(word) not in own}
    stems = {stem(rival) for rival in rivals}
    for word in _words(term):
        if stem(word) in stems or any(word.removesuffix(end) in rivals for end in ("th", "teen", "ty")):
            return word
    return None


def sort_out_strictly(info: DatasetInfo, offered: Mapping[str, Sequence[str]], n: int) -> Sorted:
    """`sort_out` of what shares no word with another class's name.

    Args:
        info: The data set, with the classes that the writer knew of.
        offered: By class, in any spelling: its terms, best first.
        n: Terms that each class is to have.

    Raises:
        InputError: Lists of other classes than these.
    """
    names = [prompt_name(name) for name in info.classnames]
    given = {prompt_name(name): list(terms) for name, terms in offered.items()}
    for name in (*(name for name in given if name not in names), *(name for name in names if name not in given)):
        what = f"has a list of '{name}'" if name in given else f"has no list of '{name}'"
        raise InputError(f"{info.name} {what}", mend=f"write lists of: {', '.join(names)}")
    apart: dict[str, list[str]] = {}
    dropped = []
    for name, terms in given.items():
        shared = {term: word for term in terms if (word := shared_word(prompt_name(term), name, names)) is not None}
        apart[name] = [term for term in terms if term not in shared]
        dropped += [
            Dropped(name, term, f"has the word '{word}' of another class's name") for term, word in shared.items()
        ]
    state = sort_out(info, apart, n)
    return Sorted(state.by_class, state.missing, (*dropped, *state.dropped))


def ship(
    raw: Mapping[str, Mapping[str, Sequence[str]]], protocol: str, origin: Mapping[str, str], folder: Path, n: int
) -> tuple[list[str], bool]:
    """Write the files of the data sets whose lists are complete.

    Args:
        raw: By data set and class: its terms.
        protocol: Says which classes the writers knew of: those that it trains on.
        origin: Goes into every file.
        folder: Gets ``base/`` or ``all/`` with a file for each data set.
        n: Terms per class.

    Returns:
        What to say, a line each; and whether all were written.

    Raises:
        InputError: No such data set, or lists of other classes.
    """
    said, whole = [], True
    for dataset, offered in raw.items():
        info = get_dataset(dataset)
        known = known_to_model(info, protocol)
        state = sort_out_strictly(known, offered, n)
        said += [f"{info.name}: dropped {line}" for line in state.dropped]
        said += [f"{info.name}: '{name}' falls short by {count} of {n}" for name, count in state.missing.items()]
        if state.missing:
            said.append(f"{info.name}: NOT WRITTEN")
            whole = False
            continue
        classes = tuple(sorted(map(prompt_name, known.classnames)))
        neighbors = lists.Neighbors(info.name, state.by_class, origin, classes)
        file = folder / lists.neighbor_kind(protocol) / f"{info.name.lower()}.json"
        lists.refuse_broken(neighbors, classes, str(file))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(neighbors.to_json(), indent=2) + "\n", encoding="ascii")
        said.append(f"{info.name}: wrote {file}")
        if naming := naming_untrained(neighbors, info, protocol):
            said.append(f"{info.name}: kept, and naming a new class: {described_naming(naming)}")
    lacking = [name for name in DATASETS if name not in {get_dataset(dataset).name for dataset in raw}]
    return [*said, *(f"{name}: no raw lists" for name in lacking)], whole


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 where all that was given is written, 1 where some lists fall short, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.neighbors.shipping", description="Raw lists of terms to the files that ship."
    )
    parser.add_argument("raw", nargs="+", type=Path)
    parser.add_argument("--for", dest="protocol", required=True, choices=("base-to-new", "cross-dataset"))
    parser.add_argument("--origin", required=True, type=Path, help="JSON object of texts: model, date, prompt, note")
    parser.add_argument("--out", type=Path, default=Path(lists.__file__).parent / "data" / "neighbors")
    parser.add_argument("--n", type=int, default=TERMS)
    given = parser.parse_args(arguments)
    try:
        raw: dict[str, Mapping[str, Sequence[str]]] = {}
        for file in given.raw:
            for dataset, offered in _read(file).items():
                if dataset in raw:
                    raise InputError(f"lists of {dataset} are there twice", where=str(file), mend="give one of them")
                raw[dataset] = offered
        said, whole = ship(raw, given.protocol, _read(given.origin), given.out, given.n)
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        return 2
    typer.echo("\n".join(said))
    return 0 if whole else 1


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=str(file), mend="give a JSON file") from error
    if not isinstance(content, dict):
        raise InputError("not a JSON object", where=str(file), mend="see the head of pipeline/neighbors/shipping.py")
    return content


def _words(text: str) -> list[str]:
    return re.findall("[a-z]+", text)


if __name__ == "__main__":
    sys.exit(main())
