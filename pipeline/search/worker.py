"""The code of a worker: runs one trial after another in one process, each from its checkpoint in the trial store.

Tune calls `step` repeatedly. The first step of a trial loads it (inputs, checkpoint) and returns the curve so far;
every other one trains to the next report, writes the checkpoint, and only then returns the curve, so that everything
that the driver has seen survives the worker. With the last report the result is published.

An error of the trial itself is retried a few times and then ends it as ``failed``. An unusable store or unusable inputs
end the sweep, since they are not the trial's fault. Nothing is raised through Tune: the only failure that Tune sees is
the loss of this process.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

from ray.tune import PlacementGroupFactory, Trainable

from pipeline.cluster.faults import fault_of
from pipeline.search.devices import prepare_torch
from pipeline.search.messages import Assignment, Message
from pipeline.store.open_store import open_files
from pipeline.store.trials import TrialStore
from pipeline.text import masked
from sept_core.checkpoint import CheckpointError
from sept_core.errors import SeptError
from sept_core.results import TrialResult
from sept_core.training import NonFiniteError
from sept_core.trial import TrialRun, failed_result

__all__ = ["TrialProcess", "TrialWorker"]

logger = logging.getLogger(__name__)

# Attempts at training to the next report before exceptions end the trial.
_ATTEMPTS = 3


class TrialWorker(Trainable):
    """Runs assignments one after the other (``reuse_actors``), keeping encoder and embeddings loaded between them."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """The resources of the assigned trial."""
        return PlacementGroupFactory([{"CPU": config["assignment"].cpus, "GPU": config["assignment"].gpus}])

    def setup(self, config: dict[str, Any]) -> None:
        """First assignment of the process."""
        self._trial = TrialProcess(config["assignment"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Next assignment of the process."""
        self._trial = TrialProcess(new_config["assignment"])
        return True

    def step(self) -> dict[str, Any]:
        """One step of the trial."""
        return self._trial.step().to_tune()

    def cleanup(self) -> None:
        """Nothing to do: everything important is already in the store."""


class TrialProcess:
    """Runs one assignment; independent of Tune."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._begun = False
        self._result: TrialResult | None = None

    def step(self) -> Message:
        """Load the trial, or train to the next report; see the module's docstring."""
        try:
            return self._train() if self._begun else self._begin()
        except Exception as error:
            logger.exception("the worker cannot continue")
            line = str(error) if isinstance(error, SeptError) else f"{type(error).__name__}: {error}"
            return Message("unusable", error=masked(" ".join(line.split())), fault=fault_of(error))

    def _begin(self) -> Message:
        assignment = self._assignment
        prepare_torch(assignment.threads)
        config = self._config = assignment.config
        store = self._store = TrialStore(open_files(assignment.root, known=True))
        done = store.read_result(config.study_key, config.signature)
        if done is not None:
            return Message("ended", done.curve)
        self._inputs = assignment.provider(assignment.root, assignment.inputs)
        if assignment.gpus:
            self._inputs.encoder.text.to("cuda")
        self._checkpoint = store.read_checkpoint(config)
        try:
            self._run: TrialRun | None = TrialRun(config, self._inputs, self._checkpoint)
        except CheckpointError as error:
            if self._checkpoint is not None:
                store.reject_checkpoint(config, self._checkpoint, str(error))
            self._checkpoint = None
            self._run = TrialRun(config, self._inputs)
        self._curve = self._run.curve
        self._begun = True
        return Message("begun", self._curve)

    def _train(self) -> Message:
        error = self._attempts()
        if error:
            self._store.write_result(failed_result(self._config, self._curve, error))
            return Message("ended", self._curve)
        if self._run is None or self._checkpoint is None:
            raise RuntimeError("a trial that has trained has a run and a checkpoint")
        self._curve = self._run.curve
        self._store.write_checkpoint(self._config, self._checkpoint)
        if self._result is None:
            return Message("report", self._curve)
        self._store.write_result(self._result)
        return Message("ended", self._curve)

    def _attempts(self) -> str:
        """Train to the next report, retrying from the last checkpoint; returns the traceback if all attempts fail."""
        error = ""
        for _ in range(_ATTEMPTS):
            try:
                if self._run is None:
                    self._run = TrialRun(self._config, self._inputs, self._checkpoint)
                if not self._run.finished:
                    self._run.advance()
                self._result = self._run.result() if self._run.finished else None
                self._checkpoint = self._run.checkpoint()
            except NonFiniteError:
                # A retry would give the same numbers.
                return masked(traceback.format_exc())
            except Exception:
                logger.exception("trial %s failed", self._config.signature)
                error, self._run = masked(traceback.format_exc()), None
            else:
                return ""
        return error
