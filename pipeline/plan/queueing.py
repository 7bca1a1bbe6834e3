"""Simulates the queue of a sweep with estimated times: how long it keeps a machine or a cluster busy."""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.search.sizing import fitting
from pipeline.spec import Resources

__all__ = ["Room", "StudyLoad", "wall_seconds"]

_ROUNDING = 1e-6


@dataclass(frozen=True)
class StudyLoad:
    """The trials left in one study.

    Attributes:
        trials: Their number.
        seconds: Duration of a trial.
        parallel: Most trials of the study at the same time.
        priority: Studies with a higher priority go first.
        cpus, gpus: CPUs and share of a GPU that a trial uses.
    """

    trials: int
    seconds: float
    parallel: int
    priority: int
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Room:
    """The machine or cluster that trials run on.

    Attributes:
        cpus: Number of CPUs.
        gpus: Number of GPUs.
        workers: Most trials at the same time according to the spec; None for as many as fit.
        given: Whether the GPUs are those of another machine. Its CPUs are unknown: trials that use a GPU are assumed to
            have enough of them.
    """

    cpus: float
    gpus: int
    workers: int | None
    given: bool

    @classmethod
    def of(cls, resources: Resources, methods: Sequence[str], gpus: int | None) -> Room:
        """This machine, or a machine with the given number of GPUs.

        For a given number of workers there are enough CPUs, because `cluster` starts Ray with them.
        """
        workers = None if resources.workers == "auto" else resources.workers
        cpus: float = os.cpu_count() or 1
        if workers is not None:
            cpus = max(1, math.ceil(workers * max(resources.of(method)[0] for method in methods)))
        if gpus is None and resources.gpus != "auto":
            gpus = resources.gpus
        return cls(cpus, gpus_here() if gpus is None else gpus, workers, gpus is not None)

    @property
    def where(self) -> str:
        """A description in words."""
        return f"a machine with {self.gpus} GPU{'' if self.gpus == 1 else 's'}" if self.given else "this machine"

    def fitting(self, cpus: float, gpus: float) -> int:
        """How many trials with these needs fit at the same time."""
        return int(fitting((cpus, gpus), math.inf if gpus and self.given else self.cpus, self.gpus))

    def at_once(self, needs: Iterable[tuple[float, float]]) -> int:
        """Trials at the same time, as `worker_count` decides it for Ray."""
        most = max((self.fitting(cpus, gpus) for cpus, gpus in needs), default=0)
        return most if self.workers is None else min(self.workers, most)


def gpus_here() -> int:
    """Number of GPUs of this machine."""
    import torch

    return torch.cuda.device_count()


def wall_seconds(jobs: Mapping[str, StudyLoad], room: Room) -> float:
    """Seconds from the start of the first trial to the end of the last one; trials that do not fit are left out.

    Studies are served in the order of `SweepDriver.ask`: those of a higher priority first, those of the same priority
    in turn, each with at most ``parallel`` trials at the same time. A study whose next trial does not fit is skipped.
    """
    order = [key for key, job in jobs.items() if job.trials and room.fitting(job.cpus, job.gpus)]
    workers = room.at_once((jobs[key].cpus, jobs[key].gpus) for key in order)
    waiting = {key: jobs[key].trials for key in order}
    flying = dict.fromkeys(order, 0)
    ends: list[tuple[float, int, str, int]] = []  # end, number of the start, study, GPU
    floor = _Floor(room)
    now, started = 0.0, 0
    while True:
        place = -1
        for key in sorted(order, key=lambda key: -jobs[key].priority) if len(ends) < workers else ():
            if waiting[key] and flying[key] < jobs[key].parallel and (place := floor.take(jobs[key])) >= 0:
                break
        if place >= 0:
            heapq.heappush(ends, (now + jobs[key].seconds, started, key, place))
            started += 1
            waiting[key] -= 1
            flying[key] += 1
            # A study that was served moves to the end of the queue.
            order.remove(key)
            order.append(key)
        elif ends:
            now, _, key, place = heapq.heappop(ends)
            flying[key] -= 1
            floor.give(jobs[key], place)
        else:
            return now


class _Floor:
    """The free CPUs and GPUs of a machine."""

    def __init__(self, room: Room) -> None:
        self._given = room.given
        self._cpus = room.cpus
        self._gpus = [1.0] * room.gpus

    def take(self, job: StudyLoad) -> int:
        """Reserve the needs of a trial: returns the index of its GPU, 0 without a GPU, -1 if it does not fit."""
        cpus = self._needed(job)
        if self._cpus + _ROUNDING < cpus:
            return -1
        place = 0
        if job.gpus:
            # The fullest GPU that still has room, so that whole GPUs stay free for trials that need one.
            free = [(share, index) for index, share in enumerate(self._gpus) if share + _ROUNDING >= job.gpus]
            if not free:
                return -1
            place = min(free)[1]
            self._gpus[place] -= job.gpus
        self._cpus -= cpus
        return place

    def give(self, job: StudyLoad, place: int) -> None:
        """Free what a trial has reserved."""
        self._cpus += self._needed(job)
        if job.gpus:
            self._gpus[place] += job.gpus

    def _needed(self, job: StudyLoad) -> float:
        return 0.0 if job.gpus and self._given else job.cpus
