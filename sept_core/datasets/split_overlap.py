"""What training and test clips of a split share, and contents with two labels.

In a split that we or the user made this is an error: the result would be wrong, and the owner can change the split. In
a split that the authors of a data set published it is a warning that is shown with every number: all published results
are on these splits (ESC-50's folds share 4 recordings, UrbanSound8K's 5), and ``crossing: drop`` leaves the shared
clips out of training. Only a copy that is wrong as a whole (train and test swapped, or one contained in the other, as
in PALM's TUT2017) is refused, unless the sweep asks for it by name (``split_faults.py``).
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
    "is_published",
    "repeated",
    "rows_of",
    "tolerated",
]

CrossingRule = Literal["keep", "drop"]
"""What is done with training clips that a published split shares with its test clips: ``keep`` them, as published
results do, or ``drop`` them from the training pool."""

_TOLERATED = 0.01


class Row(NamedTuple):
    """The fields of a clip that matter for splits.

    Attributes:
        clip_id: Its id.
        classname: Its class.
        roles: The folds that it is trained on and tested in.
        group: Recording or speaker in the manifest; ``""`` if unknown.
        source: The same, or else the source in the file's name; ``""`` if unknown.
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
    """Overlap of the pool and the test set of one fold.

    Attributes:
        pool: Indices of the clips in the pool that share a source or their content with a test clip.
        same: Clips of the pool that are a test clip, have the content of one, or sound like one.
        test: Indices of the test clips that share a source or their content with the pool.
        sources: The shared recordings or speakers, sorted.
        contents: Shared contents, each as ``pool clip = test clip``.
        alike: Clips that sound the same although their files differ, in the same form.
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
        InputError: A clip's fold is not one of the data set.
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
    """Whether a split was published by the authors of the data set or of PALM's copy.

    If the authors publish none, our split has groups and PALM's has none, so a group tells which it is. The sources of
    Beijing-Opera and GTZAN are unknown: both splits count as published, and ours keeps equal contents together.
    """
    if info.name not in DATASETS:
        return False
    return info.name not in SPLIT_HERE or not any(row.group for row in rows)


def tolerated(count: int, total: int) -> bool:
    """Whether a registered data set may have this many faulty clips (1 %) without being refused as a whole."""
    return count <= _TOLERATED * total


def repeated(rows: Sequence[Row]) -> list[list[Row]]:
    """The clips of every content that occurs more than once."""
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
    """Indices of clips of a registered data set that are left out because their content has more than one label.

    It is unknown which label is right. In a user's own CSV nothing is left out silently: there it is an error to
    correct.
    """
    torn = {clips[0].sha256 for clips in contradicting(rows)} if info.name in DATASETS else set[str]()
    return frozenset(index for index, row in enumerate(rows) if row.sha256 in torn)


def crossing_between(
    rows: Sequence[Row], pool: Collection[int], test: Collection[int], alike: Iterable[tuple[int, int]] = ()
) -> Crossing:
    """The overlap of two sets of clips, given as indices; ``alike`` are pairs of clips that sound the same."""
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
    """Refuse a split of ours or the user's that trains on what it tests.

    Raises:
        InputError: Pool and test set of the fold share content, a recording or a speaker.
    """
    contents, sources, alike = crossing.contents, crossing.sources, crossing.alike
    for shared, what, fix in (
        (
            contents,
            f"{plural(len(contents), 'test clip')} with the content of a training clip",
            "list each content once, or give both clips the same fold",
        ),
        (
            sources,
            f"{plural(len(sources), source_word(info.name))} in both training and test",
            "give all clips of one group the same fold",
        ),
        (
            alike,
            f"{plural(len(alike), 'pair')} of training and test clips sound the same",
            "give both clips of a pair the same group (or fold), or leave one out",
        ),
    ):
        if shared:
            where = f"{info.name}, fold {fold}"
            raise InputError(f"{what}: {some(shared)}", where=where, fix=_own_way_out(info, fix))


def _own_way_out(info: DatasetInfo, what: str) -> str:
    if info.name in DATASETS:
        return f"move one file of each pair out of the folder, and embed {info.name} again"
    return (
        f"in the CSV {what}, or remove its column fold or split, so that folds are made; "
        "then sept data prepare and sept embed again"
    )
