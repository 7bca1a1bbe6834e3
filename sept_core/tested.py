"""Which test clips were classified correctly, counted by source recording or speaker: what a test over clips needs.

Clips of one recording, or of one speaker, are right and wrong together, so they are counted together; a clip of which
neither is known is counted by itself. The names of the sources are not kept: two trials on the same clips list them in
the same order.
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

_MOST_BYTES = 1 << 24  # what a damaged document may unpack to


def _pack(counts: Sequence[int]) -> str:
    data = struct.pack(f"<{len(counts)}I", *counts)
    # All lowest bytes first: those above them are 0 nearly everywhere, and side by side they take no room.
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
        right: Of these, how many times one was classified correctly, all seeds of the fold together.
    """

    clips: _Counts
    right: _Counts

    def __post_init__(self) -> None:
        if len(self.clips) != len(self.right):
            raise ValueError(f"{len(self.right)} counts for {len(self.clips)} sources")


Tested = dict[str, dict[str, SourceCounts]]
"""By test fold and group (``base``, ``new``; cross-dataset: ``source`` and every target). ``base`` and ``new`` of a
fold list the same sources, since one speaker may be heard in both."""


def count_tested(
    folds: Sequence[str], groups: Mapping[str, Group], scores: Mapping[str, GroupScores]
) -> dict[str, dict[str, SourceCounts]]:
    """Count what was classified correctly.

    Args:
        folds: Test fold of each replica.
        groups: What was classified; all replicas of a fold have the same clips.
        scores: How, as `evaluate` returned it.
    """
    # Imported here, so that commands which only read results do not pay for it.
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
