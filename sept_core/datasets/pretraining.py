"""What an encoder heard in its pretraining, and which clips of a data set are among it: they may not be tested on.

A clip counts as heard if it is in a fold that the encoder was trained on, if the encoder was trained on its file, if it
comes from a recording that the encoder was trained on, or if it sounds like one of those clips. The same comparison
finds clips that two data sets share.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sept_core.datasets.folds import roles_of
from sept_core.datasets.registry import DatasetInfo, halves
from sept_core.datasets.sources import source_id
from sept_core.text import some

if TYPE_CHECKING:
    from sept_core.datasets.manifest import Manifest
    from sept_core.datasets.table import EmbeddingTable

__all__ = [
    "FACTS",
    "SAME_SOUND_FIX",
    "Clips",
    "ManifestClips",
    "Pretraining",
    "describe_rows",
    "heard_line",
    "heard_rows",
    "load_pretraining",
    "newly_heard",
    "same_sound_line",
    "same_sound_pairs",
    "same_sound_rows",
    "shared_rows",
    "short_classes",
]

FACTS = Path(__file__).parents[1] / "encoders" / "seen_clips.json"
"""The data sets that each encoder of the package was trained on."""

SAME_SOUND_FIX = (
    "give both clips of a pair the same group (or fold) in the CSV, or leave one out; then prepare and embed it again"
)
"""What to do about a user's own clips that sound the same on both sides of a split."""

_MOST_ROWS = 30_000
_MOST_PAIRS = 10_000


@dataclass(frozen=True)
class Pretraining:
    """What an encoder was trained on.

    Attributes:
        folds: By data set: folds that it was trained on. Trials do not use them.
        clips: SHA-256 of the files, in whatever data set they are.
        sources: Recordings, as `source_id` names them.
        sounds: Fingerprints of the clips, as `sound_of` gives them.
    """

    folds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    clips: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    sounds: tuple[str, ...] = ()

    def __hash__(self) -> int:
        # ``folds`` is a mapping, which has no hash.
        return hash((self.clips, self.sources, self.sounds))


class Clips(Protocol):
    """The columns of clips that are compared: an `EmbeddingTable` or `ManifestClips`."""

    @property
    def dataset(self) -> str: ...  # noqa: D102

    @property
    def info(self) -> DatasetInfo: ...  # noqa: D102

    @property
    def classnames(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def folds(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def groups(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def sha256(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def sounds(self) -> tuple[str, ...]: ...  # noqa: D102


class ManifestClips:
    """The clips of a manifest; their fingerprints are unknown."""

    def __init__(self, manifest: Manifest, info: DatasetInfo) -> None:
        self.dataset, self.info = manifest.dataset, info
        self.classnames = tuple(clip.classname for clip in manifest.clips)
        self.folds = tuple(clip.fold for clip in manifest.clips)
        self.groups = tuple(clip.group for clip in manifest.clips)
        self.sha256 = tuple(clip.sha256 for clip in manifest.clips)
        self.sounds = ("",) * len(manifest.clips)


def load_pretraining(encoder: str) -> Pretraining:
    """What the package knows about the pretraining of an encoder, by name; nothing for most. Imports no torch."""
    facts = json.loads(FACTS.read_text(encoding="ascii")).get(encoder)
    if facts is None:
        return Pretraining()
    folds = {dataset: tuple(names) for dataset, names in facts["folds"].items()}
    return Pretraining(folds, frozenset(facts["clips"]), frozenset(facts["sources"]), tuple(facts["sounds"]))


def heard_rows(table: Clips, pretraining: Pretraining) -> frozenset[int]:
    """Rows of a table whose file, recording or sound the encoder was trained on; its folds are not counted."""
    rows = {row for row, digest in enumerate(table.sha256) if digest in pretraining.clips}
    return frozenset(rows) | _kin(table, pretraining.sources, pretraining.sounds)


def newly_heard(table: EmbeddingTable, pretraining: Pretraining) -> frozenset[int]:
    """The `heard_rows` that neither the data set's name nor the content of a file identifies."""
    seen = set(pretraining.folds.get(table.dataset, ()))
    return frozenset(
        row
        for row in heard_rows(table, pretraining)
        if table.sha256[row] not in pretraining.clips and not roles_of(table.folds[row], table.info).test & seen
    )


def shared_rows(table: EmbeddingTable, rows: Iterable[int], other: EmbeddingTable) -> frozenset[int]:
    """Rows of another table that have the file, the recording or the sound of one of these rows."""
    chosen = sorted(set(rows))
    clips = {table.sha256[row] for row in chosen}
    sources = frozenset(source_id(table.dataset, table.groups[row]) for row in chosen) - {""}
    same = {row for row, digest in enumerate(other.sha256) if digest in clips}
    return frozenset(same) | _kin(other, sources, tuple(table.sounds[row] for row in chosen))


def describe_rows(table: EmbeddingTable, rows: Collection[int]) -> str:
    """Number of rows and a digest of their clips, 16 hex digits: ``24 clips, 0123456789abcdef``."""
    names = "\n".join(sorted(table.clip_ids[row] for row in rows))
    return f"{len(rows)} clips, {hashlib.sha256(names.encode()).hexdigest()[:16]}"


@lru_cache(maxsize=8)
def same_sound_rows(sounds: tuple[str, ...], sha256: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Pairs of rows, the lower one first, that are the same recording although their files differ.

    Data sets of more than 30,000 clips are not compared, which would take minutes in every process; nor are more than
    10,000 pairs returned.

    Args:
        sounds: Fingerprints; ``""`` if unknown.
        sha256: Digests of the files. Pairs of equal files are left out; their digests identify them.
    """
    if not any(sounds) or len(sounds) > _MOST_ROWS:
        return ()
    from sept_core.datasets.sound import same_sound

    pairs = ((row, other) for row, other in same_sound(sounds, sounds) if row < other and sha256[row] != sha256[other])
    return tuple(islice(pairs, _MOST_PAIRS))


def same_sound_pairs(
    names: tuple[str, ...],
    sounds: tuple[str, ...],
    sha256: tuple[str, ...],
    folds: tuple[str, ...],
    info: DatasetInfo,
    tested: Collection[str] | None = None,
    unused: Collection[int] = (),
) -> tuple[str, ...]:
    """Clips that sound the same, one of them in the pool and the other in the test set of some fold: ``a = b``.

    Args:
        names: Ids of the clips.
        sounds: Their fingerprints; ``""`` if unknown.
        sha256: Digests of their files.
        folds: Their folds.
        info: The data set.
        tested: Test folds to look at; None for all.
        unused: Rows that no trial uses.

    Returns:
        The pairs, by row.
    """
    wanted = frozenset(info.folds if tested is None else tested)
    found = []
    for row, other in same_sound_rows(sounds, sha256):
        one, two = roles_of(folds[row], info), roles_of(folds[other], info)
        crossing = (one.train & two.test) | (one.test & two.train)
        if crossing & wanted and row not in unused and other not in unused:
            found.append(f"{names[row]} = {names[other]}")
    return tuple(found)


def same_sound_line(pairs: Sequence[str]) -> str:
    """The result of `same_sound_pairs` in words."""
    return f"clips to test on sound the same as clips to train on, encoded twice: {some(pairs)}"


def heard_line(clips: Clips, encoder: str, pretraining: Pretraining) -> str:
    """One line about what an encoder has heard of a data set; ``""`` if nothing.

    Args:
        clips: All clips of the data set.
        encoder: Name of the encoder.
        pretraining: What it was trained on.
    """
    seen = [fold for fold in clips.info.folds if fold in pretraining.folds.get(clips.dataset, ())]
    inside = {row for row, fold in enumerate(clips.folds) if roles_of(fold, clips.info).test & set(seen)}
    more = len(heard_rows(clips, pretraining) - inside)
    parts = []
    if inside:
        parts.append(f"fold{'s' if len(seen) > 1 else ''} {', '.join(seen)} ({len(inside)} clips)")
    if more:
        parts.append(f"{more}{' more' if inside else ''} clip{'s' if more > 1 else ''}")
    if not parts:
        return ""
    return f"{encoder} was trained on {' and '.join(parts)} of {clips.dataset}; trials neither train nor test on them"


def short_classes(
    clips: Clips, folds: Sequence[str], shots: int, encoder: str, pretraining: Pretraining
) -> tuple[str, ...]:
    """A line for each fold in which base classes have fewer shots than asked for because of what the encoder heard.

    Args:
        clips: All clips of the data set.
        folds: Test folds to look at.
        shots: Shots per class.
        encoder: Name of the encoder.
        pretraining: What it was trained on.
    """
    seen = set(pretraining.folds.get(clips.dataset, ()))
    heard = heard_rows(clips, pretraining)
    roles = [roles_of(fold, clips.info) for fold in clips.folds]
    lines = []
    for fold in folds:
        pool = [row for row, of in enumerate(roles) if fold in of.train]
        whole = Counter(clips.classnames[row] for row in pool)
        left = Counter(clips.classnames[row] for row in pool if not roles[row].test & seen and row not in heard)
        few = [
            f"{name} {left[name]} of {whole[name]}"
            for name in halves(clips.info.classnames)[0]
            if left[name] < min(shots, whole[name])
        ]
        if few:
            lines.append(
                f"{clips.dataset}, test fold {fold}: fewer than {shots} clips to draw shots from in {some(few)}; "
                f"{encoder} was trained on the others"
            )
    return tuple(lines)


def _kin(table: Clips, sources: frozenset[str], sounds: tuple[str, ...]) -> frozenset[int]:
    """Rows of a table from one of these recordings, or that sound like one of these clips."""
    rows = {row for row, group in enumerate(table.groups) if group and source_id(table.dataset, group) in sources}
    return frozenset(rows) | _sounding_like(table.sounds, sounds)


# Called for each trial of a process. The cache holds only row indices, and tuples that the tables hold anyway.
@lru_cache(maxsize=32)
def _sounding_like(sounds: tuple[str, ...], known: tuple[str, ...]) -> frozenset[int]:
    if not any(sounds) or not any(known):
        return frozenset()
    from sept_core.datasets.sound import sounding_like

    return frozenset(sounding_like(sounds, known))
