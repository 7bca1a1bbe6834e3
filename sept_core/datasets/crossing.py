"""What training and test of a split share, and sounds with two labels: who made the split decides what that means.

In a split of our own, or in a person's own CSV, it is an error: the result would be wrong, and the owner can change the
split. In a split that the authors of a data set published, it is a warning that goes with every number: everybody's
results are on these splits (ESC-50's folds share 4 recordings, UrbanSound8K's 5), and ``crossing: drop`` leaves the
shared clips out of training. Only a copy that is wrong as a whole (train and test swapped, or one inside the other, as
in PALM's TUT2017) is refused, unless it is asked for by name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from sept_core.datasets.folds import Roles, roles_of
from sept_core.datasets.registry import DATASETS, DatasetInfo
from sept_core.datasets.sources import SPLIT_HERE, source_in_name, source_word
from sept_core.errors import InputError
from sept_core.text import plural, some

if TYPE_CHECKING:
    from sept_core.datasets.manifest import Manifest
    from sept_core.datasets.table import EmbeddingTable

__all__ = [
    "Crossing",
    "CrossingRule",
    "Row",
    "check_apart",
    "contradicting",
    "contradictions",
    "crossing_between",
    "equal_clips",
    "faulty_folds",
    "is_published",
    "labels_fix",
    "labels_line",
    "refuse_faulty",
    "repeated",
    "rows_of",
    "split_warnings",
    "tolerated",
]

CrossingRule = Literal["keep", "drop"]
"""What is done with training clips that a published split shares with its test clips: ``keep`` them, as published
results do, or ``drop`` them from the training pool."""

_TOLERATED = 0.01
_FAULTY_OVERLAP = 0.25
_EQUAL_SHOWN = 3
_DROP_HINT = "crossing: drop in the sweep's YAML leaves them out of training"


class Row(NamedTuple):
    """One clip, as far as splits are concerned.

    Attributes:
        clip_id: Its id.
        classname: Its class.
        roles: The folds that it is trained on and tested in.
        group: Recording or speaker as the manifest names it; ``""`` where it names none.
        source: The same, or else what the file's name tells; ``""`` if unknown.
        sha256: Digest of its file.
    """

    clip_id: str
    classname: str
    roles: Roles
    group: str
    source: str
    sha256: str


@dataclass(frozen=True)
class Crossing:
    """What pool and test set of one fold share.

    Attributes:
        pool: Indices of the clips in the pool that share a source or their content with a test clip.
        same: Those in the pool that are a test clip themselves, have the content of one, or sound the same.
        test: Indices of the test clips that share a source or their content with the pool.
        sources: The shared recordings or speakers, sorted.
        contents: The shared contents, each as ``pool clip = test clip``.
        alike: Clips that sound the same although their files differ, likewise.
    """

    pool: frozenset[int]
    same: frozenset[int]
    test: frozenset[int]
    sources: tuple[str, ...]
    contents: tuple[str, ...]
    alike: tuple[str, ...] = ()


def rows_of(clips: Manifest | EmbeddingTable, info: DatasetInfo) -> list[Row]:
    """The clips of a manifest or a table of embeddings, in their order.

    Raises:
        InputError: A clip's fold is none of the data set.
    """
    from sept_core.datasets.manifest import Manifest

    if isinstance(clips, Manifest):
        plain = [(clip.clip_id, clip.classname, clip.fold, clip.group, clip.sha256) for clip in clips.clips]
    else:
        plain = list(
            zip(clips.clip_ids, clips.classnames, clips.folds, clips.groups, clips.sha256, strict=True),
        )
    return [
        Row(clip_id, classname, roles_of(fold, info), group, group or source_in_name(info.name, clip_id), digest)
        for clip_id, classname, fold, group, digest in plain
    ]


def is_published(info: DatasetInfo, rows: Iterable[Row]) -> bool:
    """Whether a split is as the authors of the data set, or of PALM's copy, published it.

    Where the authors publish none, the split made here knows the sources and PALM's does not, so that a group tells.
    Of Beijing-Opera and GTZAN nobody knows the sources: either split counts as published, and the one that is made here
    keeps equal contents together by itself.
    """
    if info.name not in DATASETS:
        return False
    return info.name not in SPLIT_HERE or not any(row.group for row in rows)


def tolerated(count: int, total: int) -> bool:
    """Whether so many clips may be at fault in a registered data set before the copy as a whole is refused (1 %)."""
    return count <= _TOLERATED * total


def repeated(rows: Sequence[Row]) -> list[list[Row]]:
    """The clips of every content that stands more than once."""
    counts = Counter(row.sha256 for row in rows)
    by_content: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if counts[row.sha256] > 1:
            by_content[row.sha256].append(row)
    return list(by_content.values())


def contradicting(rows: Sequence[Row]) -> list[list[Row]]:
    """The clips of every content that has more than one label."""
    return [clips for clips in repeated(rows) if len({clip.classname for clip in clips}) > 1]


def contradictions(rows: Sequence[Row], info: DatasetInfo) -> frozenset[int]:
    """Indices of the clips that are left out, since their content has more than one label in a registered data set.

    Which label is right cannot be known. A person's own CSV is not silently thinned: there it is an error to correct.
    """
    torn = {clips[0].sha256 for clips in contradicting(rows)} if info.name in DATASETS else set[str]()
    return frozenset(index for index, row in enumerate(rows) if row.sha256 in torn)


def crossing_between(
    rows: Sequence[Row], pool: Collection[int], test: Collection[int], alike: Iterable[tuple[int, int]] = ()
) -> Crossing:
    """What two sets of clips, given as indices, share; ``alike`` are pairs of clips that sound the same."""
    pool, test = frozenset(pool), frozenset(test)
    sources = ({rows[index].source for index in pool} & {rows[index].source for index in test}) - {""}
    contents = {rows[index].sha256 for index in pool} & {rows[index].sha256 for index in test}
    pairs = sorted(
        (a, b) if a in pool else (b, a) for a, b in alike if (a in pool and b in test) or (b in pool and a in test)
    )

    def concerned(indices: Collection[int]) -> frozenset[int]:
        return frozenset(index for index in indices if rows[index].source in sources or rows[index].sha256 in contents)

    heard = {trained for trained, _ in pairs}
    first = {rows[index].sha256: rows[index].clip_id for index in sorted(pool, reverse=True)}
    return Crossing(
        pool=concerned(pool) | heard,
        same=frozenset(heard).union(index for index in pool if rows[index].sha256 in contents),
        test=concerned(test) | {tested for _, tested in pairs},
        sources=tuple(sorted(sources)),
        contents=tuple(
            f"{first[row.sha256]} = {row.clip_id}" for row in (rows[i] for i in sorted(test)) if row.sha256 in contents
        ),
        alike=tuple(f"{rows[trained].clip_id} = {rows[tested].clip_id}" for trained, tested in pairs),
    )


def check_apart(info: DatasetInfo, fold: str, crossing: Crossing) -> None:
    """Let no split of our own, and no person's own, train on what it tests.

    Raises:
        InputError: Pool and test set of the fold share content, a recording or a speaker.
    """
    contents, sources, alike = crossing.contents, crossing.sources, crossing.alike
    for shared, what, fix in (
        (
            contents,
            f"{plural(len(contents), 'test clip')} also among the clips to train on, by content",
            "list each content once, or give both clips the same fold",
        ),
        (
            sources,
            f"{plural(len(sources), source_word(info.name))} in both training and test",
            "give all clips of one group the same fold",
        ),
        (
            alike,
            f"{plural(len(alike), 'pair')} of clips to train on and to test on sound the same",
            "give both clips of a pair the same group (or fold), or leave one out",
        ),
    ):
        if shared:
            where = f"{info.name}, fold {fold}"
            raise InputError(f"{what}: {some(shared)}", where=where, fix=_own_way_out(info, fix))


def faulty_folds(rows: Sequence[Row], info: DatasetInfo, folds: Sequence[str]) -> list[tuple[str, str]]:
    """The test folds of a published split that are wrong as a whole, each with what is wrong.

    That is where there are more clips to test on than to train on (train and test are swapped, perhaps), or where a
    quarter of the test clips are trained on by content (one holds the other, perhaps).
    """
    faulty = []
    for fold in folds:
        pool = [index for index, row in enumerate(rows) if fold in row.roles.train]
        test = [index for index, row in enumerate(rows) if fold in row.roles.test]
        if len(test) > len(pool):
            faulty.append((fold, f"{len(test)} clips to test on and {len(pool)} to train on: perhaps swapped"))
            continue
        trained = {rows[index].sha256 for index in pool}
        overlap = sum(rows[index].sha256 in trained for index in test)
        if overlap and overlap >= _FAULTY_OVERLAP * len(test):
            faulty.append((fold, f"{overlap} of {len(test)} test clips are trained on too"))
    return faulty


def refuse_faulty(rows: Sequence[Row], info: DatasetInfo, folds: Sequence[str], accepted: bool = False) -> None:
    """Let no copy be trained on that is wrong as a whole.

    Args:
        rows: All its clips.
        info: The data set.
        folds: The test folds in question.
        accepted: Whether a split that is swapped or overlaps was asked for by name.

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
    """That these contents have more than one label each."""
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
    """What the reader of a result should know of a registered data set's labels and published split, one line each.

    Args:
        rows: All clips of the data set.
        info: The data set.
        folds: The test folds in question.
        rule: What is done with what crosses.
        trained: False for a check, which says what trials would do.
        unused: Indices of clips that trials use nowhere, since the encoder has heard them.

    Returns:
        Lines without the data set's name; none for a person's own data, where all of this is an error.
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
        follows = (
            "used as it is (accept_faulty_splits)" if trained else "trials refuse it unless it is asked for by name"
        )
        lines.append(f"this copy's split is wrong: {_listed(faulty)}; {follows}")
    return lines


def equal_clips(clips: Sequence[Row]) -> str:
    """Clips of one content, the first few by name: ``a = b = c = 2 more``."""
    more = f" = {len(clips) - _EQUAL_SHOWN} more" if len(clips) > _EQUAL_SHOWN else ""
    return " = ".join(clip.clip_id for clip in clips[:_EQUAL_SHOWN]) + more


def _crossing_lines(
    rows: Sequence[Row], left: Sequence[int], info: DatasetInfo, folds: Sequence[str], rule: CrossingRule
) -> list[str]:
    """A line for the recordings, and one for the contents, that stand on both sides of the published split."""
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
        follows = "without them nothing would be left to train on of some classes"
    lines = []
    if tested_in:
        many = f"{plural(len(tested_in), source_word(info.name))} {'stands' if len(tested_in) == 1 else 'stand'}"
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
    """Sources with the folds that they stand in: ``131943 and 134049 in folds 2 and 3``."""
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


def _own_way_out(info: DatasetInfo, what: str) -> str:
    if info.name in DATASETS:
        return f"move one file of each pair out of the folder, and embed {info.name} again"
    return (
        f"in the CSV {what}, or remove the column that places them and have folds made; "
        "then sept data prepare and sept embed again"
    )
