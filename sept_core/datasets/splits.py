"""Splits: which rows of a table are used to train, choose and test one replica, by base and new classes or by all.

A replica is one (fold, seed). Shots are drawn from the *pool*, the clips outside the test fold that the encoder did
not see in its pretraining. Clips of the pool that are not drawn are held out: hyper-parameters are chosen on them, so
that the choice for a fold has seen none of its test clips.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sept_core.datasets.pretraining import same_sound_rows
from sept_core.datasets.registry import DatasetInfo, halves
from sept_core.datasets.split_overlap import (
    CrossingRule,
    Row,
    check_apart,
    contradictions,
    crossing_between,
    is_published,
    rows_of,
)
from sept_core.datasets.table import EmbeddingTable
from sept_core.datasets.usable_folds import usable_folds
from sept_core.errors import InputError
from sept_core.text import some

__all__ = ["Split", "WholeSplit", "draw_shots", "make_split", "split_all_classes"]


@dataclass(frozen=True)
class Split:
    """Rows of an `EmbeddingTable` for one replica of base-to-new; no row is in two parts.

    Args:
        fold: The test fold.
        seed: Seed of the draw.
        train: The shots: grouped by base class in the order of ``halves(...)[0]``, in draw order within a class.
        heldout_base: Base-class clips of the pool that this replica did not draw and whose content and sound differ
            from all test clips, ascending: the replica may be chosen by these.
        heldout_new: Such clips of the pool that belong to new classes, ascending.
        test_base: Base-class clips of the test fold, ascending.
        test_new: New-class clips of the test fold, ascending.
        shared: Clips of the pool that have the content or the sound of a test clip.
    """

    fold: str
    seed: int
    train: tuple[int, ...]
    heldout_base: tuple[int, ...]
    heldout_new: tuple[int, ...]
    test_base: tuple[int, ...]
    test_new: tuple[int, ...]
    shared: frozenset[int]


@dataclass(frozen=True)
class WholeSplit:
    """Rows of an `EmbeddingTable` for one replica that trains on all classes; no row is in two parts.

    Args:
        train: The shots: grouped by class in alphabetical order, in draw order within a class.
        heldout: Clips of the pool that this replica did not draw and whose content and sound differ from all test
            clips, ascending.
        test: Clips of the test fold, ascending.
    """

    train: tuple[int, ...]
    heldout: tuple[int, ...]
    test: tuple[int, ...]


def draw_shots(dataset: str, fold: str, seed: int, classname: str, clip_ids: Sequence[str], shots: int) -> list[str]:
    """Draw up to ``shots`` of a class's clips, all of them if there are fewer.

    A pure function of its arguments. The order of ``clip_ids`` is irrelevant, and a draw of k is a prefix of the draw
    of k + 1: the clips are ranked by a hash and the first are taken, so no random generator's version or state enters,
    and the presence of one clip never changes the order of the others.

    Args:
        dataset: Canonical name of the data set.
        fold: The test fold of the replica.
        seed: Seed of the replica.
        classname: The class, as spelled in the registry.
        clip_ids: The class's clips in the pool, without duplicates.
        shots: How many to draw.

    Raises:
        InputError: ``shots`` is below 1.
    """
    if shots < 1:
        raise InputError(f"shots must be at least 1, got {shots}", fix="give a whole number from 1")

    def rank(clip_id: str) -> str:
        return hashlib.sha256(json.dumps([dataset, fold, seed, classname, clip_id]).encode()).hexdigest()

    return sorted(clip_ids, key=rank)[:shots]


def make_split(
    table: EmbeddingTable,
    info: DatasetInfo,
    fold: str,
    seed: int,
    shots: int,
    seen: Sequence[str],
    heard: Collection[int] = (),
    crossing: CrossingRule = "keep",
) -> Split:
    """Split a table's rows for the replica (fold, seed) of the base-to-new protocol.

    Args:
        table: Embeddings of ``info``'s clips.
        info: The data set; its class names decide what is base and what is new.
        fold: Test fold, one of ``usable_folds(info, seen)``.
        seed: Seed of the draw.
        shots: Clips per base class to train on; all of a class's pool if it has fewer.
        seen: Folds of the encoder's pretraining; their clips appear in no part of the split.
        heard: `heard_rows` of the table; these appear in no part either.
        crossing: Of a published split: whether clips that share a recording, a speaker or their content with the test
            set may be trained on. Clips with the content or the sound of a test clip are never held out: nothing is
            chosen by them.

    In a registered data set, clips with the same content and several labels appear in no part of the split.

    Raises:
        InputError: The table is not this data set's, lacks a class or has an extra one; the fold cannot be tested on;
            in a split of ours or the user's, a recording, a speaker or a file's content is in both pool and test set;
            or a part of the split is empty.
    """
    sides = _sides(table, info, fold, tuple(seen), frozenset(heard), crossing)
    pool, test = sides.pool, sides.test
    besides, fix = _missing(sides.heard, sides.dropped)

    base, new = halves(info.classnames)
    train = _drawn(table, info, fold, seed, shots, sides, base)
    # In a published split that is kept as it is, overlapping clips are trained on, as in published results; but nothing
    # is chosen by a copy of a test clip.
    not_held_out = sides.same.union(train)

    def of_classes(rows: Sequence[int], names: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(row for row in rows if table.classnames[row] in names)

    split = Split(
        fold=fold,
        seed=seed,
        train=train,
        heldout_base=tuple(row for row in of_classes(pool, base) if row not in not_held_out),
        heldout_new=tuple(row for row in of_classes(pool, new) if row not in not_held_out),
        test_base=of_classes(test, base),
        test_new=of_classes(test, new),
        shared=sides.same,
    )
    where = f"{info.name}, fold {fold}"
    if not split.heldout_base:
        raise _all_drawn(f"all {len(train)} base-class clips", where, shots, sides)
    if not split.heldout_new:
        raise InputError(f"no held-out clips of the new classes outside the test fold{besides}", where=where, fix=fix)
    if not split.test_base or not split.test_new:
        kind = "new" if split.test_base else "base"
        raise InputError(f"the test fold has no clips of the {kind} classes{besides}", where=where, fix=fix)
    return split


def split_all_classes(
    table: EmbeddingTable,
    info: DatasetInfo,
    fold: str,
    seed: int,
    shots: int,
    seen: Sequence[str],
    heard: Collection[int] = (),
    crossing: CrossingRule = "keep",
    *,
    hold_out: bool = True,
) -> WholeSplit:
    """Split a table's rows for a replica (fold, seed) that trains on all classes.

    The shots of a base class are those of `make_split`, so they are nested: a draw of k is a part of the draw of k + 1.

    Args:
        hold_out: Whether held-out clips are needed.

    The other arguments are those of `make_split`, with shots for every class.

    Raises:
        InputError: As `make_split`, with all classes instead of base and new ones.
    """
    sides = _sides(table, info, fold, tuple(seen), frozenset(heard), crossing)
    train = _drawn(table, info, fold, seed, shots, sides, sorted(info.classnames))
    not_held_out = sides.same.union(train)
    heldout = tuple(row for row in sides.pool if row not in not_held_out)
    where = f"{info.name}, fold {fold}"
    if hold_out and not heldout:
        raise _all_drawn(f"all {len(train)} clips", where, shots, sides)
    if not sides.test:
        besides, fix = _missing(sides.heard, sides.dropped)
        raise InputError(f"the test fold has no clips{besides}", where=where, fix=fix)
    return WholeSplit(train, heldout, sides.test)


def _drawn(
    table: EmbeddingTable,
    info: DatasetInfo,
    fold: str,
    seed: int,
    shots: int,
    sides: _Sides,
    classes: Sequence[str],
) -> tuple[int, ...]:
    """The shots of these classes, from the pool."""
    if shots < 1:
        raise InputError(f"shots must be at least 1, got {shots}", fix="give a whole number from 1")
    train: list[int] = []
    for classname in classes:
        named = {table.clip_ids[row]: row for row in sides.pool if table.classnames[row] == classname}
        if not named:
            besides, fix = _missing(sides.heard, sides.dropped)
            raise InputError(
                f"no clips of class '{classname}' to draw shots from{besides}",
                where=f"{info.name}, fold {fold}",
                fix=fix,
            )
        train += [named[clip_id] for clip_id in draw_shots(info.name, fold, seed, classname, list(named), shots)]
    return tuple(train)


def _all_drawn(clips: str, where: str, shots: int, sides: _Sides) -> InputError:
    """No clip is left to be held out."""
    besides, _ = _missing(sides.heard, sides.dropped)
    return InputError(
        f"no held-out clips{besides}: {clips} of the pool are drawn as shots"
        + (", or have the content or the sound of a test clip" if sides.same else ""),
        where=where,
        fix=f"lower shots (now {shots})" + (", or take an encoder that did not train on them" if sides.heard else ""),
    )


def _missing(heard: int, dropped: int) -> tuple[str, str]:
    """Which clips are missing, if any, in words, and what to do about it."""
    causes, ways = [], []
    if heard:
        causes.append(f"the {heard} clips that the encoder was pretrained on")
        ways.append("take an encoder that did not train on them")
    if dropped:
        causes.append(f"the {dropped} clips that crossing: drop leaves out")
        ways.append("use crossing: keep")
    besides = f" besides {' and '.join(causes)}" if causes else ""
    return besides, ", ".join([*ways, "or other test folds" if ways else "use other test folds, or add clips"])


@dataclass(frozen=True)
class _Sides:
    """A fold before anything is drawn: its pool and test set, ascending; clips of the pool with the content or the
    sound of a test clip; the number of clips that the encoder has heard, and of overlapping clips that are dropped."""

    pool: tuple[int, ...]
    test: tuple[int, ...]
    same: frozenset[int]
    heard: int
    dropped: int


# The same for every seed and every trial of a process; tables are compared by identity.
@lru_cache(maxsize=64)
def _sides(
    table: EmbeddingTable,
    info: DatasetInfo,
    fold: str,
    seen: tuple[str, ...],
    heard: frozenset[int],
    crossing: CrossingRule,
) -> _Sides:
    rows, torn = _checked_rows(table, info)
    usable = usable_folds(info, seen)
    if fold not in usable:
        raise InputError(f"cannot test on fold '{fold}'", where=info.name, fix=f"usable folds: {', '.join(usable)}")
    pretrained = frozenset(seen)
    without = {row for row, clip in enumerate(rows) if clip.roles.test & pretrained} | heard
    unused = without | torn
    unseen = [(row, clip.roles) for row, clip in enumerate(rows) if row not in unused]
    pool = [row for row, roles in unseen if fold in roles.train]
    test = [row for row, roles in unseen if fold in roles.test]
    shared = crossing_between(rows, pool, test, same_sound_rows(table.sounds, table.sha256))
    if not is_published(info, rows):
        check_apart(info, fold, shared)
    dropped = shared.pool if crossing == "drop" else frozenset[int]()
    kept = tuple(row for row in pool if row not in dropped)
    return _Sides(kept, tuple(test), shared.same - dropped, len(without), len(dropped))


# The same for every seed, trial and fold.
@lru_cache(maxsize=16)
def _checked_rows(table: EmbeddingTable, info: DatasetInfo) -> tuple[tuple[Row, ...], frozenset[int]]:
    """The rows of the table and those whose labels contradict each other; checks that it is the data set's table."""
    if table.dataset != info.name:
        raise InputError(
            f"the embeddings are of data set '{table.dataset}', not '{info.name}'",
            fix=f"give embeddings of {info.name}",
        )
    present = set(table.classnames)
    missing = [name for name in info.classnames if name not in present]
    if missing:
        raise InputError(
            f"no clips of {len(missing)} of {len(info.classnames)} classes: {some(missing)}",
            where=f"embeddings of {info.name}",
            fix="embed the complete data set",
        )
    strange = sorted(present - set(info.classnames))
    if strange:
        raise InputError(
            f"unknown classes: {some(strange)}",
            where=f"embeddings of {info.name}",
            fix=f"embed it again: sept embed {info.name} --audio DIR --force",
        )
    try:
        rows = tuple(rows_of(table, info))
    except InputError as error:
        raise InputError(error.what, where=f"embeddings of {info.name}", fix=error.fix) from error
    return rows, contradictions(rows, info)
