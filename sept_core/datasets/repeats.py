"""Sounds that occur twice in a data set without breaking a split: within a training pool, a test set, or two classes.

Trials use such clips as they are, and a warning is shown with their results. Clips on both sides of a split and equal
files with several labels are the subject of `crossing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sept_core.datasets.split_faults import equal_clips
from sept_core.datasets.split_overlap import Row, repeated
from sept_core.text import plural, some

if TYPE_CHECKING:
    from sept_core.datasets.registry import DatasetInfo

__all__ = ["alike_lines", "repeated_lines"]


class _Places(NamedTuple):
    """Where copies of one sound are: several in one training pool, several in one test set, or one in each."""

    pool: bool
    test: bool
    crossing: bool


def repeated_lines(
    rows: Sequence[Row], folds: Collection[str], *, unused: Collection[int] = (), target: bool = False
) -> list[str]:
    """A line about files that occur more than once in a class; empty if there are none.

    Args:
        rows: All clips of the data set.
        folds: The test folds in question.
        unused: Indices of clips that trials use nowhere.
        target: Whether the data set is only tested on, all folds together.
    """
    copies = repeated([row for index, row in enumerate(rows) if index not in unused])
    of_one_class = [clips for clips in copies if len({clip.classname for clip in clips}) == 1]
    if target:
        tested = [[clip for clip in clips if clip.roles.test] for clips in of_one_class]
        found = [(clips, _Places(False, True, False)) for clips in tested if len(clips) > 1]
    else:
        found = [(clips, places) for clips in of_one_class if _breaks_nothing(places := _places(clips, folds))]
    if not found:
        return []
    named = some([equal_clips(clips) for clips, _ in found])
    return [f"{plural(len(found), 'sound')} more than once in a class: {named}; {_follows(found)}"]


def alike_lines(
    rows: Sequence[Row],
    info: DatasetInfo,
    folds: Collection[str],
    pairs: Iterable[tuple[int, int]],
    unused: Collection[int] = (),
) -> list[str]:
    """Lines for clips that sound the same although their files differ: within a class, and with different labels.

    Args:
        rows: All clips of the data set.
        info: The data set.
        folds: The test folds in question.
        pairs: Indices of clips that sound the same.
        unused: Indices of clips that trials use nowhere.
    """
    from sept_core.datasets.registry import halves

    new = set(halves(info.classnames)[1])
    used = [(rows[one], rows[other]) for one, other in pairs if one not in unused and other not in unused]
    same = [pair for pair in used if pair[0].classname == pair[1].classname]
    found = [(pair, places) for pair in same if _breaks_nothing(places := _places(pair, folds))]
    lines = []
    if found:
        named = some([equal_clips(pair) for pair, _ in found])
        lines.append(
            f"{plural(len(found), 'pair')} of clips in one class sound the same, encoded twice: {named}; "
            f"{_follows(found)}"
        )
    torn = [pair for pair in used if pair[0].classname != pair[1].classname]
    if torn:
        named = some([" = ".join(f"{clip.clip_id} ({clip.classname})" for clip in pair) for pair in torn])
        mixed = sum((one.classname in new) != (other.classname in new) for one, other in torn)
        halves_too = f", {mixed} of them of a base and a new class" if mixed else ""
        lines.append(
            f"{plural(len(torn), 'pair')} of clips that sound the same have different labels{halves_too}: {named}; "
            "they are used as they are, and one label of each pair is likely wrong"
        )
    return lines


def _places(clips: Sequence[Row], folds: Collection[str]) -> _Places:
    pools = Counter(fold for clip in clips for fold in clip.roles.train if fold in folds)
    tests = Counter(fold for clip in clips for fold in clip.roles.test if fold in folds)
    return _Places(max(pools.values(), default=0) > 1, max(tests.values(), default=0) > 1, bool(pools.keys() & tests))


def _breaks_nothing(places: _Places) -> bool:
    """Whether copies are together in a pool or a test set; copies on both sides have their own line or error."""
    return (places.pool or places.test) and not places.crossing


def _follows(found: Sequence[tuple[Sequence[Row], _Places]]) -> str:
    parts = ["one copy may be trained on while another is held out"] * any(places.pool for _, places in found)
    parts += ["each copy counts in the test"] * any(places.test for _, places in found)
    return " and ".join(parts)
