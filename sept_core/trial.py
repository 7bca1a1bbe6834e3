"""A trial: one configuration, all its replicas at once; a pure function of what its signature covers.

config = make_config(encoder=encoder, table=table, neighbors=neighbors, baseline="coop", sept=True, hyper={...}, ...)
run = TrialRun(config, TrialInputs(encoder, table, neighbors))
while not run.finished:
    run.advance()
print(run.result().test["h"])
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sept_core.checkpoint import CheckpointError, dump_checkpoint, load_checkpoint
from sept_core.datasets import EmbeddingTable, Split, get_dataset, halves, make_split, prompt_name, usable_folds
from sept_core.encoders import Encoder
from sept_core.encoders.prefix import PromptBank
from sept_core.errors import InputError
from sept_core.evaluation import Scores, score
from sept_core.hyper import HyperParameter, Value, complete
from sept_core.learners import LEARNERS, get_learner
from sept_core.results import METHOD_VERSION, Report, TrialConfig, TrialResult, environment, now_ms
from sept_core.semantic import SEPT_HYPER, Neighbors, SemanticExpansion, load_templates, templates_digest
from sept_core.training import FusedTraining, Schedule

__all__ = [
    "METHOD_VERSION",
    "Report",
    "TrialConfig",
    "TrialInputs",
    "TrialResult",
    "TrialRun",
    "failed_result",
    "hyper_parameters",
    "make_config",
]


@dataclass(frozen=True)
class TrialInputs:
    """What a trial reads besides its configuration: loaded once, shared by all trials of a process."""

    encoder: Encoder
    table: EmbeddingTable
    neighbors: Neighbors | None = None


def hyper_parameters(baseline: str, sept: bool) -> dict[str, HyperParameter]:
    """What a space may search or fix for a baseline, with or without SEPT, by name.

    Raises:
        InputError: Unknown baseline, or SEPT on one that trains nothing.
    """
    learner = get_learner(baseline)
    if sept and not learner.trainable:
        raise InputError(f"'{baseline}' learns nothing, so SEPT has nothing to act on", mend=f"use '{baseline}' alone")
    declared = (*learner.hyper, *(SEPT_HYPER if sept else ()))
    return {parameter.name: parameter for parameter in declared}


def make_config(
    *,
    encoder: Encoder,
    table: EmbeddingTable,
    neighbors: Neighbors | None,
    baseline: str,
    sept: bool,
    hyper: Mapping[str, Value],
    shots: int = 16,
    folds: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    epochs: int = 50,
    report_every: int = 10,
    batch_size: int = 16,
) -> TrialConfig:
    """A complete, checked configuration.

    Args:
        encoder: Gives name, fingerprint, the logit scale where ``hyper`` does not set it, and the folds it has seen.
        table: The embeddings of the dataset by this encoder.
        neighbors: Semantic neighbours of the dataset's classes; needed with SEPT only.
        baseline: Key of ``LEARNERS``.
        sept: Whether SEPT is added.
        hyper: Hyper-parameters by name; what is missing takes its default.
        shots: Training clips per base class (all, where a class has fewer).
        folds: Test folds, None for all that the encoder has not seen.
        seeds: One replica is trained per fold and seed.
        epochs: Passes over a replica's training clips.
        report_every: Epochs between two reports.
        batch_size: Clips per step and replica.

    Raises:
        InputError: Anything that cannot be used, with key and value.
    """
    info = get_dataset(table.dataset)
    declared = hyper_parameters(baseline, sept)
    method = f"{baseline}+sept" if sept else baseline
    if table.encoder_fingerprint != encoder.fingerprint:
        raise InputError(
            f"embeddings were made by encoder {table.encoder_fingerprint}, not {encoder.fingerprint}",
            where=table.dataset,
            mend=f"make them anew: sept embed {table.dataset.lower()} --audio DIR --encoder {encoder.name}",
        )
    if sept and neighbors is None:
        raise InputError(f"SEPT needs semantic neighbours of {table.dataset}'s classes, and there are none")
    usable = usable_folds(info, encoder.seen_folds.get(info.name, ()))
    chosen = usable if folds is None else tuple(folds)
    for fold in chosen:
        if fold not in usable:
            raise InputError(f"fold '{fold}' of {info.name} cannot be used", mend=f"usable: {', '.join(usable)}")
    for name, value, low in (
        ("shots", shots, 1),
        ("epochs", epochs, 1),
        ("report_every", report_every, 1),
        ("batch_size", batch_size, 1),
    ):
        if value < low:
            raise InputError(f"{value} is too small", where=name, mend=f"at least {low}")
    if not chosen or not seeds:
        raise InputError("a trial needs at least one fold and one seed")
    if len(set(chosen)) != len(chosen) or len(set(seeds)) != len(seeds):
        raise InputError("folds or seeds name the same replica twice", where=f"folds {chosen}, seeds {tuple(seeds)}")
    fallback: dict[str, Value] = {"logit_scale": encoder.logit_scale, "template": info.template}
    trains = LEARNERS[baseline].trainable
    return TrialConfig(
        method_version=METHOD_VERSION,
        protocol="base-to-new",
        selection="heldout",
        encoder=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        dataset=info.name,
        manifest_digest=table.manifest_digest,
        neighbors_digest=neighbors.digest if sept and neighbors is not None else None,
        templates_digest=templates_digest(info.kind) if sept else None,
        baseline=baseline,
        sept=sept,
        hyper=complete(tuple(declared.values()), hyper, where=method, fallback=fallback),
        shots=shots,
        folds=chosen,
        seeds=tuple(seeds),
        # What trains nothing is one configuration, however long the others train.
        epochs=epochs if trains else 0,
        report_every=min(report_every, epochs) if trains else 1,
        batch_size=batch_size if trains else 1,
    )


class TrialRun:
    """One trial on its way: advance, checkpoint, result.

    Args:
        config: The configuration.
        inputs: Encoder, embeddings and neighbours; they must be those that the configuration names.
        checkpoint: What ``checkpoint()`` of an earlier run of the same signature returned; the run goes on from there
            and ends bit-equal to one that was never interrupted.

    Raises:
        InputError: The inputs are not those of the configuration.
        CheckpointError: The checkpoint is damaged or of another signature.
    """

    def __init__(self, config: TrialConfig, inputs: TrialInputs, checkpoint: bytes | None = None) -> None:
        _check_inputs(config, inputs)
        self.config = config
        self._table = inputs.table
        info = get_dataset(config.dataset)
        base, new = halves(info.classnames)
        self._classnames = {"base": list(base), "new": list(new)}
        tower = inputs.encoder.text
        seen = inputs.encoder.seen_folds.get(info.name, ())
        self._splits: list[Split] = [
            make_split(inputs.table, info, fold, seed, config.shots, seen)
            for fold in config.folds
            for seed in config.seeds
        ]
        base_prompts = [prompt_name(name) for name in base]
        self._base = PromptBank.of(tower, base_prompts)
        self._new = PromptBank.of(tower, [prompt_name(name) for name in new])
        self._learner = LEARNERS[config.baseline](tower, config.hyper, base_prompts)
        semantic = None
        if config.sept:
            assert inputs.neighbors is not None  # _check_inputs has seen to it
            semantic = SemanticExpansion.of(
                tower, base_prompts, inputs.neighbors, load_templates(info.kind), config.hyper
            )
        self._training = FusedTraining(
            learner=self._learner,
            classes=self._base,
            semantic=semantic,
            embeddings=inputs.table.embeddings,
            labels=[info.classnames.index(name) for name in inputs.table.classnames],
            splits=self._splits,
            schedule=Schedule(
                epochs=config.epochs, batch_size=config.batch_size, lr=float(config.hyper.get("lr", 0.0))
            ),
            dataset=config.dataset,
        )
        self._curve: list[Report] = []
        if checkpoint is not None:
            state, curve = load_checkpoint(checkpoint, config.signature)
            try:
                self._training.load_state(state)
            except ValueError as error:
                raise CheckpointError(f"checkpoint of trial {config.signature} does not fit: {error}") from error
            self._curve = list(curve)

    @property
    def curve(self) -> tuple[Report, ...]:
        """All reports so far, those before a checkpoint included."""
        return tuple(self._curve)

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return self._training.epoch

    @property
    def finished(self) -> bool:
        """Whether all epochs are trained and reported."""
        return bool(self._curve) and self._curve[-1].epoch >= self.config.epochs

    def advance(self) -> Report:
        """Train to the next report and measure on held-out clips of the training split, never on test clips.

        Raises:
            NonFiniteError: Loss or parameters are no longer finite.
        """
        started = time.perf_counter()
        losses: dict[str, float] = {}
        target = min(self._training.epoch + self.config.report_every, self.config.epochs)
        while self._training.epoch < target:
            losses = self._training.train_epoch()
        scores = self._score("heldout_base", "heldout_new").summary()
        metrics = {f"val/{name}": scores[name] for name in ("h", "base", "new")}
        metrics |= {f"loss/{name}": value for name, value in losses.items()}
        before = self._curve[-1].time_s if self._curve else 0.0
        report = Report(
            epoch=self._training.epoch,
            metrics=metrics,
            time_s=before + time.perf_counter() - started,
            timestamp_ms=now_ms(),
        )
        self._curve.append(report)
        return report

    def checkpoint(self) -> bytes:
        """State of the training and the curve so far, as safetensors bytes."""
        return dump_checkpoint(self._training.state(), self.curve, self.config.signature)

    def result(self) -> TrialResult:
        """Validation and test metrics of a finished run; the only place where test clips are looked at.

        Raises:
            RuntimeError: The run is not finished.
        """
        if not self.finished:
            raise RuntimeError(f"trial {self.config.signature} is at epoch {self.epoch} of {self.config.epochs}")
        validation = self._score("heldout_base", "heldout_new")
        test = self._score("test_base", "test_new")
        replicas = tuple(
            {
                "fold": split.fold,
                "seed": split.seed,
                **{f"val_{name}": value for name, value in validation.replica(index).items()},
                **{f"test_{name}": value for name, value in test.replica(index).items()},
            }
            for index, split in enumerate(self._splits)
        )
        versions, machine = environment()
        return TrialResult(
            signature=self.config.signature,
            config=self.config,
            state="finished",
            curve=self.curve,
            validation=validation.summary(),
            test=test.summary(),
            replicas=replicas,
            confusion={"base": test.confusion_base, "new": test.confusion_new},
            classnames=self._classnames,
            train_seconds=self._curve[-1].time_s,
            finished_ms=now_ms(),
            versions=versions,
            machine=machine,
        )

    def _score(self, base: str, new: str) -> Scores:
        return score(
            self._learner,
            self._training.params,
            self._table.embeddings,
            self._training.labels,
            base_rows=[getattr(split, base) for split in self._splits],
            new_rows=[getattr(split, new) for split in self._splits],
            base_bank=self._base,
            new_bank=self._new,
        )


def failed_result(config: TrialConfig, curve: Sequence[Report], error: str) -> TrialResult:
    """The result of a trial that raised: its curve so far and the traceback."""
    versions, machine = environment()
    return TrialResult(
        signature=config.signature,
        config=config,
        state="failed",
        curve=tuple(curve),
        validation={},
        test={},
        replicas=(),
        confusion={},
        classnames={},
        train_seconds=curve[-1].time_s if curve else 0.0,
        finished_ms=now_ms(),
        versions=versions,
        machine=machine,
        error=error,
    )


def _check_inputs(config: TrialConfig, inputs: TrialInputs) -> None:
    pairs = {
        "method_version": (config.method_version, METHOD_VERSION),
        "encoder_fingerprint": (config.encoder_fingerprint, inputs.encoder.fingerprint),
        "embeddings of encoder": (config.encoder_fingerprint, inputs.table.encoder_fingerprint),
        "dataset": (config.dataset, inputs.table.dataset),
        "manifest_digest": (config.manifest_digest, inputs.table.manifest_digest),
    }
    if config.sept:
        digest = inputs.neighbors.digest if inputs.neighbors is not None else None
        pairs["neighbors_digest"] = (config.neighbors_digest, digest)
        kind = get_dataset(config.dataset).kind
        pairs["templates_digest"] = (config.templates_digest, templates_digest(kind))
    for name, (wanted, found) in pairs.items():
        if wanted != found:
            raise InputError(f"the trial was made for {name} {wanted}, and here is {found}", where=config.signature)
