"""Times a few training steps on this machine, as a worker would run them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.plan.work import Probe, Work
from pipeline.search.devices import as_a_worker
from pipeline.search.sizing import few_replicas
from sept_core.trial import TrialInputs
from sept_core.trial_config import TrialConfig

__all__ = ["Rates", "calibrate"]

_STEPS = 30  # more steps do not change the estimate
_CLIPS = 8  # of each group, if every clip has its own prompts


@dataclass(frozen=True)
class Rates:
    """Seconds per text token on this machine.

    Attributes:
        training: For a training step.
        measuring: For a measurement.
        steps: Number of timed steps; 0 for a method without training.
        replicas: Number of replicas in each timed step.
        waited: Share of the time in which other processes kept this thread waiting; 0 if unknown.
        took: Duration of the calibration in seconds.
    """

    training: float
    measuring: float
    steps: int
    replicas: int
    waited: float
    took: float

    def seconds(self, work: Work) -> float:
        """Estimated duration of a trial with this amount of work."""
        return self.training * work.trained + self.measuring * work.measured


def calibrate(config: TrialConfig, inputs: TrialInputs, seconds: float, threads: int, gpu: bool) -> Rates:
    """Time a few steps and a measurement, without writing anything.

    One replica is timed first. If there is time left, as many replicas as fit into it are timed together, because a
    trial trains all of its replicas at once. The time of a step is proportional to its tokens. One-time costs
    (libraries, hand-crafted prompts) are warmed up or left out.

    Args:
        config: A whole trial.
        inputs: The inputs of the trial.
        seconds: Time limit. At least one step and one measurement are made, however long they take.
        threads: Number of threads, the same as for a worker of this trial.
        gpu: Whether the worker would use a GPU. The result is the speed of one trial that has the GPU to itself.

    Raises:
        InputError: The trial cannot be trained on these inputs.
    """
    began, cpu = time.perf_counter(), time.process_time()
    until = began + seconds
    with _as_in_a_worker(inputs, threads, gpu):
        probe = Probe(few_replicas(config), inputs)
        training, steps = 0.0, 0
        if config.epochs:
            first = _timed(probe.step)
            if _left(until) > first:
                first = _timed(probe.step)
            wanted = min(len(config.folds) * len(config.seeds), int(_left(until) / (4 * first)))
            if wanted > 1:
                probe = Probe(few_replicas(config, wanted), inputs)
                first = _timed(probe.step)
            times = _repeated(probe.step, until - seconds / 4)
            training, steps = statistics.fmean(times or [first]) / probe.step_tokens, max(1, len(times))
        clips = _CLIPS if probe.conditional else None
        probe.measure(1)
        measuring = _timed(lambda: probe.measure(clips))
        took = time.perf_counter() - began
        # With several threads or a GPU, part of the waiting is for each other.
        waited = 1 - (time.process_time() - cpu) / took if threads == 1 and not gpu else 0.0
        replicas = len(probe.config.folds) * len(probe.config.seeds)
        return Rates(training, measuring / probe.measured_tokens(clips), steps, replicas, max(0.0, waited), took)


def _repeated(call: Callable[[], object], until: float) -> list[float]:
    """Times of repeated calls, as many as probably fit into the time limit."""
    times: list[float] = []
    while len(times) < _STEPS and _left(until) > (times[-1] if times else 0):
        times.append(_timed(call))
    return times


def _timed(call: Callable[[], object]) -> float:
    # No GPU synchronisation is needed: a step and a measurement end with numbers on the CPU.
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _left(until: float) -> float:
    return until - time.perf_counter()


@contextmanager
def _as_in_a_worker(inputs: TrialInputs, threads: int, gpu: bool) -> Iterator[None]:
    """Use the threads, device and determinism of a worker (`pipeline.search.worker`); restore them at the end."""
    tower = inputs.encoder.text
    device = next(tower.parameters()).device
    with as_a_worker(threads):
        try:
            if gpu:
                tower.to("cuda")
            yield
        finally:
            tower.to(device)
