"""Measures the chosen trials of a sweep on noisy test clips, from their last checkpoints, after the search has ended.

Nothing is chosen or trained with it, and no sweep reads noisy embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.prompts.export import finished_run
from pipeline.reports.rows import Chosen
from pipeline.search.devices import as_a_worker
from pipeline.search.inputs import Loader, load_inputs
from pipeline.search.trial_context import check_version, load_there, trial_place
from pipeline.store import EmbeddingStore, TrialStore
from pipeline.store.noise import NoisyScores, noises_of, noisy_files, read_noisy_scores, write_noisy_scores
from sept_core.errors import InputError, SeptError

if TYPE_CHECKING:
    from sept_core.audio.noise import Noise
    from sept_core.datasets import EmbeddingTable
    from sept_core.results import TrialResult
    from sept_core.trial import TrialInputs, TrialRun
    from sept_core.trial_config import TrialConfig

__all__ = ["MeasuredNoise", "measure_noise"]


@dataclass(frozen=True)
class MeasuredNoise:
    """What `measure_noise` did.

    Attributes:
        measured: Number of trials measured now.
        refused: Rows that cannot be measured, with the reason.
    """

    measured: int
    refused: dict[str, str]


def measure_noise(
    store: TrialStore,
    root: str,
    sweep: str,
    rows: Sequence[Chosen],
    *,
    again: bool = False,
    weights: str | None = None,
    text_model: str | None = None,
    provider: Loader = load_inputs,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> MeasuredNoise:
    """Measure and store what the chosen trials of rows do with every noise that their datasets are embedded with.

    Args:
        store: The trial store.
        root: Its address.
        sweep: Name of the sweep.
        rows: Rows of its table.
        again: Whether to measure again what has been measured.
        weights: Location of the encoder's weights; None for the one in the sweep.
        text_model: Location of its tokenizer; None for the one in the sweep.
        provider: Loads what trials read.
        progress: Called with the epochs done and the total, if a trial without a checkpoint has to be trained again.
    """
    measured, refused = 0, dict[str, str]()
    for row in rows:
        try:
            for choice, _ in row.merged:
                trial = (choice.study, choice.signature)
                recorded = store.read_result(*trial)
                if recorded is None:
                    raise SeptError(f"the result of trial {choice.signature} is gone; launch the sweep again")
                config = recorded.config
                there = noises_of(store.files, config.encoder_fingerprint, [config.dataset, *config.targets])
                if not there:
                    raise _none(config)
                known = read_noisy_scores(store, [trial]).get(trial, {})
                fresh = {one: own for one, own in known.items() if there.get(one) == own.embeddings and not again}
                if wanted := {one: digest for one, digest in there.items() if one not in fresh}:
                    check_version(recorded)
                    place = trial_place(store, sweep, choice.study, config)
                    named = place.inputs
                    named = replace(named, weights=weights or named.weights, text_model=text_model or named.text_model)
                    with as_a_worker(place.threads):
                        inputs = load_there(root, replace(place, inputs=named), provider)
                        run, _ = finished_run(store, config, inputs, progress)
                        _check_clean(recorded, run)
                        fresh |= {one: _scores(store, run, inputs, one, digest) for one, digest in wanted.items()}
                    measured += 1
                if fresh != known:
                    write_noisy_scores(store, trial, fresh)
        except SeptError as error:
            refused[row.study] = str(error)
    return MeasuredNoise(measured, refused)


def _check_clean(recorded: TrialResult, run: TrialRun) -> None:
    """Check that the trial does on clean test clips exactly what the store says.

    Raises:
        InputError: It does not, so noise could not be told from another machine or library.
    """
    for before, now in zip(recorded.replicas, run.result().replicas, strict=True):
        for name, value in before.items():
            if name.startswith("test_") and now.get(name) != value:
                versions = ", ".join(f"{package} {number}" for package, number in sorted(recorded.versions.items()))
                raise InputError(
                    f"on clean clips, {name.removeprefix('test_')} of fold {before['fold']}, seed {before['seed']} is "
                    f"{now.get(name)} here and {value} in the store",
                    where=recorded.signature,
                    fix=f"measure it with what made it: {versions}; {recorded.machine}",
                )


def _scores(store: TrialStore, run: TrialRun, inputs: TrialInputs, noise: Noise, digest: str) -> NoisyScores:
    from sept_core.evaluation import summarise

    noisy = EmbeddingStore(noisy_files(store.files, noise))
    fingerprint = inputs.encoder.fingerprint
    tables: dict[str, EmbeddingTable] = {}
    for clean in (inputs.table, *inputs.targets.values()):
        table = tables[clean.dataset] = noisy.read(fingerprint, clean.dataset)
        if table.manifest_digest != clean.manifest_digest:
            raise InputError(
                f"the embeddings with {noise.name} are of other clips than those of the trial",
                where=clean.dataset,
                fix=f"make them of the same clips: sept embed {clean.dataset.lower()} --audio DIR --noise {noise.kind} "
                f"--snr {noise.snr_db:g} --force",
            )
    _, rows = summarise(run.scores(tables))
    config = run.config
    replicas = [(fold, seed) for fold in config.folds for seed in config.seeds]
    return NoisyScores(
        digest, tuple({"fold": fold, "seed": seed, **row} for (fold, seed), row in zip(replicas, rows, strict=True))
    )


def _none(config: TrialConfig) -> InputError:
    datasets = " ".join(name.lower() for name in (config.dataset, *config.targets))
    return InputError(
        f"no embeddings of {datasets} with noise for encoder {config.encoder}",
        fix=f"make them: sept embed {datasets} --audio DIR --encoder {config.encoder} --noise white --snr 20,10,0",
    )
