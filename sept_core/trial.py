"""A trial: one configuration, all its replicas at once; a pure function of the values in its signature.

    inputs = TrialInputs(encoder, table, neighbors)
    run = TrialRun(make_config(inputs, "coop+sept", {"n_ctx": 4}, epochs=20), inputs)
    while not run.finished:
        run.advance()
    print(run.result().test["h"])

The workers of a search make the same calls.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from sept_core.checkpoint import Checkpoint, CheckpointError, dump_checkpoint, load_checkpoint
from sept_core.correct_counts import count_tested
from sept_core.datasets import EmbeddingTable
from sept_core.evaluation import GroupScores, evaluate, summarise
from sept_core.learners import Learner, get_learner
from sept_core.make_config import make_config
from sept_core.methods import hyper_parameters, split_method
from sept_core.prompt_form import Wording
from sept_core.protocol_facts import protocol_of
from sept_core.protocols import Stage, make_plan
from sept_core.results import Report, TrialResult, failed_result, now_ms, software
from sept_core.semantic import SemanticExpansion, load_templates
from sept_core.semantic.activity import ACTIVITY
from sept_core.training import FusedTraining, Schedule
from sept_core.trial_config import METHOD_VERSION, TrialConfig
from sept_core.trial_inputs import (
    TrialInputs,
    check_inputs,
    trial_neighbors,
    trial_warnings,
)

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


class TrialRun:
    """A running trial: advance, checkpoint, result.

    Args:
        config: The configuration.
        inputs: Encoder, embeddings and neighbours; they must be those that the configuration names.
        checkpoint: What ``checkpoint()`` of an earlier run of the same signature returned; the run continues from
            there, and its result is bit-equal to that of an uninterrupted run.

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
            learner = get_learner(config.baseline)(inputs.encoder.text, config.hyper, stage.classes)
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
            assert neighbors is not None  # checked by check_inputs
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
        """What a reader of its result should know, one line each."""
        return self._warnings

    @property
    def curve(self) -> tuple[Report, ...]:
        """All reports so far, including those from before a checkpoint."""
        return tuple(self._curve)

    @property
    def epoch(self) -> int:
        """Epochs of the training that the search measures."""
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
    def learned(self) -> dict[str, Tensor]:
        """All parameters of the tested training, on the CPU; a checkpoint lacks those that training does not change."""
        return {name: value.detach().cpu() for name, value in self._trainings[-1].params.items()}

    @property
    def finished(self) -> bool:
        """Whether everything is trained and reported."""
        return self._reported and self._trainings[-1].epoch >= self.config.epochs

    @property
    def _reported(self) -> bool:
        return bool(self._curve) and self._curve[-1].epoch >= self.config.epochs

    def advance(self) -> Report | None:
        """Train for ``report_every`` epochs, then measure what the selection allows the search to see.

        Returns:
            The report; None during the second training of a nested selection, which the search does not see.

        Raises:
            NonFiniteError: Loss or parameters are no longer finite.
        """
        started, training, goal = time.perf_counter(), self.training, self.next_epoch
        losses: dict[str, float] = {}
        while training.epoch < goal:
            losses = training.train_epoch(reported=training.epoch + 1 == goal)
        self.seconds += time.perf_counter() - started
        return self.report(losses)

    @property
    def training(self) -> FusedTraining:
        """The training that `advance` continues: the one that the search measures or, after it with a nested selection,
        the one that is tested."""
        return self._trainings[1 if self._reported and len(self._trainings) > 1 else 0]

    @property
    def next_epoch(self) -> int:
        """The epoch up to which `advance` trains."""
        return min(self.training.epoch + self.config.report_every, self.config.epochs)

    def report(self, losses: Mapping[str, float]) -> Report | None:
        """The last step of `advance`, for code that trains up to `next_epoch` itself (``sept_core.batched_trials``).

        Args:
            losses: What `FusedTraining.train_epoch` returned for the last epoch, as a reported one.
        """
        if self._reported:
            return None
        started = time.perf_counter()
        summary, _ = summarise(self._measure())
        metrics = {f"val/{name}": summary[name] for name in protocol_of(self.config.protocol).validated}
        metrics |= {f"{'sept' if name in ACTIVITY else 'loss'}/{name}": value for name, value in losses.items()}
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
        scores = self.scores()
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
            parameters=sum(value[0].numel() for value in self._trainings[-1].state().params.values()),
            tested=count_tested([fold for fold, _ in self._replicas], self._plan.tested, scores),
        )

    def scores(self, other: Mapping[str, EmbeddingTable] | None = None) -> dict[str, GroupScores]:
        """Classify the test clips of a finished run.

        Args:
            other: By dataset, other embeddings of the same clips, such as noisy ones, to classify in their place.
        """
        groups = dict(self._plan.tested)
        for name, group in groups.items():
            table = (other or {}).get(name if name in self.config.targets else self.config.dataset)
            if table is not None:
                groups[name] = replace(group, embeddings=table.embeddings)
        # Where all classes are trained on, they are one group.
        among_all = not protocol_of(self.config.protocol).all_classes
        return evaluate(self._learners[-1], self._trainings[-1].params, groups, among_all=among_all)

    def _measure(self) -> dict[str, GroupScores]:
        return evaluate(self._learners[0], self._trainings[0].params, self._plan.stages[0].measured)
