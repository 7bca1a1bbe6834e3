"""A trial: one configuration, all its replicas at once; a pure function of what its signature covers.

    inputs = TrialInputs(encoder, table, neighbors)
    run = TrialRun(make_config(inputs, "coop+sept", {"n_ctx": 4}, epochs=20), inputs)
    while not run.finished:
        run.advance()
    print(run.result().test["h"])

The workers of a search make the same calls.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import cast, get_args

from sept_core.checkpoint import Checkpoint, CheckpointError, dump_checkpoint, load_checkpoint
from sept_core.datasets import CrossingRule, refuse_faulty, rows_of, unheard_folds
from sept_core.errors import InputError
from sept_core.evaluation import GroupScores, evaluate, summarise
from sept_core.hyper import Value, complete
from sept_core.learners import LEARNERS, Learner
from sept_core.learners.coop import settled_context
from sept_core.learners.optimiser import check_warmup
from sept_core.methods import hyper_parameters, split_method
from sept_core.nearest import known_words
from sept_core.protocols import Stage, check_splits, make_plan
from sept_core.results import METHOD_VERSION, Report, TrialConfig, TrialResult, failed_result, now_ms, software
from sept_core.schedule import Precision
from sept_core.semantic import NamingNew, SemanticExpansion, load_templates, templates_digest
from sept_core.tested import count_tested
from sept_core.training import FusedTraining, Schedule
from sept_core.trial_inputs import (
    TrialInputs,
    check_inputs,
    check_names_apart,
    check_protocol,
    described_left_out,
    trial_neighbors,
    trial_warnings,
)
from sept_core.wording import Wording

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
    "split_method",
    "trial_neighbors",
    "trial_warnings",
]


def make_config(
    inputs: TrialInputs,
    method: str,
    hyper: Mapping[str, Value] | None = None,
    *,
    shots: int = 16,
    folds: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    epochs: int = 50,
    report_every: int = 10,
    batch_size: int = 16,
    precision: str = "float32",
    protocol: str = "base-to-new",
    selection: str = "heldout",
    crossing: str = "keep",
    neighbors_naming_new: str = "keep",
    accept_faulty_split: bool = False,
) -> TrialConfig:
    """A complete, checked configuration.

    Args:
        inputs: What it is to be trained on. The encoder gives the logit scale where ``hyper`` does not set it, and the
            folds and clips that it has heard; neighbours are needed with SEPT only, targets with cross-dataset only.
        method: Key of ``LEARNERS``, with ``+sept`` behind it where SEPT is added: ``coop+sept``.
        hyper: Hyper-parameters by name; what is missing takes its default.
        shots: Training clips per base class (all, where a class has fewer).
        folds: Test folds, None for all that the encoder has not seen.
        seeds: One replica is trained per fold and seed.
        epochs: Passes over a replica's training clips.
        report_every: Epochs between two reports.
        batch_size: Clips per step and replica.
        precision: ``float32``, or ``bfloat16`` to run the text tower in training under autocast, which is meant for a
            GPU; what is measured is measured in float32.
        protocol: ``base-to-new``, or ``cross-dataset`` with ``inputs.table`` the source.
        selection: What the search is measured on, see ``protocols.py``.
        crossing: What is done with training clips that a published split shares with its test clips: ``keep`` them, as
            published results do, or ``drop`` them.
        neighbors_naming_new: With SEPT and base-to-new: what is done with neighbours that happen to name a new class:
            ``keep`` them, or ``drop`` them, which uses the names of new classes.
        accept_faulty_split: Whether a copy whose train and test sets are swapped or overlap is used as it is.

    Raises:
        InputError: Anything that cannot be used, with key and value.
    """
    encoder, table, neighbors = inputs.encoder, inputs.table, inputs.neighbors
    targets = tuple(inputs.targets.values())
    info = table.info
    baseline, sept = split_method(method)
    declared = hyper_parameters(baseline, sept)
    if table.encoder_fingerprint != encoder.fingerprint:
        raise InputError(
            f"embeddings were made by encoder {table.encoder_fingerprint}, not {encoder.fingerprint}",
            where=table.dataset,
            fix=f"make them anew: sept embed {table.dataset.lower()} --audio DIR --encoder {encoder.name}",
        )
    if sept and neighbors is None:
        raise InputError(f"SEPT needs semantic neighbours of {table.dataset}'s classes, and there are none")
    usable = unheard_folds(table, info, encoder.pretraining)
    chosen = usable if folds is None else tuple(folds)
    for fold in chosen:
        if fold not in usable:
            # A sweep's `folds: all` is spelled out before the clips are looked at.
            named = f"; in a sweep: folds: {{{info.name}: [{', '.join(usable)}]}}" if selection == "strict" else ""
            raise InputError(f"fold '{fold}' of {info.name} cannot be used", fix=f"usable: {', '.join(usable)}{named}")
    for name, value, low in (
        ("shots", shots, 1),
        ("epochs", epochs, 1),
        ("report_every", report_every, 1),
        ("batch_size", batch_size, 1),
    ):
        if value < low:
            raise InputError(f"{value} is too small", where=name, fix=f"at least {low}")
    if not chosen or not seeds:
        raise InputError("a trial needs at least one fold and one seed")
    if len(set(chosen)) != len(chosen) or len(set(seeds)) != len(seeds):
        raise InputError("folds or seeds name the same replica twice", where=f"folds {chosen}, seeds {tuple(seeds)}")
    for name, word, known in (
        ("precision", precision, get_args(Precision)),
        ("protocol", protocol, get_args(TrialConfig.model_fields["protocol"].annotation)),
        ("selection", selection, get_args(TrialConfig.model_fields["selection"].annotation)),
        ("crossing", crossing, get_args(CrossingRule)),
        ("neighbors_naming_new", neighbors_naming_new, get_args(NamingNew)),
    ):
        if word not in known:
            raise InputError(f"unknown {name} '{word}'", fix=known_words(word, known))
    if selection == "strict" and len(chosen) != 1:
        raise InputError(
            f"a trial of selection 'strict' has one test fold, not {len(chosen)}: {', '.join(chosen)}",
            where="folds",
            fix="name one fold; a sweep makes a study of each",
        )
    check_protocol(protocol, selection, neighbors_naming_new, table, targets)
    refuse_faulty(rows_of(table, info), info, chosen, accept_faulty_split)
    for target in targets:
        refuse_faulty(rows_of(target, target.info), target.info, ())
    check_splits(table, encoder.pretraining, chosen, shots, crossing)
    fallback: dict[str, Value] = {"logit_scale": encoder.logit_scale, "template": info.template}
    trains = LEARNERS[baseline].trainable
    complete_hyper = complete(tuple(declared.values()), hyper or {}, where=method, fallback=fallback)
    complete_hyper = settled_context(encoder.text, complete_hyper, method)
    if trains:
        check_warmup(complete_hyper, epochs, method)
    # What uses no lists, or has no new classes, is one configuration, whatever is done with such terms.
    naming_new = cast(NamingNew, neighbors_naming_new if sept and protocol == "base-to-new" else "keep")
    used = trial_neighbors(inputs, protocol, naming_new) if sept else None
    check_names_apart(inputs, protocol, complete_hyper, used)
    return TrialConfig(
        method_version=METHOD_VERSION,
        protocol=protocol,  # type: ignore[arg-type]
        selection=selection,  # type: ignore[arg-type]
        encoder=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        dataset=info.name,
        manifest_digest=table.manifest_digest,
        embeddings_digest=table.digest,
        targets={target.dataset: target.digest for target in targets},
        left_out=described_left_out(inputs),
        neighbors_digest=used.digest if used is not None else None,
        templates_digest=templates_digest(info.kind) if sept else None,
        baseline=baseline,
        sept=sept,
        hyper=complete_hyper,
        shots=shots,
        folds=chosen,
        seeds=tuple(seeds),
        # What trains nothing is one configuration, however long the others train.
        epochs=epochs if trains else 0,
        report_every=min(report_every, epochs) if trains else 1,
        batch_size=batch_size if trains else 1,
        precision=precision if trains else "float32",  # type: ignore[arg-type]
        crossing=crossing,  # type: ignore[arg-type]
        neighbors_naming_new=naming_new,
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
        check_inputs(config, inputs)
        self.config = config
        self._plan = make_plan(
            protocol=config.protocol,
            selection=config.selection,
            table=inputs.table,
            targets=[inputs.targets[name] for name in config.targets],
            tower=inputs.encoder.text,
            pretraining=inputs.encoder.pretraining,
            folds=config.folds,
            seeds=config.seeds,
            shots=config.shots,
            crossing=config.crossing,
            wording=Wording.of(config.hyper),
        )
        self._warnings = trial_warnings(config, inputs)
        self._replicas = [(fold, seed) for fold in config.folds for seed in config.seeds]
        self._learners: list[Learner] = []
        self._trainings: list[FusedTraining] = []
        for stage in self._plan.stages:
            learner = LEARNERS[config.baseline](inputs.encoder.text, config.hyper, stage.classes)
            self._learners.append(learner)
            self._trainings.append(self._training(learner, stage, inputs))
        self._curve: list[Report] = []
        self.seconds = 0.0
        if checkpoint is not None:
            self._restore(load_checkpoint(checkpoint, config.signature))

    def _training(self, learner: Learner, stage: Stage, inputs: TrialInputs) -> FusedTraining:
        config, tower = self.config, inputs.encoder.text
        semantic = None
        if config.sept:
            neighbors = trial_neighbors(inputs, config.protocol, config.neighbors_naming_new)
            assert neighbors is not None  # check_inputs has seen to it
            templates = load_templates(inputs.table.info.kind)
            semantic = SemanticExpansion.of(tower, stage.classes, neighbors, templates, config.hyper)
        return FusedTraining(
            learner=learner,
            classes=Wording.of(config.hyper).bank(tower, stage.classes),
            semantic=semantic,
            embeddings=inputs.table.embeddings,
            labels=stage.labels,
            rows=stage.rows,
            keys=[f"{config.dataset}/{fold}/{seed}" for fold, seed in self._replicas],
            schedule=Schedule.of(config.epochs, config.batch_size, config.hyper),
            precision=config.precision,
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        if len(checkpoint.states) != len(self._trainings):
            raise CheckpointError(f"checkpoint of trial {self.config.signature} has {len(checkpoint.states)} trainings")
        for training, state in zip(self._trainings, checkpoint.states, strict=True):
            try:
                training.load_state(state)
            except ValueError as error:
                raise CheckpointError(f"checkpoint of trial {self.config.signature} does not fit: {error}") from error
        self._curve = list(checkpoint.curve)
        self.seconds = checkpoint.seconds

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader of its numbers should know, a line each."""
        return self._warnings

    @property
    def curve(self) -> tuple[Report, ...]:
        """All reports so far, those before a checkpoint included."""
        return tuple(self._curve)

    @property
    def epoch(self) -> int:
        """Epochs trained of what the search measures."""
        return self._trainings[0].epoch

    @property
    def step_tokens(self) -> int:
        """Text tokens of one step of all replicas."""
        return max(training.step_tokens for training in self._trainings)

    @property
    def tested(self) -> Stage:
        """The training whose parameters are tested."""
        return self._plan.stages[-1]

    @property
    def finished(self) -> bool:
        """Whether all is trained and reported."""
        return self._reported and self._trainings[-1].epoch >= self.config.epochs

    @property
    def _reported(self) -> bool:
        return bool(self._curve) and self._curve[-1].epoch >= self.config.epochs

    def advance(self) -> Report | None:
        """Train ``report_every`` epochs on, and measure what the selection allows the search to see.

        Returns:
            The report; None while the second training of a nested selection is under way, of which the search sees
            nothing.

        Raises:
            NonFiniteError: Loss or parameters are no longer finite.
        """
        started, training, goal = time.perf_counter(), self.training, self.next_epoch
        losses: dict[str, float] = {}
        while training.epoch < goal:
            losses = training.train_epoch()
        self.seconds += time.perf_counter() - started
        return self.report(losses)

    @property
    def training(self) -> FusedTraining:
        """What `advance` trains on: the search's training or, behind a nested selection's, the one that is tested."""
        return self._trainings[1 if self._reported and len(self._trainings) > 1 else 0]

    @property
    def next_epoch(self) -> int:
        """The epoch up to which `advance` trains."""
        return min(self.training.epoch + self.config.report_every, self.config.epochs)

    def report(self, losses: Mapping[str, float]) -> Report | None:
        """What `advance` ends with, for who trains `training` up to `next_epoch` otherwise (``sept_core.grid``).

        Args:
            losses: Of the last epoch.
        """
        if self._reported:
            return None
        started = time.perf_counter()
        summary, _ = summarise(self._measure())
        metrics = {f"val/{name}": summary[name] for name in ("h", "base", "new", "source") if name in summary}
        metrics |= {f"loss/{name}": value for name, value in losses.items()}
        self.seconds += time.perf_counter() - started
        report = Report(self.training.epoch, metrics, time_s=self.seconds, timestamp_ms=now_ms())
        self._curve.append(report)
        return report

    def checkpoint(self) -> bytes:
        """State of the training and the curve so far, as safetensors bytes."""
        states = tuple(training.state() for training in self._trainings)
        return dump_checkpoint(Checkpoint(self.config.signature, states, self.curve, self.seconds))

    def result(self) -> TrialResult:
        """Validation and test metrics of a finished run.

        Raises:
            RuntimeError: The run is not finished.
        """
        if not self.finished:
            raise RuntimeError(f"trial {self.config.signature} is at epoch {self.epoch} of {self.config.epochs}")
        among_all = self.config.protocol == "base-to-new"
        scores = evaluate(self._learners[-1], self._trainings[-1].params, self._plan.tested, among_all=among_all)
        test, test_rows = summarise(scores)
        same = self._plan.stages[-1].measured is self._plan.tested  # selection: paper
        validation, validation_rows = (test, test_rows) if same else summarise(self._measure())
        replicas = tuple(
            {
                "fold": fold,
                "seed": seed,
                **{f"val_{name}": value for name, value in validation_rows[index].items()},
                **{f"test_{name}": value for name, value in test_rows[index].items()},
            }
            for index, (fold, seed) in enumerate(self._replicas)
        )
        versions, machine = software()
        return TrialResult(
            signature=self.config.signature,
            config=self.config,
            state="finished",
            curve=self.curve,
            validation=validation,
            test=test,
            replicas=replicas,
            confusion={name: group.confusion for name, group in scores.items()},
            classnames=self._plan.classnames,
            train_seconds=self.seconds,
            finished_ms=now_ms(),
            versions=versions,
            machine=machine,
            warnings=self._warnings,
            tested=count_tested([fold for fold, _ in self._replicas], self._plan.tested, scores),
        )

    def _measure(self) -> dict[str, GroupScores]:
        return evaluate(self._learners[0], self._trainings[0].params, self._plan.stages[0].measured)
