"""What neighbours reveal about classes that are not trained on, and which lists a trial uses.

In base-to-new the lists of base classes are written and checked without the names of the new classes. So a term may
happen to name one ("power saw" of ``chainsaw``, where ``saw`` is new). Such terms are kept and counted: removing them
would use the new classes' names, which is possible as an option (``neighbors_naming_new: drop``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from sept_core.datasets.registry import DatasetInfo, prompt_name, trained_classes
from sept_core.semantic.naming import rivals_of
from sept_core.semantic.neighbors import Neighbors

__all__ = ["NamingNew", "described_naming", "knowledge_warnings", "naming_untrained", "used_neighbors"]

NamingNew = Literal["keep", "drop"]
"""What to do with neighbours that name a class which is not trained on."""


def used_neighbors(neighbors: Neighbors, info: DatasetInfo, protocol: str, naming_new: NamingNew = "keep") -> Neighbors:
    """The lists that a trial uses: those of the classes that it trains on.

    Args:
        neighbors: Lists of these classes, and perhaps of others.
        info: The dataset.
        protocol: Decides which classes are trained on.
        naming_new: ``drop`` leaves out terms that name a class which is not trained on; the following terms move up.
    """
    used = neighbors.only(trained_classes(info.classnames, protocol))
    if naming_new == "keep":
        return used
    naming = naming_untrained(used, info, protocol)
    kept = {
        name: tuple(term for term in terms if term not in naming.get(name, {})) for name, terms in used.by_class.items()
    }
    return replace(used, by_class=kept)


def naming_untrained(neighbors: Neighbors, info: DatasetInfo, protocol: str) -> dict[str, dict[str, str]]:
    """The terms of trained classes that name a class which is not trained on: by class, each term and the class that it
    names."""
    trained = [prompt_name(name) for name in trained_classes(info.classnames, protocol)]
    others = [name for name in map(prompt_name, info.classnames) if name not in trained]
    found: dict[str, dict[str, str]] = {}
    for name in trained:
        rivals = rivals_of(name, others)
        for term in neighbors.by_class.get(name, ()):
            named = next((other for other, pattern in rivals.items() if pattern.search(term)), None)
            if named is not None:
                found.setdefault(name, {})[term] = named
    return found


def knowledge_warnings(
    neighbors: Neighbors, info: DatasetInfo, protocol: str, naming_new: NamingNew = "keep"
) -> tuple[str, ...]:
    """What a reader must know about the neighbours behind a result, one line each."""
    used = used_neighbors(neighbors, info, protocol)
    outside = used.known - {prompt_name(name) for name in trained_classes(info.classnames, protocol)}
    lines = []
    if outside:
        classes = "1 class that was" if len(outside) == 1 else f"{len(outside)} classes that were"
        lines.append(f"{info.name}: the neighbours were written knowing the names of {classes} not trained on")
    count = sum(map(len, naming_untrained(used, info, protocol).values()))
    if count:
        total = sum(map(len, used.by_class.values()))
        name = "names" if count == 1 else "name"
        named = f"{info.name}: {count} of {total} neighbours {name} a class that was not trained on"
        if naming_new == "drop":
            lines.append(f"{named} (left out: neighbors_naming_new: drop uses the names of new classes)")
        else:
            lines.append(f"{named} (kept{'' if outside else ': the lists were written without knowing them'})")
    return tuple(lines)


def described_naming(naming: Mapping[str, Mapping[str, str]]) -> str:
    """Such as ``chainsaw: 'power saw' (saw); dog: 'sea lion' (lion), 'wolf call' (wolf)``."""
    return "; ".join(
        f"{name}: {', '.join(f'{term!r} ({other})' for term, other in terms.items())}" for name, terms in naming.items()
    )
