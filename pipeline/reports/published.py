"""Figures that others have published, to stand beside ours and never among them.

Backbones, splits, shots and protocols differ from paper to paper, and ``published.csv`` says of each row which they
are: what it holds is for orientation, not for a ranking.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pipeline.reports.rows import Row, method_title
from sept_core.datasets import DATASETS

__all__ = ["Published", "published_beside", "published_notes"]

_AVERAGE = "average of 11"
_NOTES = {
    "TUT2017": "PALM's own logs show test sets of 1,170, 3,507, 3,507 and 3,510 clips in folds 1 to 4 of its copy, "
    "where the authors' folds test about 1,170 each. Training and test are swapped or overlap there, and published "
    "rows on this copy rest on that."
}


@dataclass(frozen=True)
class Published:
    """One published row, as it was printed; a figure that was not given is empty."""

    method: str
    dataset: str
    base: str
    new: str
    h: str
    accuracy: str
    backbone: str
    protocol: str
    source: str


def published_beside(rows: Iterable[Row]) -> list[Published]:
    """The published rows of the methods and datasets that these rows have.

    Averages over the benchmark's eleven datasets are taken along where a method has rows on all of them.
    """
    ours: dict[str, set[str]] = {}
    for row in rows:
        ours.setdefault(method_title(row.method), set()).add(row.dataset)
    benchmark = {info.name for info in DATASETS.values() if not info.extra}
    for datasets in ours.values():
        if benchmark <= datasets:
            datasets.add(_AVERAGE)
    return [row for row in _published() if any(_is(row, method) and row.dataset in ours[method] for method in ours)]


def published_notes(rows: Iterable[Published]) -> tuple[str, ...]:
    """What is known of the data that published rows stand on, a line for each dataset among them."""
    named = {row.dataset for row in rows}
    notes = [f"{dataset}: {note}" for dataset, note in _NOTES.items() if dataset in named]
    if _AVERAGE in named:
        notes += [f"Averages of 11 include {dataset}. {note}" for dataset, note in _NOTES.items()]
    return tuple(notes)


def _is(row: Published, method: str) -> bool:
    # The SEPT paper's leaderboard gives a row without saying of which baseline; which one it fits stands in its name.
    return row.method == method or row.method.endswith(f"fits {method})")


@cache
def _published() -> tuple[Published, ...]:
    text = files("pipeline.reports").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(Published(**row) for row in csv.DictReader(text.splitlines()))
