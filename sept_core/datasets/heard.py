"""What an encoder heard in its pretraining, and which clips of a data set are that: nothing may be tested on them.

A clip counts as heard if it lies in a fold that the encoder was trained on, if its file is one of those that it was
trained on, if it comes from a recording of theirs, or if it sounds like one of them. The same way tells which clips of
one data set another one has, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path

from sept_core.datasets.folds import roles_of
from sept_core.datasets.registry import DatasetInfo, halves
from sept_core.datasets.sources import source_id
from sept_core.datasets.table import EmbeddingTable
from sept_core.datasets.wording import some
from sept_core.errors import InputError

__all__ = [
    "FACTS",
    "Pretraining",
    "describe_rows",
    "heard_line",
    "heard_rows",
    "load_pretraining",
    "newly_heard",
    "same_sound_pairs",
    "shared_rows",
    "short_classes",
]

FACTS = Path(__file__).parents[1] / "encoders" / "seen_clips.json"
"""What each encoder that comes with the package was trained on, as far as data sets are concerned."""

_PAIRS_NAMED = 20


@dataclass(frozen=True)
class Pretraining:
    """What an encoder was trained on.

    Attributes:
        folds: By data set: folds that it was trained on. Trials neither draw nor test there.
        clips: SHA-256 of the files, whatever the data set that holds them is called.
        sources: Recordings, as `source_id` names them.
        sounds: Fingerprints of the clips, as `sound_of` gives them.
    """

    folds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    clips: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    sounds: tuple[str, ...] = ()


def load_pretraining(encoder: str) -> Pretraining:
    """What the package knows of an encoder's pretraining by its name; nothing for most. Imports no torch."""
    facts = json.loads(FACTS.read_text(encoding="ascii")).get(encoder)
    if facts is None:
        return Pretraining()
    folds = {dataset: tuple(names) for dataset, names in facts["folds"].items()}
    return Pretraining(folds, frozenset(facts["clips"]), frozenset(facts["sources"]), tuple(facts["sounds"]))


def heard_rows(table: EmbeddingTable, pretraining: Pretraining) -> frozenset[int]:
    """Rows of a table whose file, recording or sound the encoder was trained on; those of its folds not counted."""
    rows = {row for row, digest in enumerate(table.sha256) if digest in pretraining.clips}
    return frozenset(rows) | _kin(table, pretraining.sources, pretraining.sounds)


def newly_heard(table: EmbeddingTable, pretraining: Pretraining) -> frozenset[int]:
    """Those of `heard_rows` that neither the data set's name nor the file's content tells of."""
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
    """How many rows, and 16 hex digits over their clips: ``24 clips, 0123456789abcdef``."""
    names = "\n".join(sorted(table.clip_ids[row] for row in rows))
    return f"{len(rows)} clips, {hashlib.sha256(names.encode()).hexdigest()[:16]}"


def same_sound_pairs(
    names: Sequence[str], sounds: Sequence[str], sha256: Sequence[str], folds: Sequence[str], info: DatasetInfo
) -> list[tuple[str, str]]:
    """Pairs of clips that sound the same, one of them in the pool and the other in the test set of some fold.

    Files of the same content are left out; they are known without listening.

    Args:
        names: Ids of the clips.
        sounds: Their fingerprints; ``""`` where it is not known.
        sha256: Digests of their files.
        folds: Their folds.
        info: The data set.

    Returns:
        The first 20 pairs, by row.
    """
    if not any(sounds):
        return []
    from sept_core.datasets.sound import same_sound

    roles = [roles_of(fold, info) for fold in folds]

    def pairs() -> Iterable[tuple[str, str]]:
        for row, other in same_sound(sounds, sounds):
            crossing = roles[row].train & roles[other].test or roles[row].test & roles[other].train
            if row < other and crossing and sha256[row] != sha256[other]:
                yield names[row], names[other]

    return list(islice(pairs(), _PAIRS_NAMED))


def heard_line(
    dataset: str, encoder: str, folds: Sequence[str], heard: Collection[int], pretraining: Pretraining
) -> str:
    """One line that says what an encoder has heard of a data set; ``""`` where it is nothing.

    Args:
        dataset: Name of the data set.
        encoder: Name of the encoder.
        folds: Fold of each clip, in the order of the table.
        heard: `heard_rows` of it.
        pretraining: Of the encoder.
    """
    seen = [fold for fold in pretraining.folds.get(dataset, ()) if fold in folds]
    inside = sum(fold in seen for fold in folds)
    more = sum(folds[row] not in seen for row in heard)
    parts = []
    if seen:
        parts.append(f"fold{'s' if len(seen) > 1 else ''} {', '.join(seen)} ({inside} clips)")
    if more:
        parts.append(f"{more}{' more' if seen else ''} {'clip' if more == 1 else 'clips'}")
    if not parts:
        return ""
    return f"{encoder} was trained on {' and '.join(parts)} of {dataset}; trials neither train nor test on them"


def short_classes(
    table: EmbeddingTable, folds: Sequence[str], shots: int, encoder: str, pretraining: Pretraining
) -> list[str]:
    """A line for each fold in which base classes have fewer shots than asked for because of what the encoder heard."""
    info, seen = table.info, set(pretraining.folds.get(table.dataset, ()))
    heard = heard_rows(table, pretraining)
    roles = [roles_of(fold, info) for fold in table.folds]
    lines = []
    for fold in folds:
        pool = [row for row, of in enumerate(roles) if fold in of.train]
        left = [row for row in pool if not roles[row].test & seen and row not in heard]
        few = []
        for name in halves(info.classnames)[0]:
            count = sum(table.classnames[row] == name for row in left)
            if count < min(shots, sum(table.classnames[row] == name for row in pool)):
                few.append(f"{name} {count}")
        if few:
            lines.append(
                f"{table.dataset}, fold {fold}: fewer than {shots} clips to draw shots from without those that "
                f"{encoder} was trained on: {some(few)}"
            )
    return lines


def refuse_same_sound(table: EmbeddingTable) -> None:
    """Let no recording pass that stands on both sides of a split of a person's own data, encoded twice.

    Raises:
        InputError: There are such; it names them.
    """
    pairs = same_sound_pairs(table.clip_ids, table.sounds, table.sha256, table.folds, table.info)
    if pairs:
        named = some([f"{one} = {other}" for one, other in pairs])
        raise InputError(
            f"recordings stand in training and in test, encoded differently: {named}",
            where=table.dataset,
            mend="give both clips of a pair the same group (or fold) in the CSV, or leave one out, and prepare it again",
        )


def _kin(table: EmbeddingTable, sources: frozenset[str], sounds: tuple[str, ...]) -> frozenset[int]:
    """Rows of a table from one of these recordings, or that sound like one of these clips."""
    rows = {row for row, group in enumerate(table.groups) if group and source_id(table.dataset, group) in sources}
    return frozenset(rows) | _sounding_like(table.sounds, sounds)


# Asked again for each trial of a process; kept are names of rows, and tuples that their tables have anyway.
@lru_cache(maxsize=32)
def _sounding_like(sounds: tuple[str, ...], known: tuple[str, ...]) -> frozenset[int]:
    if not any(sounds) or not any(known):
        return frozenset()
    from sept_core.datasets.sound import sounding_like

    return frozenset(sounding_like(sounds, known))
