"""The section of several actors on one card: the throughput of fractions of a GPU."""

from __future__ import annotations

import time
from multiprocessing import get_context
from typing import Any

import torch

from .bench import Bench
from .measuring import synchronise
from .study import Study, StudyConfig

__all__ = ["actors"]

START_S = 120.0


class Actor:
    """A trial that trains forever."""

    def __init__(self, config: StudyConfig) -> None:
        if config.device == "cpu":
            torch.set_num_threads(1)
        self._device = torch.device(config.device)
        self._training = Study(config).training()
        self._training.train_epoch()

    def run(self, seconds: float) -> float:
        """Train for this long; returns steps per second."""
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            self._training.train_epoch()  # waits for the device at its end
            steps += 1
        synchronise(self._device)
        return steps / (time.perf_counter() - started)


def actors(bench: Bench) -> dict[str, Any]:
    """Steps a second of 1, 2 and 4 trials on one card, as Ray's fractions of it if Ray is installed, else as plain
    processes."""
    try:
        import ray
    except ImportError:
        ray = None
    on_ray = ray is not None and not bench.small
    rows: list[dict[str, Any]] = []
    counts = (2,) if bench.small else (1, 2, 4)
    encoders = ("mini", "msclap-2023") if bench.on_gpu else ("mini",)
    seconds = 0.3 if bench.small else 3.0
    if on_ray:
        # As many CPUs as actors, whatever the machine has: an actor that does not fit would be waited for forever.
        gpus = 1 if bench.on_gpu else 0
        ray.init("local", num_cpus=max(counts), num_gpus=gpus, include_dashboard=False, log_to_driver=False)
    try:
        for encoder in encoders:
            config = StudyConfig(encoder, "ESC10", "coop+sept", replicas=4, **bench.sizes())
            one = 0.0
            for count in counts:
                if not bench.time_for(f"{encoder} {count} actors", 0.0 if bench.small else 15.0):
                    continue
                rates = _on_ray(config, count, seconds) if on_ray else _processes(config, count, seconds)
                total = sum(rates)
                one = one or total
                row = {"encoder": encoder, "actors": count, "steps_per_s": total, "gain": total / one}
                rows.append(bench.found(row))
    finally:
        if on_ray:
            ray.shutdown()
    started = "Ray's actors, a fraction of the GPU each" if on_ray else "plain processes"
    if ray is None:
        started += ": Ray is not installed"
    return {"started_as": started, "replicas": 4, "rows": rows}


def _on_ray(config: StudyConfig, count: int, seconds: float) -> list[float]:
    import ray

    share = {"num_gpus": 1 / count} if config.device == "cuda" else {}
    remote: Any = ray.remote(num_cpus=1, **share)(Actor)
    made = [remote.remote(config) for _ in range(count)]
    ray.get([actor.run.remote(0.0) for actor in made])  # all are there
    rates = ray.get([actor.run.remote(seconds) for actor in made])
    for actor in made:
        ray.kill(actor)
    return list(rates)


def _processes(config: StudyConfig, count: int, seconds: float) -> list[float]:
    context = get_context("spawn")
    ready, rates = context.Barrier(count), context.Queue()
    processes = [context.Process(target=_process, args=(config, seconds, ready, rates)) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        found = [rates.get(timeout=START_S + seconds) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()
    failures = [rate for rate in found if isinstance(rate, str)]
    if failures:
        raise RuntimeError(failures[0])
    return found


def _process(config: StudyConfig, seconds: float, ready: Any, rates: Any) -> None:
    try:
        actor = Actor(config)
        ready.wait(timeout=START_S)  # all are there
        rates.put(actor.run(seconds))
    except Exception as error:  # told to the one who waits
        ready.abort()
        rates.put(f"{type(error).__name__}: {error}")
