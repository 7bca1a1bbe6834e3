"""Our own split, for data sets that come without one.

Beijing-Opera, CREMA-D, GTZAN and RAVDESS are published without folds, and a user's own data may be too. PALM's copies
of them come with random splits, in which speakers are on both sides; results on those splits and on the split made here
cannot be compared directly. The rules of our split, all in this file:

* a *unit* never crosses the split: all clips of a group (speaker, source recording) where groups are known, and all
  clips of equal content in any case;
* units are assigned, the largest first and then in the order of a hash, to the part that has the fewest clips of their
classes;
* k-fold data sets get their folds that way; a fixed split gets five parts, the first of which is the test set.

The result is a pure function of data set, clip ids, classes, groups and contents.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sept_core.datasets.registry import DatasetInfo

__all__ = ["PARTS", "Unplaced", "assign_folds", "assign_parts", "units_of"]

PARTS = 5
"""Number of parts of a data set without folds; the test set of a fixed split is one of them, a fifth."""


@dataclass(frozen=True)
class Unplaced:
    """A clip that has no fold yet; the fields are those of a ``Clip``."""

    clip_id: str
    classname: str
    group: str
    sha256: str


def assign_folds(info: DatasetInfo, clips: Sequence[Unplaced]) -> list[str]:
    """The fold of each clip, in the order given: a fold's name, or ``train`` and ``test`` for a fixed split."""
    if info.split == "kfold":
        return assign_parts(info.name, clips, info.folds)
    parts = tuple(str(number) for number in range(1, PARTS + 1))
    return ["test" if part == parts[0] else "train" for part in assign_parts(info.name, clips, parts)]


def assign_parts(dataset: str, clips: Sequence[Unplaced], parts: Sequence[str]) -> list[str]:
    """Assign clips to parts so that no unit is split and every class is spread evenly.

    Args:
        dataset: Name of the data set; enters the hash that orders the units.
        clips: In any order; the result does not depend on it.
        parts: Names of the parts.

    Returns:
        The part of each clip, in the order given.
    """
    units = units_of(clips)
    proposals: dict[str, Counter[str]] = defaultdict(Counter)
    names: dict[str, list[str]] = defaultdict(list)
    for unit, clip in zip(units, clips, strict=True):
        proposals[unit][clip.classname] += 1
        names[unit].append(clip.clip_id)

    def order(unit: str) -> tuple[int, str]:
        # Units are named by their first clip, so that a change in one file's bytes moves no other clip.
        rank = hashlib.sha256(json.dumps([dataset, min(names[unit])]).encode()).hexdigest()
        return -proposals[unit].total(), rank

    filled: dict[str, Counter[str]] = {part: Counter() for part in parts}
    placed: dict[str, str] = {}
    for unit in sorted(proposals, key=order):
        wanted = proposals[unit]

        def load(part: str, wanted: Counter[str] = wanted) -> tuple[int, int]:
            crowd = sum(count * filled[part][name] for name, count in wanted.items())
            return crowd, filled[part].total()

        placed[unit] = min(parts, key=load)
        filled[placed[unit]] += wanted
    return [placed[unit] for unit in units]


def units_of(clips: Sequence[Unplaced]) -> list[str]:
    """The unit of each clip: clips of one group or of equal content share one, directly or through others."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for clip in clips:
        content = root(f"content {clip.sha256}")
        if clip.group:
            parent[content] = root(f"group {clip.group}")
    return [root(f"content {clip.sha256}") for clip in clips]
