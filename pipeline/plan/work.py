"""How much a trial has to compute, counted in text tokens, and a trial of which single steps can be taken."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.search.sizing import few_replicas
from sept_core.evaluation import Group, evaluate
from sept_core.learners import Learner
from sept_core.protocols import Stage
from sept_core.results import TrialConfig
from sept_core.training import FusedTraining, Schedule
from sept_core.trial import TrialInputs, TrialRun

__all__ = ["Probe", "Work", "work_of"]

# A trained token goes through the tower forward and, at about twice the price, backward.
_TRAINED = 3


@dataclass(frozen=True)
class Work:
    """Text tokens that a whole trial sends through the tower, all replicas.

    Attributes:
        trained: In steps, forward and backward.
        measured: In measurements during the training, forward only.
    """

    trained: float
    measured: float

    @property
    def size(self) -> float:
        """Both as one number, in tokens of a forward pass."""
        return _TRAINED * self.trained + self.measured


def work_of(config: TrialConfig, inputs: TrialInputs) -> Work:
    """What a trial has to compute, reckoned from its first replica.

    Raises:
        InputError: The trial cannot be trained on these inputs.
    """
    probe = Probe(few_replicas(config), inputs)
    replicas = len(config.folds) * len(config.seeds)
    reports = max(1, -(-config.epochs // config.report_every))
    return Work(replicas * config.epochs * probe.epoch_tokens(), replicas * reports * probe.measured_tokens())


class Probe(TrialRun):
    """A trial of which one training step, and the measurement of a few clips, can be taken by themselves.

    It trains on no more than the first batch of every replica's clips, so that an epoch is a step. Its rate is 0, so
    that any number of steps may be taken without going astray; that changes nothing of what is computed.
    """

    def __init__(self, config: TrialConfig, inputs: TrialInputs) -> None:
        still = {"lr": 0.0, "warmup_epochs": 0} if "lr" in config.hyper else {}
        super().__init__(config.model_copy(update={"hyper": config.hyper | still}), inputs)

    def _training(self, learner: Learner, stage: Stage, inputs: TrialInputs) -> FusedTraining:
        batch = self.config.batch_size
        return super()._training(learner, replace(stage, rows=tuple(rows[:batch] for rows in stage.rows)), inputs)

    def step(self) -> None:
        """One step of all replicas."""
        self._trainings[0].train_epoch()

    def epoch_tokens(self) -> int:
        """Tokens of an epoch: of all steps of all trainings of the trial."""
        schedule = Schedule.of(self.config.epochs, self.config.batch_size, self.config.hyper)
        return sum(
            max(schedule.batches(len(rows)) for rows in stage.rows) * training.step_tokens
            for stage, training in zip(self._plan.stages, self._trainings, strict=True)
        )

    def measure(self, clips: int | None = None) -> None:
        """Measure, for each replica, the first ``clips`` of each group, all unless given."""
        evaluate(self._learners[0], self._trainings[0].params, self._groups(clips))

    def measured_tokens(self, clips: int | None = None) -> int:
        """Tokens of what ``measure`` does."""
        learner = self._learners[0]
        total = 0
        for group in self._groups(clips).values():
            # Where every clip has its own prompts they are encoded clip by clip, else once for a replica.
            passes = sum(map(len, group.rows)) if learner.conditional else len(group.rows)
            total += passes * learner.tokens(group.bank)
        return total

    @property
    def conditional(self) -> bool:
        """Whether every clip has its own prompts."""
        return self._learners[0].conditional

    def _groups(self, clips: int | None) -> dict[str, Group]:
        measured = self._plan.stages[0].measured
        return {name: replace(group, rows=[rows[:clips] for rows in group.rows]) for name, group in measured.items()}
