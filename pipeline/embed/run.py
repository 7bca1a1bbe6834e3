"""``sept embed``: chooses between this process and Ray, and embeds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.audio.open import open_audio
from pipeline.data.audio.source import AudioSource
from pipeline.data.prepared import own_datasets
from pipeline.embed.encoder_loading import Loader, load
from pipeline.embed.jobs import EmbedJob
from pipeline.embed.sizing import CPU_BATCH, Begun, gpu_batch_size
from pipeline.embed.work import DatasetProgress, EmbedSummary, Work
from pipeline.spec import EncoderFiles
from pipeline.store import Files, is_remote
from sept_core.datasets import get_dataset
from sept_core.datasets.registry import dataset_key
from sept_core.errors import InputError

if TYPE_CHECKING:
    from sept_core.audio.noise import Noise
    from sept_core.encoders import AudioTower, Encoder

__all__ = ["DatasetProgress", "EmbedSummary", "embed", "embed_with"]

# Embedding fewer clips than this is faster than starting Ray.
_FEW_CLIPS = 500


def embed(
    datasets: Sequence[str],
    audio: str | Path,
    encoder: EncoderFiles,
    root: Path | str | Files,
    progress: DatasetProgress | None = None,
    *,
    address: str = "local",
    concurrency: int | None = None,
    gpus: int | None = None,
    batch_size: int | None = None,
    skip_bad: bool = False,
    force: bool = False,
    noises: Sequence[Noise] = (),
    started: Callable[[], None] = lambda: None,
    load: Loader = load,
) -> list[EmbedSummary]:
    """Embed data sets with an encoder, on a Ray cluster unless there are few clips.

    Args:
        datasets: Names of registered data sets, or of own ones that were prepared under ``root``.
        audio: Where the audio is: a folder, a zip, or an ``s3://`` address of either. For several data sets, a folder
            (or prefix) that contains a folder with the name of each.
        encoder: The encoder's name and files.
        root: Results folder.
        progress: Called with the progress.
        address: Where Ray is: ``local`` for a private one, started for more than a few hundred clips; ``auto`` or
            ``host:port`` for a running one.
        concurrency: Number of encoding processes; None for one per GPU or, without GPUs, as many as there are CPUs and
            tasks.
        gpus: Number of GPUs that the cluster can grow to; None for those that it has now.
        batch_size: How many clips to encode at once, a power of 2; None for 4 on CPUs and, on GPUs, as many as the
            smallest of them has room for. The last digits of an embedding depend on it, so it is stored.
        skip_bad: Whether to leave out clips that cannot be used.
        force: Whether to make existing embeddings again.
        noises: Make these noisy embeddings, for tests alone, instead of those of the clips as they are. They have a
            place of their own (``pipeline.store.noise``), where no sweep reads.
        started: Called once Ray has started, since Ray replaces the process's SIGTERM handler.
        load: Loads the encoder, here and in other processes.

    Raises:
        InputError: The data set is unknown, its audio is not there, or clips cannot be used: the error names the first
            one with its reason, their number, and the list of all of them.
    """
    # Before torch is loaded, so that a typing error is reported at once.
    own = own_datasets(root)
    names = [get_dataset(dataset, own).name for dataset in datasets]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"'{repeated}' is given twice", fix="name each data set once")
    sources = _sources(datasets, audio)
    for source in sources:
        if not is_remote(source.uri):  # a bucket is listed only once, below
            source.check()
    work = Work(load(encoder), root, progress, skip_bad, force)
    for name, source in zip(names, sources, strict=True):
        work.add(name, source, "")
    with _Means(encoder, load, address, concurrency, gpus, started) as means:

        def made(work: Work) -> list[EmbedSummary]:
            return work.run(means.run, lambda begun: batch_size or means.batch_size(begun))

        if noises:
            # Their texts and the notes about their clips belong to the embeddings without noise.
            return [replace(one, notes=(), warnings=()) for noise in noises for one in made(work.noisy(noise))]
        summaries = made(work)
    for summary in summaries:
        work.keep_texts(summary)
    return [work.listened(summary) for summary in summaries]


def embed_with(
    encoder: Encoder,
    dataset: str,
    audio: str | Path,
    root: Path | str | Files,
    progress: DatasetProgress | None = None,
    *,
    batch_size: int = CPU_BATCH,
    skip_bad: bool = False,
    force: bool = False,
    attribution: str = "",
) -> EmbedSummary:
    """Embed one data set in this process, with a loaded encoder; see `embed`.

    Args:
        encoder: The encoder; its audio tower is loaded only if there is something to do.
        dataset, audio, root, progress, batch_size, skip_bad, force: As for `embed`.
        attribution: Authors and licence, stored with the embeddings.

    Raises:
        InputError: As `embed`.
    """
    from pipeline.embed.inline import embed_inline

    work = Work(encoder, root, progress, skip_bad, force)
    work.add(get_dataset(dataset, own_datasets(root)).name, open_audio(audio), attribution)
    (summary,) = work.run(lambda jobs, tower, done, _: embed_inline(jobs, tower, done), lambda _: batch_size)
    return summary


class _Means(ExitStack):
    """Where to embed: in this process for few clips on a machine without a GPU, else on Ray, started when needed."""

    def __init__(
        self,
        encoder: EncoderFiles,
        load: Loader,
        address: str,
        concurrency: int | None,
        gpus: int | None,
        started: Callable[[], None],
    ) -> None:
        super().__init__()
        self._encoder = encoder
        self._load = load
        self._address = address
        self._concurrency = concurrency
        # A private Ray does not autoscale.
        self._gpus = None if address == "local" else gpus
        self._started = started
        self._connected = False

    def batch_size(self, begun: Begun) -> int:
        """The batch size for the devices."""
        if self._without_gpu:
            return CPU_BATCH
        self._connect()
        return gpu_batch_size(self._encoder, self._load, begun, self._gpus) or CPU_BATCH

    def run(self, jobs: Sequence[EmbedJob], tower: AudioTower, done: Callable[[int, int], None], left: int) -> None:
        """Embed what is missing."""
        if self._without_gpu and self._concurrency is None and left <= _FEW_CLIPS:
            from pipeline.embed.inline import embed_inline

            return embed_inline(jobs, tower, done)
        self._connect()
        from pipeline.embed.on_ray import embed_on_ray

        return embed_on_ray(jobs, tower, self._encoder, self._load, done, self._concurrency, self._gpus)

    @property
    def _without_gpu(self) -> bool:
        import torch

        return self._address == "local" and not torch.cuda.is_available()

    def _connect(self) -> None:
        if self._connected:
            return
        from pipeline.cluster.ray_cluster import cluster, import_ray

        import_ray(self._address)
        # At lower levels, Ray's core logs complaints about how Ray Data starts its actors.
        quiet = {"RAY_BACKEND_LOG_LEVEL": os.environ.get("RAY_BACKEND_LOG_LEVEL", "fatal")}
        self.enter_context(cluster(self._address, started=self._started, variables=quiet))
        self._connected = True


def _sources(names: Sequence[str], audio: str | Path) -> list[AudioSource]:
    """The audio of each data set: the place itself for one, a folder there with its name for several."""
    if len(names) == 1:
        return [open_audio(audio)]
    inner = {}
    if "://" not in str(audio) and Path(audio).is_dir():
        inner = {dataset_key(folder.name): folder.name for folder in Path(audio).iterdir() if folder.is_dir()}
    return [open_audio(f"{str(audio).rstrip('/')}/{inner.get(dataset_key(name), name)}") for name in names]
