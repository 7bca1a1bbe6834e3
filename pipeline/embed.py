"""Clips to embeddings: read the folder, decode in threads, encode in batches, publish all or nothing.

embed("esc10", Path("audio/esc10"), "mini", Path("sept-runs"))
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.prepared import find_manifest, own_datasets
from pipeline.store import EmbeddingHeader, EmbeddingStore, Files
from pipeline.store.places import fetch
from sept_core.datasets import Clip, get_dataset, info_to_json
from sept_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders import AudioTower, Encoder

__all__ = ["EmbedSummary", "Progress", "embed", "embed_with"]

Progress = Callable[[int, int], None]
"""Called with (clips encoded, clips in all) after every batch."""

Decoded = tuple[Clip, "Tensor | InputError"]

# float32 keeps a normalised vector's length to about 1e-7.
NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class EmbedSummary:
    """What ``embed`` did.

    Attributes:
        dataset: Canonical name.
        encoder: Name of the encoder.
        fingerprint: Of the encoder.
        clips: Number of clips in the store.
        seconds: Wall time of decoding and encoding; 0 where nothing had to be done.
        where: Folder or ``s3://`` address of the embeddings.
        made: False where complete embeddings of the same clips were there already.
    """

    dataset: str
    encoder: str
    fingerprint: str
    clips: int
    seconds: float
    where: str
    made: bool

    @property
    def clips_per_second(self) -> float:
        """Throughput; 0 where nothing had to be done."""
        return self.clips / self.seconds if self.seconds > 0 else 0.0


def embed(
    dataset: str,
    audio: Path,
    encoder_name: str,
    root: Path | str | Files,
    progress: Progress | None = None,
    *,
    weights: str | None = None,
    text_model: str | None = None,
    force: bool = False,
    attribution: str = "",
) -> EmbedSummary:
    """Embed a data set with an encoder of the registry; see ``load_encoder`` and ``embed_with``."""
    # Asked before torch is imported: a mistyped name should be told at once.
    get_dataset(dataset, own_datasets(root))
    from sept_core.encoders import load_encoder

    encoder = load_encoder(encoder_name, weights, text_model, fetch)
    return embed_with(encoder, dataset, audio, root, progress, force=force, attribution=attribution)


def embed_with(
    encoder: Encoder,
    dataset: str,
    audio: Path,
    root: Path | str | Files,
    progress: Progress | None = None,
    *,
    force: bool = False,
    attribution: str = "",
    batch_size: int = 32,
    threads: int | None = None,
) -> EmbedSummary:
    """Decode and encode all clips of a data set and write them to the embedding store.

    Memory holds a few batches of clips and one part of embeddings, however large the data set is. Embeddings that are
    there already stay untouched until all new ones are computed.

    Args:
        encoder: The encoder; its audio tower is loaded only if there is something to do.
        dataset: Name of a registered data set, or of one's own that was prepared under ``root``.
        audio: Its folder: as its authors ship it, PALM's copy, or the one that was prepared.
        root: Results folder.
        progress: Called as the work goes on.
        force: Make the embeddings again even where complete ones of the same clips exist.
        attribution: Authors and licence, kept with the embeddings.
        batch_size: Clips per batch of the audio tower.
        threads: Threads that decode; by default as many as there are processors, at most 8.

    Raises:
        InputError: Unknown data set, a folder that does not hold it, or clips that cannot be used: the first is named
            with its reason, and how many there are.
    """
    prepared = find_manifest(dataset, audio, root)
    manifest, description = prepared.manifest, prepared.description
    store = EmbeddingStore(root)
    folder = store.folder(encoder.fingerprint, manifest.dataset)

    def summary(seconds: float, made: bool) -> EmbedSummary:
        return EmbedSummary(
            dataset=manifest.dataset,
            encoder=encoder.name,
            fingerprint=encoder.fingerprint,
            clips=len(manifest.clips),
            seconds=seconds,
            where=folder,
            made=made,
        )

    if not force and store.digest(encoder.fingerprint, manifest.dataset, description) == manifest.digest:
        return summary(0.0, made=False)

    started = time.perf_counter()
    tower = encoder.load_audio()
    header = EmbeddingHeader(
        dataset=manifest.dataset,
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        manifest_digest=manifest.digest,
        dim=tower.dim,
        preprocessing={"sample_rate": tower.sample_rate, "seconds": tower.seconds},
        attribution=attribution,
        description=None if description is None else info_to_json(description),
    )
    bad: list[InputError] = []
    done = 0
    with store.writer(header) as writer, closing(_decoded(tower, manifest.clips, audio, batch_size, threads)) as clips:
        while batch := list(islice(clips, batch_size)):
            bad += [window for _, window in batch if isinstance(window, InputError)]
            if not bad:
                # After the first bad clip the rest is only decoded, so that all bad ones are found in one run.
                writer.add([clip for clip, _ in batch], _encode(tower, batch, audio))
            done += len(batch)
            if progress is not None:
                progress(done, len(manifest.clips))
        if bad:
            raise _refusal(bad)
    return summary(time.perf_counter() - started, made=True)


def _decoded(
    tower: AudioTower, clips: Sequence[Clip], audio: Path, batch_size: int, threads: int | None
) -> Generator[Decoded, None, None]:
    """The prepared window ``[window]`` of every clip in order, or why there is none; two batches ahead at most."""
    from sept_core.audio import load_clip

    def decode(clip: Clip) -> Decoded:
        try:
            return clip, tower.prepare(load_clip(audio / clip.path, tower.sample_rate))
        except InputError as error:
            # Without a file to blame it is about this machine (a library that does not load), and stands for all clips.
            if not error.where:
                raise
            return clip, error

    waiting: deque[Future[Decoded]] = deque()
    rest = iter(clips)
    pool = ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1), thread_name_prefix="decode")
    try:
        waiting.extend(pool.submit(decode, clip) for clip in islice(rest, 2 * batch_size))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(decode, clip) for clip in islice(rest, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _encode(tower: AudioTower, batch: Sequence[Decoded], audio: Path) -> Tensor:
    """Features ``[clips, dim]`` float32 of prepared windows."""
    import torch

    windows = [window for _, window in batch if isinstance(window, torch.Tensor)]
    with torch.inference_mode():
        features = tower(torch.stack(windows)).float().cpu()
    # Written so that NaN, which fails every comparison, counts as wrong.
    for (clip, _), norm in zip(batch, features.norm(dim=1).tolist(), strict=True):
        if not abs(norm - 1) <= NORM_TOLERANCE:
            raise InputError(
                f"the encoder gives a feature of norm {norm}, not 1",
                where=str(audio / clip.path),
                mend="listen to the clip; if it is sound, the encoder is broken",
            )
    return features


def _refusal(bad: Sequence[InputError]) -> InputError:
    first = bad[0]
    others = len(bad) - 1
    more = f" ({others} more clip{'s' if others > 1 else ''} cannot be used either)" if others else ""
    return InputError(f"{first.what}{more}", where=first.where, mend=first.mend)
