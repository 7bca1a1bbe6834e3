"""Embeds with Ray Data: tasks decode on every CPU of the cluster, actors encode on its GPUs.

    batches -> decode (tasks, 1 CPU each) -> encode (actors that keep the encoder loaded) -> this process writes parts

Windows pass through Ray's object store, which slows decoding down if encoding is slower. Without GPUs each actor
decodes what it encodes, on its own CPU, and nothing is transferred. Embeddings are small: one process receives all of
them and writes each part when it is complete. Checked with Ray 2.60.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import ray
import ray.data
from ray.exceptions import RayError

from pipeline.cluster.faults import fault_of, raised_there
from pipeline.cluster.liveness import watched
from pipeline.embed.batches import as_in_an_encoder, compute_exactly, decode, encode
from pipeline.embed.encoder_loading import Loader
from pipeline.embed.jobs import EmbedJob
from pipeline.store import is_remote
from sept_core.datasets import Clip
from sept_core.errors import SeptError

if TYPE_CHECKING:
    from pipeline.data.audio.source import AudioSource
    from pipeline.spec import EncoderFiles
    from sept_core.audio.noise import Noise
    from sept_core.encoders import AudioTower, Preparation

__all__ = ["embed_on_ray"]

Row = dict[str, Any]

# Ray itself would repeat a batch that kills its process, and restart a lost encoder, without end.
_RETRIES, _RESTARTS = 5, 30


def embed_on_ray(
    jobs: Sequence[EmbedJob],
    tower: AudioTower,
    files: EncoderFiles,
    load: Loader,
    done: Callable[[int, int], None],
    concurrency: int | None = None,
    gpus: int | None = None,
) -> None:
    """Embed what is missing, on the Ray that this process is connected to.

    Args:
        jobs: The data sets.
        tower: The encoder's audio tower in this process; it does not encode here.
        files: The encoder's, from which other processes load it.
        load: Loads it.
        done: Called with a job's index and a number of clips after each batch.
        concurrency: Number of encoding processes; None for one per GPU or, without GPUs, as many as there are CPUs and
            tasks.
        gpus: Number of GPUs that the cluster can grow to; None for those that it has.

    Raises:
        InputError: As `decode` and `encode` raise it.
        RayLost: Ray is gone; what is done is kept.
        SeptError: The cluster fails.
    """
    tasks = [
        {
            "job": batch.job,
            "part": batch.part,
            "batch": batch.index,
            "size": batch.size,
            "clips": json.dumps([astuple(clip) for clip in batch.clips]),
        }
        for job in jobs
        for batch in job.batches()
    ]
    if not tasks:
        return
    resources = ray.cluster_resources()
    gpus, cpus = max(int(resources.get("GPU", 0)), gpus or 0), int(resources.get("CPU", 1))
    pool = (1, min(len(tasks), concurrency or gpus or cpus))
    sources = [(job.source, job.noise) for job in jobs]
    decoding = partial(_decode, sources=sources, prepare=tower.preparation(), sample_rate=tower.sample_rate)
    encoding: Any = _Encode  # Ray makes an actor of the class
    lives: dict[str, Any] = {"max_restarts": _RESTARTS, "max_task_retries": _RETRIES}
    with _quiet():
        # A block per batch, so that batches are decoded in parallel and each is encoded on its own.
        batches = ray.data.from_items(tasks, override_num_blocks=len(tasks))
        if gpus:
            decoded = batches.map(decoding, num_cpus=1, max_retries=_RETRIES)
            results = decoded.map(
                encoding, fn_constructor_args=(files, load, True), num_cpus=0, num_gpus=1, concurrency=pool, **lives
            )
        else:
            results = batches.map(
                encoding, fn_constructor_args=(files, load, False, decoding), num_cpus=1, concurrency=pool, **lives
            )
        lost = Event()

        def take_all() -> None:
            for row in results.iter_rows():
                if lost.is_set():
                    return
                _take(jobs, row, tower.dim)
                done(row["job"], row["clips"])

        try:
            watched(take_all, lost)
        except RayError as error:
            line = " ".join(str(error).split())[-300:]
            raise SeptError(f"Ray stopped: {line}; what is done is kept, run the same command again") from error


def _decode(
    row: Row, sources: Sequence[tuple[AudioSource, Noise | None]], prepare: Preparation, sample_rate: int
) -> Row:
    """A task: the windows of a batch, as bytes, since Arrow does not handle arrays of varying shapes well."""
    clips = [Clip(*fields) for fields in json.loads(row["clips"])]
    base = {name: row[name] for name in ("job", "part", "batch", "size")} | {"clips": len(clips)}
    source, noise = sources[row["job"]]
    _met(source.uri)
    try:
        with as_in_an_encoder():
            found = decode(clips, source, prepare, sample_rate, noise)
    except SeptError as error:
        return base | _outcome(error=error)
    good = [clip for clip in clips if clip.clip_id not in found.faults]
    windows = b"" if found.windows is None else found.windows.contiguous().numpy().tobytes()
    return base | _outcome(
        good=[astuple(clip) for clip in good], faults=found.faults, sounds=found.sounds, data=windows
    )


class _Encode:
    """An actor: the embeddings of one batch after the other, as bytes; it decodes them too if ``decoding`` is given."""

    def __init__(
        self, files: EncoderFiles, load: Loader, gpu: bool, decoding: Callable[[Row], Row] = lambda row: row
    ) -> None:
        _met(files.weights, files.text_model)
        if gpu:
            compute_exactly()
        self._decoding = decoding
        self._error: SeptError | None = None
        try:
            self._tower = load(files).load_audio()
            if gpu:
                self._tower.to("cuda")
        except SeptError as error:
            # Returned like any other error: if raised here, Ray would wrap it.
            self._error = error

    def __call__(self, row: Row) -> Row:
        import torch

        if self._error is not None:
            return {name: row[name] for name in ("job", "part", "batch")} | {"clips": 0} | _outcome(error=self._error)
        row = self._decoding(row)
        clips = [Clip(*fields) for fields in json.loads(row["good"])]
        if row["fault"] or not clips:
            return row
        # A copy: torch needs writable memory.
        windows = torch.frombuffer(bytearray(row["data"]), dtype=torch.float32).reshape(len(clips), -1)
        try:
            with as_in_an_encoder():
                embeddings = encode(self._tower, windows, clips, row["size"])
        except SeptError as error:
            return row | _outcome(error=error)
        return row | {"good": "[]", "data": embeddings.contiguous().numpy().tobytes()}


def _outcome(
    *,
    good: Sequence[Sequence[str]] = (),
    faults: Mapping[str, str] | None = None,
    sounds: Sequence[str] = (),
    data: bytes = b"",
    error: SeptError | None = None,
) -> Row:
    """The content of a row. An error is part of it, since Ray would wrap an exception."""
    return {
        "good": json.dumps(good),
        "faults": json.dumps(dict(faults or {})),
        "sounds": json.dumps(list(sounds)),
        "data": data,
        "fault": "" if error is None else fault_of(error),
        "error": "" if error is None else str(error),
    }


def _take(jobs: Sequence[EmbedJob], row: Row, dim: int) -> None:
    """Give a batch to its job."""
    import torch

    if row["fault"]:
        raise raised_there(row["fault"], row["error"])
    data = bytearray(row["data"])
    embeddings = torch.frombuffer(data, dtype=torch.float32).reshape(-1, dim) if data else None
    jobs[row["job"]].take(row["part"], row["batch"], embeddings, json.loads(row["faults"]), json.loads(row["sounds"]))


def _met(*places: str | None) -> None:
    """The driver has read from these places: if a bucket does not answer now, wait for it."""
    if any(place and is_remote(place) for place in places):
        from pipeline.store.s3_client import s3_connection

        s3_connection().known = True


@contextmanager
def _quiet() -> Iterator[None]:
    """Within this context, Ray Data prints nothing and shows no progress bars; the command shows its own."""
    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars
    logger = logging.getLogger("ray.data")
    level = logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars = before
        logger.setLevel(level)
