"""Published results of others, shown separately from ours.

Backbones, splits, shots, protocols and selection differ between papers; each row states them (``published.csv``, and
`Published.selection`). The numbers are for orientation, not for a ranking: they are never averaged with ours.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pipeline.reports.rows import Chosen, method_title
from sept_core.datasets import DATASETS

__all__ = ["Published", "published_beside", "published_notes"]

_AVERAGE = "average of 11"
# What the column `protocol` of the file begins with.
_PROTOCOLS = {"base-to-new": "base-to-new", "all classes": "few-shot"}
# What the column `source` of the file begins with.
_SELECTIONS = {
    "PALM logs": "last epoch; how settings were chosen is not stated (the code has no validation clips)",
    "ZEBRA logs": "not stated",
    "SEPT": "not stated",
    "public leaderboard": "not stated",
    "msclap README": "nothing is trained",
}
_NOTES = {
    "TUT2017": "PALM's logs show test sets of 1,170, 3,507, 3,507 and 3,510 clips in folds 1 to 4 of its copy, but the "
    "authors' folds have about 1,170 test clips each. Training and test are swapped or overlap in this copy, which "
    "published rows are based on."
}


@dataclass(frozen=True)
class Published:
    """A published row as printed; a number that was not given is empty."""

    method: str
    dataset: str
    base: str
    new: str
    h: str
    accuracy: str
    backbone: str
    protocol: str
    source: str

    @property
    def selection(self) -> str:
        """How the number was chosen, as far as its source says."""
        if self.method == "zero-shot":
            return "nothing is trained"
        return next(how for begins, how in _SELECTIONS.items() if self.source.startswith(begins))


def published_beside(rows: Iterable[Chosen]) -> list[Published]:
    """The published rows of the same protocol for the methods and datasets of the given rows.

    Averages over the eleven datasets of the benchmark are included for methods that have rows on all of them.
    """
    ours: dict[str, set[str]] = {}
    protocols = set()
    for row in rows:
        ours.setdefault(method_title(row.method), set()).add(row.dataset)
        protocols |= {begins for begins, name in _PROTOCOLS.items() if name == row.protocol}
    benchmark = {info.name for info in DATASETS.values() if not info.extra}
    for datasets in ours.values():
        if benchmark <= datasets:
            datasets.add(_AVERAGE)
    return [
        row
        for row in _published()
        if row.protocol.startswith(tuple(protocols))
        and any(_is(row, method) and row.dataset in ours[method] for method in ours)
    ]


def published_notes(rows: Iterable[Published]) -> tuple[str, ...]:
    """Remarks about the data of published rows, a line for each dataset."""
    named = {row.dataset for row in rows}
    notes = [f"{dataset}: {note}" for dataset, note in _NOTES.items() if dataset in named]
    if _AVERAGE in named:
        notes += [f"Averages of 11 include {dataset}. {note}" for dataset, note in _NOTES.items()]
    return tuple(notes)


def _is(row: Published, method: str) -> bool:
    # The leaderboard of the SEPT paper does not name the baseline of a row; our copy adds the one that it fits.
    return row.method.lower() == method.lower() or row.method.endswith(f"fits {method})")


@cache
def _published() -> tuple[Published, ...]:
    text = files("pipeline.reports").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(Published(**row) for row in csv.DictReader(text.splitlines()))
