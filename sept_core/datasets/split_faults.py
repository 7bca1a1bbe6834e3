"""Faults of a split as a whole, and of labels: refused before training, or stated as warnings with the results.

``crossing.py`` says which splits count as published.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from sept_core.datasets.registry import DATASETS, DatasetInfo
from sept_core.datasets.sources import source_word
from sept_core.datasets.split_overlap import (
    CrossingRule,
    Row,
    contradicting,
    contradictions,
    crossing_between,
    is_published,
    tolerated,
)
from sept_core.errors import InputError
from sept_core.text import plural, some

__all__ = ["equal_clips", "faulty_folds", "labels_fix", "labels_line", "refuse_faulty", "split_warnings"]

_FAULTY_OVERLAP = 0.25
_EQUAL_SHOWN = 3
_DROP_HINT = "crossing: drop in the sweep's YAML leaves them out of training"


def faulty_folds(rows: Sequence[Row], info: DatasetInfo, folds: Sequence[str]) -> list[tuple[str, str]]:
    """The test folds of a published split that are wrong as a whole, each with the reason.

    A fold is wrong if it has more test clips than training clips (perhaps they are swapped), or if a quarter of its
    test clips have the content of a training clip (perhaps one set contains the other).
    """
    faulty = []
    for fold in folds:
        pool = [index for index, row in enumerate(rows) if fold in row.roles.train]
        test = [index for index, row in enumerate(rows) if fold in row.roles.test]
        if len(test) > len(pool):
            faulty.append((fold, f"{len(test)} clips to test on and {len(pool)} to train on: are they swapped?"))
            continue
        trained = {rows[index].sha256 for index in pool}
        overlap = sum(rows[index].sha256 in trained for index in test)
        if overlap and overlap >= _FAULTY_OVERLAP * len(test):
            faulty.append((fold, f"{overlap} of {len(test)} test clips are trained on too"))
    return faulty


def refuse_faulty(rows: Sequence[Row], info: DatasetInfo, folds: Sequence[str], accepted: bool = False) -> None:
    """Refuse to train on a copy that is wrong as a whole.

    Args:
        rows: All its clips.
        info: The data set.
        folds: The test folds in question.
        accepted: Whether the user accepted a split that is swapped or overlaps.

    Raises:
        InputError: Train and test of a fold are swapped or overlap, or labels contradict each other too often; with
            what to do.
    """
    torn = contradicting(rows)
    clips = sum(map(len, torn))
    if torn and not (info.name in DATASETS and tolerated(clips, len(rows))):
        raise InputError(labels_line(torn), where=info.name, fix=labels_fix(torn, info))
    faulty = faulty_folds(rows, info, folds) if is_published(info, rows) and not accepted else []
    if faulty:
        wrong = {name for name, _ in faulty_folds(rows, info, info.folds)}
        sound = [fold for fold in info.folds if fold not in wrong]
        only = f"or its sound folds alone with folds: {{{info.name}: [{', '.join(sound)}]}}, " if sound else ""
        raise InputError(
            f"this copy's split is wrong: {_listed(faulty)}",
            where=info.name,
            fix=f"use another copy of {info.name}, {only}or this one as it is with "
            f"accept_faulty_splits: [{info.name}] in the sweep's YAML",
        )


def labels_line(torn: Sequence[Sequence[Row]]) -> str:
    """States that these contents have more than one label each."""
    many = f"{plural(len(torn), 'sound')} {'has' if len(torn) == 1 else 'have'}"
    return f"{many} more than one label ({some([equal_clips(one) for one in torn])})"


def labels_fix(torn: Sequence[Sequence[Row]], info: DatasetInfo) -> str:
    """What to do about contents with more than one label."""
    if info.name in DATASETS:
        return f"unpack or download {info.name} again"
    one, other = (f"'{row.clip_id}' ({row.classname})" for row in torn[0][:2])
    return f"keep one of two rows in the CSV, {one} or {other}{' and so on' * (len(torn) > 1)}"


def split_warnings(
    rows: Sequence[Row],
    info: DatasetInfo,
    folds: Sequence[str],
    rule: CrossingRule = "keep",
    *,
    trained: bool = True,
    unused: Collection[int] = (),
) -> list[str]:
    """What a reader should know about the labels and the published split of a registered data set, one line each.

    Args:
        rows: All clips of the data set.
        info: The data set.
        folds: The test folds in question.
        rule: What is done with overlapping clips.
        trained: False for a check, which states what trials would do.
        unused: Indices of clips that no trial uses, since the encoder has heard them.

    Returns:
        Lines without the data set's name; none for a user's own data, where all of this is an error.
    """
    lines = []
    left_out = contradictions(rows, info)
    if left_out:
        follows = f"their {plural(len(left_out), 'clip')} are left out of training and test"
        lines.append(f"{labels_line(contradicting(rows))}: {follows}")
    if not is_published(info, rows):
        return lines
    left = [index for index in range(len(rows)) if index not in left_out and index not in unused]
    lines += _crossing_lines(rows, left, info, folds, rule)
    faulty = faulty_folds(rows, info, folds)
    if faulty:
        follows = "used as it is (accept_faulty_splits)" if trained else "trials refuse it unless the sweep accepts it"
        lines.append(f"this copy's split is wrong: {_listed(faulty)}; {follows}")
    return lines


def equal_clips(clips: Sequence[Row]) -> str:
    """Clips with the same content, the first few by name: ``a = b = c = 2 more``."""
    more = f" = {len(clips) - _EQUAL_SHOWN} more" if len(clips) > _EQUAL_SHOWN else ""
    return " = ".join(clip.clip_id for clip in clips[:_EQUAL_SHOWN]) + more


def _crossing_lines(
    rows: Sequence[Row], left: Sequence[int], info: DatasetInfo, folds: Sequence[str], rule: CrossingRule
) -> list[str]:
    """A line about recordings and one about contents that are on both sides of the published split."""
    tested_in: dict[str, set[str]] = defaultdict(set)
    concerned: set[int] = set()
    tested: set[int] = set()
    pairs: dict[str, None] = {}
    emptied = False
    for fold in folds:
        pool = [index for index in left if fold in rows[index].roles.train]
        test = [index for index in left if fold in rows[index].roles.test]
        crossing = crossing_between(rows, pool, test)
        kept = {rows[index].classname for index in pool if index not in crossing.pool}
        emptied |= not {rows[index].classname for index in pool} <= kept
        for source in crossing.sources:
            tested_in[source].add(fold)
        concerned |= {index for index in crossing.test if rows[index].source in crossing.sources}
        tested |= {*test}
        pairs |= dict.fromkeys(crossing.contents)
    follows = _DROP_HINT
    if rule == "drop":
        follows = "their training clips are left out (crossing: drop)"
    elif emptied:
        follows = "without them some classes would have no training clips"
    lines = []
    if tested_in:
        many = f"{plural(len(tested_in), source_word(info.name))} {'is' if len(tested_in) == 1 else 'are'}"
        lines.append(
            f"{many} in both training and test of the published split ({_places(tested_in, info)}), "
            f"with {len(concerned)} of {len(tested)} test clips; {follows}"
        )
    if pairs:
        lines.append(
            f"{plural(len(pairs), 'test clip')} of the published split {'is' if len(pairs) == 1 else 'are'} also "
            f"trained on, by content ({some([*pairs])}); {follows}"
        )
    return lines


def _places(tested_in: dict[str, set[str]], info: DatasetInfo) -> str:
    """Sources with their folds: ``131943 and 134049 in folds 2 and 3``."""
    if info.split == "fixed" or len(tested_in) > 8:
        return some(sorted(tested_in))
    together: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for source in sorted(tested_in):
        together[tuple(fold for fold in info.folds if fold in tested_in[source])].append(source)
    return ", ".join(f"{' and '.join(names)} in {_folds(folds)}" for folds, names in together.items())


def _folds(folds: Sequence[str]) -> str:
    return f"fold {folds[0]}" if len(folds) == 1 else f"folds {' and '.join(folds)}"


def _listed(faulty: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"fold {fold}: {what}" for fold, what in faulty)
