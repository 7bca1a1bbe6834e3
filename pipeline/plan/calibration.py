"""How fast this machine trains: a few steps of a middle configuration, timed as a worker would run them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.plan.work import Probe, Work
from pipeline.search.devices import as_a_worker
from pipeline.search.sizing import few_replicas
from sept_core.results import TrialConfig
from sept_core.trial import TrialInputs

__all__ = ["Rates", "calibrate"]

_STEPS = 30  # more of them say nothing new
_CLIPS = 8  # of each group, where every clip has prompts of its own


@dataclass(frozen=True)
class Rates:
    """Seconds per text token on this machine.

    Attributes:
        training: Of a step.
        measuring: Of a measurement.
        steps: Timed steps; 0 for what trains nothing.
        replicas: Replicas that took part in them.
        waited: Share of the time that other processes kept the one thread waiting; 0 where that cannot be told.
        took: Seconds of the calibration.
    """

    training: float
    measuring: float
    steps: int
    replicas: int
    waited: float
    took: float

    def seconds(self, work: Work) -> float:
        """Of a trial with so much to compute."""
        return self.training * work.trained + self.measuring * work.measured


def calibrate(config: TrialConfig, inputs: TrialInputs, seconds: float, threads: int, gpu: bool) -> Rates:
    """Time a few steps and a measurement. Nothing is written anywhere.

    One replica comes first. Where it leaves time for more, as many as fit into the rest of the time are timed together,
    since a trial trains all of its replicas at once; a step takes as much longer as it has more tokens. What is set up
    once (libraries, hand-crafted prompts) is warmed up or left out.

    Args:
        config: A whole trial.
        inputs: What it reads.
        seconds: How long it may take. One step and one measurement are always made, however long they take.
        threads: Threads to compute with, as many as a worker of it has.
        gpu: Whether a worker of it has a share of a GPU; measured is what the GPU gives to one trial alone.

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
        # Several threads, and a GPU's, wait for each other too.
        waited = 1 - (time.process_time() - cpu) / took if threads == 1 and not gpu else 0.0
        replicas = len(probe.config.folds) * len(probe.config.seeds)
        return Rates(training, measuring / probe.measured_tokens(clips), steps, replicas, max(0.0, waited), took)


def _repeated(call: Callable[[], object], until: float) -> list[float]:
    """Times of some calls, as many as are likely to end in time."""
    times: list[float] = []
    while len(times) < _STEPS and _left(until) > (times[-1] if times else 0):
        times.append(_timed(call))
    return times


def _timed(call: Callable[[], object]) -> float:
    # No waiting for a GPU is needed: a step and a measurement end with numbers on the CPU.
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _left(until: float) -> float:
    return until - time.perf_counter()


@contextmanager
def _as_in_a_worker(inputs: TrialInputs, threads: int, gpu: bool) -> Iterator[None]:
    """Threads, device and determinism of a worker (`pipeline.search.worker`), put back at the end."""
    tower = inputs.encoder.text
    device = next(tower.parameters()).device
    with as_a_worker(threads):
        try:
            if gpu:
                tower.to("cuda")
            yield
        finally:
            tower.to(device)
