"""Counts correctly classified test clips by source recording or speaker, for significance tests over clips.

Clips of one recording or speaker are not independent, so they are counted together; a clip without a known source is
counted by itself. The names of the sources are not stored: two trials on the same clips list them in the same order.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainSerializer, PlainValidator

if TYPE_CHECKING:
    from sept_core.evaluation import Group, GroupScores

__all__ = ["SourceCounts", "Tested", "count_tested"]

_MOST_BYTES = 1 << 24  # limit for damaged documents


def _pack(counts: Sequence[int]) -> str:
    data = struct.pack(f"<{len(counts)}I", *counts)
    # All lowest bytes first: the others are nearly all 0, and next to each other they compress to almost nothing.
    return base64.b64encode(zlib.compress(b"".join(data[byte::4] for byte in range(4)), 9)).decode()


def _unpack(packed: Any) -> tuple[int, ...]:
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(base64.b64decode(packed, validate=True), _MOST_BYTES)
        if not unpacking.eof or len(data) % 4:
            raise ValueError("counts are cut off")
        count, ordered = len(data) // 4, bytearray(len(data))
        for byte in range(4):
            ordered[byte::4] = data[byte * count : (byte + 1) * count]
        return struct.unpack(f"<{count}I", ordered)
    except (TypeError, binascii.Error, zlib.error) as error:
        raise ValueError(f"counts cannot be unpacked: {error}") from error


_Counts = Annotated[tuple[int, ...], PlainValidator(_unpack), PlainSerializer(_pack)]
"""Stored packed: uint32, all lowest bytes first, deflated, base64."""


@dataclass(frozen=True)
class SourceCounts:
    """Test clips of one fold and group.

    Attributes:
        clips: By source recording or speaker, the number of test clips.
        right: Number of correct classifications of these, over all seeds of the fold.
    """

    clips: _Counts
    right: _Counts

    def __post_init__(self) -> None:
        if len(self.clips) != len(self.right):
            raise ValueError(f"{len(self.right)} counts for {len(self.clips)} sources")


Tested = dict[str, dict[str, SourceCounts]]
"""By test fold and group (``base``, ``new``; cross-dataset: ``source`` and every target). ``base`` and ``new`` of a
fold list the same sources, since one speaker may occur in both."""


def count_tested(
    folds: Sequence[str], groups: Mapping[str, Group], scores: Mapping[str, GroupScores]
) -> dict[str, dict[str, SourceCounts]]:
    """Count what was classified correctly.

    Args:
        folds: Test fold of each replica.
        groups: The classified groups; all replicas of a fold have the same clips.
        scores: The result of `evaluate`.
    """
    # Imported here, so that commands which only read results do not load numpy.
    import numpy as np

    tested: Tested = {}
    for fold in dict.fromkeys(folds):
        replicas = [index for index, other in enumerate(folds) if other == fold]
        found = tested.setdefault(fold, {})
        for name, group in groups.items():
            # Groups of one table (base and new) list the sources of both.
            rows = {
                row for one in groups.values() if one.embeddings is group.embeddings for row in one.rows[replicas[0]]
            }
            place = {source: index for index, source in enumerate(sorted({group.source_of(row) for row in rows}))}
            at = np.array([place[group.source_of(row)] for row in group.rows[replicas[0]]], dtype=np.int64)
            right = np.sum([scores[name].right[index] for index in replicas], axis=0)
            found[name] = SourceCounts(
                tuple(np.bincount(at, minlength=len(place)).tolist()),
                tuple(np.bincount(at, weights=right, minlength=len(place)).astype(int).tolist()),
            )
    return tested
