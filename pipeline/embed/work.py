"""The work of one ``sept embed``: which data sets are complete, what is missing, and the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.audio.source import AudioSource
from pipeline.data.prepared import Prepared, find_manifest
from pipeline.embed.batches import as_in_an_encoder
from pipeline.embed.clip_notes import REFUSED, listen
from pipeline.embed.jobs import EmbedJob
from pipeline.embed.sizing import Begun
from pipeline.embed.texts import keep_texts
from pipeline.store import EmbeddingHeader, EmbeddingStore, Files
from pipeline.store.embedding_writer import ROWS_PER_PART
from pipeline.store.noise import noisy_files
from pipeline.store.text_features import read_text_features
from sept_core.datasets import check_manifest, info_to_json
from sept_core.errors import InputError

if TYPE_CHECKING:
    from sept_core.audio.noise import Noise
    from sept_core.encoders import AudioTower, Encoder

__all__ = ["DatasetProgress", "EmbedSummary", "Run", "Work"]

DatasetProgress = Callable[[str, int, int], None]
"""Called with (data set, clips done, clips in all), including those done before."""

Run = Callable[[Sequence[EmbedJob], "AudioTower", Callable[[int, int], None], int], None]
"""Does the work: called with the jobs, the audio tower, a function for progress, and how many clips are left."""

# How often to publish while another process publishes other embeddings with the same name.
_ATTEMPTS = 20


@dataclass(frozen=True)
class EmbedSummary:
    """The result for one data set.

    Attributes:
        dataset: Canonical name.
        encoder: Name of the encoder.
        fingerprint: The encoder's fingerprint.
        clips: Number of clips with an embedding.
        skipped: Number of clips without one.
        silent: How many of those have no sound in a registered data set, as its authors published it.
        notes: How the clips were read, and which of them the encoder was trained on, one line each.
        warnings: What accompanies every result on this data set, and why trials refuse it, one line each.
        found: Clips that an earlier, interrupted attempt had embedded.
        seconds: Wall time of decoding and encoding; 0 if there was nothing to do.
        where: Folder or ``s3://`` address of the embeddings.
        made: False if complete embeddings of the same clips were there already.
        noise: Name of the noise that was added to the clips, such as ``white-20dB``; empty if none was.
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
    noise: str = ""

    @property
    def clips_per_second(self) -> float:
        """Throughput; 0 if there was nothing to do."""
        return (self.clips + self.skipped - self.found) / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class _Wanted:
    """A data set, and where its audio is."""

    prepared: Prepared
    source: AudioSource
    attribution: str


class Work:
    """All data sets of one command, with the same noise or without any."""

    def __init__(
        self,
        encoder: Encoder,
        root: Path | str | Files,
        progress: DatasetProgress | None,
        skip_bad: bool,
        force: bool,
        noise: Noise | None = None,
    ) -> None:
        self._encoder = encoder
        self._root = root
        self._noise = noise
        self._store = EmbeddingStore(root)
        self._clean = self._store
        if noise is not None:
            self._store = EmbeddingStore(noisy_files(self._store.files, noise))
        self._progress = progress
        self._skip_bad = skip_bad
        self._force = force
        self._wanted: list[_Wanted] = []
        self._there: dict[str, EmbedSummary] = {}

    def add(self, name: str, source: AudioSource, attribution: str) -> None:
        """Find a data set's clips, and whether it is embedded already."""
        self._look(_Wanted(find_manifest(name, source, self._root), source, attribution))

    def noisy(self, noise: Noise) -> Work:
        """The same data sets with noise."""
        work = Work(self._encoder, self._root, self._progress, self._skip_bad, self._force, noise)
        for wanted in self._wanted:
            work._look(wanted)
        return work

    def _look(self, wanted: _Wanted) -> None:
        self._wanted.append(wanted)
        manifest = wanted.prepared.manifest
        name = manifest.dataset
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
        """Embed what is missing; ``batch_size`` is called only if something is."""
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
        """Store the text features of a data set, unless they are stored and nothing has changed."""
        with as_in_an_encoder():
            there = not summary.made and read_text_features(self._store.files, summary.fingerprint, summary.dataset)
        if not there:
            keep_texts(self._encoder, summary.dataset, self._store)

    def listened(self, summary: EmbedSummary) -> EmbedSummary:
        """The summary with notes and warnings about the embeddings themselves."""
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
            # All are tried, so that each data set's bad clips are listed; the first error is raised.
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
        raise InputError("another process keeps replacing these embeddings", fix="wait until it has finished")

    def _begun(self, wanted: Sequence[_Wanted], tower: AudioTower) -> int | None:
        """How many clips an interrupted attempt encoded at once; None if there is nothing left of one."""
        if self._noise is not None:
            # That of the clips without noise, on which the last digits of an embedding depend.
            made = [self._clean.manifest(self._encoder.fingerprint, one.prepared.manifest.dataset) for one in wanted]
            known = {found["preprocessing"].get("batch_size") for found in made if found is not None} - {None}
            if len(known) == 1:
                return int(known.pop())
        if self._force:
            return None
        sizes = [2**power for power in range(ROWS_PER_PART.bit_length())]
        counts = {size: sum(self._job(0, one, tower, size).look() for one in wanted) for size in sizes}
        most = max(sizes, key=lambda size: counts[size])
        return most if counts[most] else None

    def _job(self, index: int, wanted: _Wanted, tower: AudioTower, batch_size: int) -> EmbedJob:
        manifest, description = wanted.prepared.manifest, wanted.prepared.description
        noise: dict[str, int | float | str] = {}
        if self._noise is not None:
            noise = {"noise": self._noise.kind, "snr": self._noise.level}
        header = EmbeddingHeader(
            dataset=manifest.dataset,
            encoder=self._encoder.name,
            fingerprint=self._encoder.fingerprint,
            manifest_digest=manifest.digest,
            dim=tower.dim,
            preprocessing={
                "sample_rate": tower.sample_rate,
                "seconds": tower.seconds,
                "batch_size": batch_size,
                **noise,
            },
            attribution=wanted.attribution,
            description=None if description is None else info_to_json(description),
        )
        return EmbedJob(index, self._store.files, header, manifest.clips, wanted.source, batch_size, self._noise)

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
            noise="" if self._noise is None else self._noise.name,
        )

    def _tell(self, job: EmbedJob, count: int) -> None:
        if self._progress is not None:
            noise = "" if self._noise is None else f" {self._noise.name}"
            self._progress(f"{job.header.dataset}{noise}", count, job.clips)
