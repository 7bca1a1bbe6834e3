"""The work left for a data set, and its results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pipeline.embed.batches import Batch
from pipeline.store import Files
from pipeline.store.embedding_writer import (
    ERRORS_FILE,
    ROWS_PER_PART,
    EmbeddingHeader,
    EmbeddingParts,
    WrittenPart,
    plan_parts,
)
from sept_core.audio.formats import SILENT
from sept_core.datasets import Clip
from sept_core.datasets.embeddings import embeddings_folder
from sept_core.datasets.split_overlap import tolerated
from sept_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.data.audio.source import AudioSource
    from sept_core.audio.noise import Noise

__all__ = ["EmbedJob"]

TOGETHER = 32
"""The smallest number of clips in a task; smaller tasks would cost more than the work itself."""


@dataclass
class _Gathered:
    """The batches of a part that have arrived so far."""

    embeddings: dict[int, Tensor | None] = field(default_factory=dict)
    sounds: dict[int, list[str]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


class EmbedJob:
    """The embeddings of one data set: hands out batches, takes their embeddings, writes complete parts.

    Args:
        index: Its index among the data sets that are embedded together.
        files: The store.
        header: What the embeddings are.
        clips: All clips, sorted by clip id.
        source: Where their audio is.
        batch_size: How many clips to encode at once.
        noise: Noise to add to the clips.
    """

    def __init__(
        self,
        index: int,
        files: Files,
        header: EmbeddingHeader,
        clips: Sequence[Clip],
        source: AudioSource,
        batch_size: int,
        noise: Noise | None = None,
    ) -> None:
        if batch_size < 1 or ROWS_PER_PART % batch_size:
            raise InputError(f"the batch size is {batch_size}", fix=f"give a power of 2 up to {ROWS_PER_PART}")
        self.header = header
        self.source = source
        self.noise = noise
        self.clips = len(clips)
        self._index = index
        self._files = files
        self._parts = plan_parts(header, clips)
        self._at_once = batch_size
        self._together = max(batch_size, TOGETHER)
        self._writer = EmbeddingParts(files, header)
        self._written: dict[str, WrittenPart] = {}
        self._gathered: dict[int, _Gathered] = {}

    def look(self) -> int:
        """Find the parts that were made before an interruption; returns how many clips they have."""
        self._written |= self._writer.find(self._parts)
        return sum(len(part.clips) for part in self._parts if part.stem in self._written)

    def batches(self) -> Iterator[Batch]:
        """The batches of all parts that are not written."""
        for number, part in enumerate(self._parts):
            if part.stem in self._written:
                continue
            for start in range(0, len(part.clips), self._together):
                chosen = part.clips[start : start + self._together]
                yield Batch(self._index, number, start // self._together, chosen, self._at_once)

    def take(self, part: int, batch: int, embeddings: Tensor | None, faults: dict[str, str], sounds: list[str]) -> None:
        """Embeddings ``[clips without a fault, dim]`` and sounds of a batch, in whatever order batches arrive."""
        import torch

        gathered = self._gathered.setdefault(part, _Gathered())
        gathered.embeddings[batch] = embeddings
        gathered.sounds[batch] = sounds
        gathered.faults |= faults
        chosen = self._parts[part]
        if len(gathered.embeddings) < -(-len(chosen.clips) // self._together):
            return
        rows = [found for _, found in sorted(gathered.embeddings.items()) if found is not None]
        whole = torch.cat(rows) if rows else torch.zeros(0, self.header.dim)
        sounds = [sound for _, some in sorted(gathered.sounds.items()) for sound in some]
        self._written[chosen.stem] = self._writer.write(chosen, whole, gathered.faults, sounds)
        del self._gathered[part]

    def publish(self, skip_bad: bool) -> bool:
        """Make the parts the data set's embeddings; False if some of them were removed meanwhile.

        Raises:
            InputError: Clips have no embedding, and that is not accepted; the parts stay for the next attempt.
        """
        self._writer.write_errors(self._parts, self._written)
        silent = self.silent
        bad = [(clip, reason) for clip, reason in self.faults if clip not in silent]
        if bad and (not skip_bad or len(bad) == self.clips):
            raise self._refusal(bad, skip_bad)
        if self._writer.publish(self._parts, self._written, accepted=len(silent)):
            return True
        self._written.clear()
        return False

    @property
    def faults(self) -> list[tuple[Clip, str]]:
        """The clips of all written parts that have no embedding, and why."""
        return [
            (clip, reason)
            for part in self._parts
            if part.stem in self._written
            for clip in part.clips
            if (reason := self._written[part.stem].faults.get(clip.clip_id)) is not None
        ]

    @property
    def silent(self) -> list[Clip]:
        """Clips without sound in a registered data set, as its authors published it: left out, not refused."""
        found = [clip for clip, reason in self.faults if reason == SILENT]
        few = self.header.description is None and len(found) < self.clips and tolerated(len(found), self.clips)
        return found if few else []

    @property
    def errors_address(self) -> str:
        """Where ``errors.parquet`` is."""
        folder = embeddings_folder(self.header.fingerprint, self.header.dataset)
        return self._files.address(f"{folder}/{ERRORS_FILE}")

    def _refusal(self, bad: Sequence[tuple[Clip, str]], skip_bad: bool) -> InputError:
        clip, reason = bad[0]
        others = len(bad) - 1
        more = f" ({others} more clip{'s' if others > 1 else ''} cannot be used either)" if others else ""
        leave = "" if skip_bad else ", or leave them out with --skip-bad"
        return InputError(
            f"{reason}{more}",
            where=_joined(self.source.uri, clip.path),
            fix=f"replace what {self.errors_address} lists{leave}",
        )


def _joined(uri: str, path: str) -> str:
    """A clip's file, for display."""
    return f"{uri.rstrip('/')}/{PurePosixPath(path)}"
