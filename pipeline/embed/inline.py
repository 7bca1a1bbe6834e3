"""Embeds in this process: threads decode ahead, the process encodes. For work that is faster than starting Ray."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

from pipeline.embed.batches import Batch, Decoded, as_in_an_encoder, decode, encode
from pipeline.embed.jobs import EmbedJob

if TYPE_CHECKING:
    from sept_core.encoders import AudioTower

__all__ = ["embed_inline"]

# How many batches to decode before they are needed.
_AHEAD = 2


def embed_inline(jobs: Sequence[EmbedJob], tower: AudioTower, done: Callable[[int, int], None]) -> None:
    """Embed what is missing.

    Args:
        jobs: The data sets.
        tower: The encoder's audio tower.
        done: Called with a job's index and a number of clips after each batch.
    """
    with as_in_an_encoder(), closing(_decoded(jobs, tower)) as decoded:
        for batch, found in decoded:
            good = [clip for clip in batch.clips if clip.clip_id not in found.faults]
            embeddings = None if found.windows is None else encode(tower, found.windows, good, batch.size)
            jobs[batch.job].take(batch.part, batch.index, embeddings, found.faults, found.sounds)
            done(batch.job, len(batch.clips))


def _decoded(jobs: Sequence[EmbedJob], tower: AudioTower) -> Generator[tuple[Batch, Decoded], None, None]:
    prepare, rate = tower.preparation(), tower.sample_rate
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")

    def begin(batch: Batch) -> tuple[Batch, Future[Decoded]]:
        job = jobs[batch.job]
        return batch, pool.submit(decode, batch.clips, job.source, prepare, rate, job.noise)

    rest = (begin(batch) for job in jobs for batch in job.batches())
    try:
        waiting = deque(islice(rest, _AHEAD))
        while waiting:
            batch, future = waiting.popleft()
            yield batch, future.result()
            waiting.extend(islice(rest, 1))
    finally:
        pool.shutdown(cancel_futures=True)
