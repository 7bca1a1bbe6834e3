"""``sept embed``: what there is to do, who does it, and what has come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.audio.open import open_audio
from pipeline.data.audio.source import AudioSource
from pipeline.data.prepared import Prepared, find_manifest, own_datasets
from pipeline.embed.batches import as_in_an_encoder
from pipeline.embed.jobs import EmbedJob
from pipeline.embed.listening import REFUSED, listen
from pipeline.embed.place import EncoderPlace
from pipeline.embed.sizing import CPU_BATCH, Begun, gpu_batch_size
from pipeline.embed.texts import keep_texts
from pipeline.store import EmbeddingHeader, EmbeddingStore, Files, is_remote
from pipeline.store.embedding_writer import ROWS_PER_PART
from pipeline.store.text_features import read_text_features
from sept_core.datasets import check_manifest, get_dataset, info_to_json
from sept_core.datasets.registry import dataset_key
from sept_core.errors import InputError

if TYPE_CHECKING:
    from sept_core.encoders import AudioTower, Encoder

__all__ = ["DatasetProgress", "EmbedSummary", "embed", "embed_with"]

DatasetProgress = Callable[[str, int, int], None]
"""Called with (data set, clips done, clips in all), those found done at the beginning included."""

# Fewer clips than these are embedded sooner than Ray has started.
_FEW_CLIPS = 500

# Attempts to publish while somebody else publishes other embeddings of the same name.
_ATTEMPTS = 20


@dataclass(frozen=True)
class EmbedSummary:
    """What has become of one data set.

    Attributes:
        dataset: Canonical name.
        encoder: Name of the encoder.
        fingerprint: Of the encoder.
        clips: Number of clips with an embedding.
        skipped: Number of clips without one.
        silent: How many of those hold no sound in a registered data set, as its authors published it.
        notes: What a person should know of how the clips were read, and of what the encoder has heard, a line each.
        warnings: What goes with every result on this data set, and why trials refuse it, a line each.
        found: Clips that were embedded before an interruption of an earlier attempt.
        seconds: Wall time of decoding and encoding; 0 where nothing had to be done.
        where: Folder or ``s3://`` address of the embeddings.
        made: False where complete embeddings of the same clips were there already.
    """

    dataset: str
    encoder: str
    fingerprint: str
    clips: int
    skipped: int
    silent: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    found: int
    seconds: float
    where: str
    made: bool

    @property
    def clips_per_second(self) -> float:
        """Throughput; 0 where nothing had to be done."""
        return (self.clips + self.skipped - self.found) / self.seconds if self.seconds > 0 else 0.0


def embed(
    datasets: Sequence[str],
    audio: str | Path,
    encoder: EncoderPlace,
    root: Path | str | Files,
    progress: DatasetProgress | None = None,
    *,
    address: str = "local",
    concurrency: int | None = None,
    gpus: int | None = None,
    batch_size: int | None = None,
    skip_bad: bool = False,
    force: bool = False,
    started: Callable[[], None] = lambda: None,
) -> list[EmbedSummary]:
    """Embed data sets with an encoder, on a Ray cluster unless they are few clips.

    Args:
        datasets: Names of registered data sets, or of one's own that were prepared under ``root``.
        audio: Where the audio lies: a folder, a zip, or an ``s3://`` address of either. Of several data sets a folder
            (or prefix) that holds a folder with the name of each.
        encoder: Where the encoder is loaded from.
        root: Results folder.
        progress: Called as the work goes on.
        address: Where Ray is: ``local`` for a private one, started for more than a few hundred clips; ``auto`` or
            ``host:port`` for a running one.
        concurrency: Processes that encode; None for one a GPU or, without GPUs, as many as there are CPUs and work for.
        gpus: GPUs that the cluster grows to; None for those that it has now.
        batch_size: Clips that are encoded at once, a power of 2; None for 4 on CPUs and, on GPUs, what the smallest
            of them has room for. The last digits of an embedding depend on it, and the store says which it was.
        skip_bad: Leave out clips that cannot be used.
        force: Make the embeddings again even where they are there.
        started: Called once Ray has started, which takes the process's SIGTERM handler for itself.

    Raises:
        InputError: Unknown data set, audio that does not hold it, or clips that cannot be used: the first is named
            with its reason, how many there are, and where all of them are listed.
    """
    # Before torch is loaded: what is mistyped is reported at once.
    own = own_datasets(root)
    names = [get_dataset(dataset, own).name for dataset in datasets]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"'{repeated}' is given twice", fix="name each data set once")
    sources = _sources(datasets, audio)
    for source in sources:
        if not is_remote(source.uri):  # a bucket is listed once, below
            source.check()
    work = _Work(encoder.load(), root, progress, skip_bad, force)
    for name, source in zip(names, sources, strict=True):
        work.add(name, source, "")
    with _Means(encoder, address, concurrency, gpus, started) as means:
        summaries = work.run(means.run, lambda begun: batch_size or means.batch_size(begun))
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
    """Embed one data set in this process, with an encoder that is loaded; see `embed`.

    Args:
        encoder: The encoder; its audio tower is loaded only if there is something to do.
        dataset: As for `embed`.
        audio: Likewise.
        root: Likewise.
        progress: Likewise.
        batch_size: Likewise.
        skip_bad: Likewise.
        force: Likewise.
        attribution: Authors and licence, kept with the embeddings.

    Raises:
        InputError: As `embed`.
    """
    from pipeline.embed.inline import embed_inline

    work = _Work(encoder, root, progress, skip_bad, force)
    work.add(get_dataset(dataset, own_datasets(root)).name, open_audio(audio), attribution)
    (summary,) = work.run(lambda jobs, tower, done, _: embed_inline(jobs, tower, done), lambda _: batch_size)
    return summary


Run = Callable[[Sequence[EmbedJob], "AudioTower", Callable[[int, int], None], int], None]
"""Does the work: called with the jobs, the audio tower, what to tell of progress, and how many clips are left."""


class _Means(ExitStack):
    """What embeds: this process for few clips on a machine without a GPU, else Ray, which is started when needed."""

    def __init__(
        self,
        encoder: EncoderPlace,
        address: str,
        concurrency: int | None,
        gpus: int | None,
        started: Callable[[], None],
    ) -> None:
        super().__init__()
        self._encoder = encoder
        self._address = address
        self._concurrency = concurrency
        # A private Ray does not grow.
        self._gpus = None if address == "local" else gpus
        self._started = started
        self._connected = False

    def batch_size(self, begun: Begun) -> int:
        """What suits the devices."""
        if self._without_gpu:
            return CPU_BATCH
        self._connect()
        return gpu_batch_size(self._encoder, begun, self._gpus) or CPU_BATCH

    def run(self, jobs: Sequence[EmbedJob], tower: AudioTower, done: Callable[[int, int], None], left: int) -> None:
        """Do what there is to do."""
        if self._without_gpu and self._concurrency is None and left <= _FEW_CLIPS:
            from pipeline.embed.inline import embed_inline

            return embed_inline(jobs, tower, done)
        self._connect()
        from pipeline.embed.on_ray import embed_on_ray

        return embed_on_ray(jobs, tower, self._encoder, done, self._concurrency, self._gpus)

    @property
    def _without_gpu(self) -> bool:
        import torch

        return self._address == "local" and not torch.cuda.is_available()

    def _connect(self) -> None:
        if self._connected:
            return
        from pipeline.cluster.ray_cluster import cluster, prepare_import

        # Below that, Ray's core complains of how Ray Data starts its actors.
        prepare_import(self._address, RAY_BACKEND_LOG_LEVEL="fatal")
        self.enter_context(cluster(self._address, started=self._started))
        self._connected = True


@dataclass(frozen=True)
class _Wanted:
    """A data set, and where its audio is."""

    prepared: Prepared
    source: AudioSource
    attribution: str


class _Work:
    """All data sets of one command."""

    def __init__(
        self,
        encoder: Encoder,
        root: Path | str | Files,
        progress: DatasetProgress | None,
        skip_bad: bool,
        force: bool,
    ) -> None:
        self._encoder = encoder
        self._root = root
        self._store = EmbeddingStore(root)
        self._progress = progress
        self._skip_bad = skip_bad
        self._force = force
        self._wanted: list[_Wanted] = []
        self._there: dict[str, EmbedSummary] = {}

    def add(self, name: str, source: AudioSource, attribution: str) -> None:
        """Look what a data set consists of, and whether it is embedded already."""
        wanted = _Wanted(find_manifest(name, source, self._root), source, attribution)
        self._wanted.append(wanted)
        manifest = wanted.prepared.manifest
        made = self._store.made_of(self._encoder.fingerprint, name, wanted.prepared.description)
        if self._force or made is None or made[0] != manifest.digest:
            return
        asked = made[1] - made[2]
        if asked and not self._skip_bad:
            raise InputError(
                f"{asked} of its clips were left out when it was embedded",
                where=name,
                fix=f"see errors.parquet in {self._store.folder(self._encoder.fingerprint, name)}; accept that with "
                "--skip-bad, or make it again with --force",
            )
        self._there[name] = self._summary(wanted, made[1], made[2], len(manifest.clips), seconds=0.0, made=False)

    def run(self, run: Run, batch_size: Callable[[Begun], int]) -> list[EmbedSummary]:
        """Do what there is to do; how many clips are encoded at once is asked only where something is."""
        wanted = [one for one in self._wanted if one.prepared.manifest.dataset not in self._there]
        summaries = dict(self._there)
        if wanted:
            tower = self._encoder.load_audio()
            size = batch_size(lambda: self._begun(wanted, tower))
            jobs = [self._job(index, one, tower, size) for index, one in enumerate(wanted)]
            found = [0 if self._force else job.look() for job in jobs]
            started = time.perf_counter()
            self._make(jobs, tower, list(found), run)
            seconds = time.perf_counter() - started
            for one, job, spared in zip(wanted, jobs, found, strict=True):
                name = one.prepared.manifest.dataset
                left_out, silent = len(job.faults), len(job.silent)
                summaries[name] = self._summary(one, left_out, silent, spared, seconds, made=True)
        return [summaries[one.prepared.manifest.dataset] for one in self._wanted]

    def keep_texts(self, summary: EmbedSummary) -> None:
        """Keep the text side of a data set, unless nothing has changed since it was kept."""
        with as_in_an_encoder():
            there = not summary.made and read_text_features(self._store.files, summary.fingerprint, summary.dataset)
        if not there:
            keep_texts(self._encoder, summary.dataset, self._store)

    def listened(self, summary: EmbedSummary) -> EmbedSummary:
        """With what there is to say of the embeddings themselves."""
        notes, warnings = listen(self._store, self._encoder, summary.dataset)
        return replace(summary, notes=(*summary.notes, *notes), warnings=(*summary.warnings, *warnings))

    def _make(self, jobs: Sequence[EmbedJob], tower: AudioTower, counts: list[int], run: Run) -> None:
        def done(job: int, clips: int) -> None:
            counts[job] += clips
            self._tell(jobs[job], counts[job])

        for job, count in zip(jobs, counts, strict=True):
            self._tell(job, count)
        left = list(jobs)
        for _ in range(_ATTEMPTS):
            run(jobs, tower, done, sum(job.clips for job in jobs) - sum(counts))
            # All are tried, so that each data set's bad clips are listed, and the first refusal is reported.
            refusals = []
            for job in [*left]:
                try:
                    if job.publish(self._skip_bad):
                        left.remove(job)
                except InputError as error:
                    refusals.append(error)
            if refusals:
                raise refusals[0]
            if not left:
                return
            for job in left:
                counts[jobs.index(job)] = job.look()
        raise InputError("somebody else keeps replacing these embeddings", fix="wait until they are done")

    def _begun(self, wanted: Sequence[_Wanted], tower: AudioTower) -> int | None:
        """How many clips an attempt that was interrupted has encoded at once; None where nothing is left of one."""
        if self._force:
            return None
        sizes = [2**power for power in range(ROWS_PER_PART.bit_length())]
        counts = {size: sum(self._job(0, one, tower, size).look() for one in wanted) for size in sizes}
        most = max(sizes, key=lambda size: counts[size])
        return most if counts[most] else None

    def _job(self, index: int, wanted: _Wanted, tower: AudioTower, batch_size: int) -> EmbedJob:
        manifest, description = wanted.prepared.manifest, wanted.prepared.description
        header = EmbeddingHeader(
            dataset=manifest.dataset,
            encoder=self._encoder.name,
            fingerprint=self._encoder.fingerprint,
            manifest_digest=manifest.digest,
            dim=tower.dim,
            preprocessing={"sample_rate": tower.sample_rate, "seconds": tower.seconds, "batch_size": batch_size},
            attribution=wanted.attribution,
            description=None if description is None else info_to_json(description),
        )
        return EmbedJob(index, self._store.files, header, manifest.clips, wanted.source, batch_size)

    def _summary(
        self, wanted: _Wanted, skipped: int, silent: int, found: int, seconds: float, made: bool
    ) -> EmbedSummary:
        manifest = wanted.prepared.manifest
        findings = check_manifest(manifest, None, wanted.prepared.info)
        return EmbedSummary(
            dataset=manifest.dataset,
            encoder=self._encoder.name,
            fingerprint=self._encoder.fingerprint,
            clips=len(manifest.clips) - skipped,
            skipped=skipped,
            silent=silent,
            notes=findings.notes,
            warnings=(*(f"{REFUSED}{line}" for line in findings.errors), *findings.warnings),
            found=found,
            seconds=seconds,
            where=self._store.folder(self._encoder.fingerprint, manifest.dataset),
            made=made,
        )

    def _tell(self, job: EmbedJob, count: int) -> None:
        if self._progress is not None:
            self._progress(job.header.dataset, count, job.clips)


def _sources(names: Sequence[str], audio: str | Path) -> list[AudioSource]:
    """Where the audio of each data set lies: the place itself for one, a folder with its name there for several."""
    if len(names) == 1:
        return [open_audio(audio)]
    inner = {}
    if "://" not in str(audio) and Path(audio).is_dir():
        inner = {dataset_key(folder.name): folder.name for folder in Path(audio).iterdir() if folder.is_dir()}
    return [open_audio(f"{str(audio).rstrip('/')}/{inner.get(dataset_key(name), name)}") for name in names]
