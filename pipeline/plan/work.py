"""The amount of work of a trial in text tokens, and a trial that runs single steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.search.sizing import few_replicas
from sept_core.evaluation import Group, evaluate
from sept_core.learners import Learner
from sept_core.protocols import Stage
from sept_core.training import FusedTraining, Schedule
from sept_core.trial import TrialInputs, TrialRun
from sept_core.trial_config import TrialConfig

__all__ = ["Probe", "Work", "work_of"]

# A trained token goes through the tower forward and backward; backward costs about twice as much.
_TRAINED = 3


@dataclass(frozen=True)
class Work:
    """Text tokens that all replicas of a whole trial send through the tower.

    Attributes:
        trained: In training steps, forward and backward.
        measured: In measurements during training, forward only.
    """

    trained: float
    measured: float

    @property
    def size(self) -> float:
        """Both as one number: the equivalent in tokens of a forward pass."""
        return _TRAINED * self.trained + self.measured


def work_of(config: TrialConfig, inputs: TrialInputs) -> Work:
    """The amount of work of a trial, computed from its first replica.

    Raises:
        InputError: The trial cannot be trained on these inputs.
    """
    probe = Probe(few_replicas(config), inputs)
    replicas = len(config.folds) * len(config.seeds)
    reports = max(1, -(-config.epochs // config.report_every))
    return Work(replicas * config.epochs * probe.epoch_tokens(), replicas * reports * probe.measured_tokens())


class Probe(TrialRun):
    """A trial that can run a single training step, or a measurement of a few clips.

    It trains on the first batch of every replica's clips only, so that an epoch is one step. Its learning rate is 0, so
    that any number of steps leaves the parameters unchanged; the computation is the same.
    """

    def __init__(self, config: TrialConfig, inputs: TrialInputs) -> None:
        still = {"lr": 0.0, "warmup_epochs": 0} if "lr" in config.hyper else {}
        super().__init__(config.model_copy(update={"hyper": config.hyper | still}), inputs)

    def _training(self, learner: Learner, stage: Stage, inputs: TrialInputs) -> FusedTraining:
        batch = self.config.batch_size
        return super()._training(learner, replace(stage, rows=tuple(rows[:batch] for rows in stage.rows)), inputs)

    def step(self) -> None:
        """Run one step of all replicas."""
        self._trainings[0].train_epoch()

    def epoch_tokens(self) -> int:
        """Tokens of an epoch: all steps of all trainings of the trial."""
        schedule = Schedule.of(self.config.epochs, self.config.batch_size, self.config.hyper)
        return sum(
            max(schedule.batches(len(rows)) for rows in stage.rows) * training.step_tokens
            for stage, training in zip(self._plan.stages, self._trainings, strict=True)
        )

    def measure(self, clips: int | None = None) -> None:
        """Measure the first ``clips`` of each group for each replica; all by default."""
        evaluate(self._learners[0], self._trainings[0].params, self._groups(clips))

    def measured_tokens(self, clips: int | None = None) -> int:
        """Tokens that ``measure`` sends through the tower."""
        learner = self._learners[0]
        total = 0
        for group in self._groups(clips).values():
            # Prompts are encoded for every clip if they depend on it, otherwise once per replica.
            passes = sum(map(len, group.rows)) if learner.conditional else len(group.rows)
            total += passes * learner.tokens(group.bank)
        return total

    @property
    def conditional(self) -> bool:
        """Whether prompts depend on the clip."""
        return self._learners[0].conditional

    def _groups(self, clips: int | None) -> dict[str, Group]:
        measured = self._plan.stages[0].measured
        return {name: replace(group, rows=[rows[:clips] for rows in group.rows]) for name, group in measured.items()}
