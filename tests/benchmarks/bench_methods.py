"""What every method costs, in one table: parameters, a training step, an epoch, memory, and prediction.

    python -m tests.benchmarks.bench_methods                  # on a CPU with mini, one thread
    python -m tests.benchmarks.bench_methods --device cuda    # on a GPU
    python -m tests.benchmarks.bench_methods --methods coop,coop+sept,tip-adapter --encoder msclap-2023

Methods are those that are registered: every baseline, alone and with each modifier, and each of these with SEPT where
it can be added. ESC-10's base classes, 16 shots of each: an epoch of five steps of 16 clips, three replicas at once,
contexts of 16, five neighbours; made-up clips and, for all encoders but mini, random weights: neither changes a time.
On a CPU every method is measured in a process of its own, by its CPU time, which a busy machine changes less than the
wall clock.

Columns: trained parameters of a replica; ms of a step and seconds of an epoch, for all replicas; peak MB of the first
epoch above the loaded model; ms to encode the class names, once for all clips; and time per clip to rank them, without
the audio tower, which is the same for all: in microseconds, and as a multiple of zero-shot's, measured in turn with it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from sept_core.errors import InputError
from sept_core.evaluation import CLIPS_AT_ONCE
from sept_core.learners import LEARNERS, MODIFIERS
from sept_core.learners.base import Init, Learner, TrainingClips
from sept_core.methods import hyper_parameters
from tests.gpu.bench import in_turn, machine
from tests.gpu.measuring import Peak, alone
from tests.gpu.study import Study, StudyConfig

__all__ = ["Cost", "main", "measure", "methods"]

STEPS, ROUNDS, CLIPS = 5, 5, 320
REPEATED = 100
"""Ranking takes a fraction of a millisecond, except where names are encoded for every clip."""


@dataclass(frozen=True)
class Cost:
    """A line of the table; None where a method does not train."""

    method: str
    parameters: int
    step_ms: float | None
    epoch_s: float | None
    peak_mb: float | None
    names_ms: float | None
    clip_us: float
    times_zero_shot: float


def methods() -> list[str]:
    """All methods, those with SEPT after those without."""
    found = []
    for name, learner in LEARNERS.items():
        for baseline in (name, *(f"{name}+{own}" for own in MODIFIERS if learner.trainable)):
            for sept in (False, True):
                try:
                    hyper_parameters(baseline, sept)
                except InputError:
                    continue
                found.append(f"{baseline}+sept" if sept else baseline)
    return found


def measure(config: StudyConfig) -> Cost:
    """The costs of one method."""
    if config.device == "cpu":
        torch.set_num_threads(1)  # as in a trial
    study = Study(config)
    parameters = 0
    step = epoch = peak = None
    embeddings = study.embeddings()
    if study.learner.trainable:
        study.touch()
        memory = Peak(study.device)
        training = study.training(embeddings)
        training.train_epoch()
        peak = memory.megabytes()
        taken = in_turn({"epoch": training.train_epoch}, config.device, ROUNDS, warm=0)["epoch"]
        epoch = statistics.median(taken)
        step = 1e3 * epoch / config.steps
        params = training.params
        parameters = sum(value[0].numel() for name, value in params.items() if name not in study.learner.fixed)
    else:
        params = _untrained(study, embeddings)
    names, predict = _prediction(study, study.learner, params)
    other = Study(replace(config, method="zero-shot"))
    _, zero_shot = _prediction(other, other.learner, _untrained(other, embeddings))
    taken = in_turn({"names": names, "own": predict, "zero-shot": zero_shot}, config.device, 3 * ROUNDS)
    times = 1 if study.learner.conditional else REPEATED
    own, plain = (statistics.median(taken[name]) for name in ("own", "zero-shot"))
    return Cost(
        method=config.method,
        parameters=parameters,
        step_ms=step,
        epoch_s=epoch,
        peak_mb=peak,
        names_ms=None if study.learner.conditional else 1e3 * statistics.median(taken["names"]),
        clip_us=1e6 * own / CLIPS / times,
        times_zero_shot=own / times / (plain / REPEATED),
    )


def _untrained(study: Study, embeddings: Tensor) -> dict[str, Tensor]:
    """The parameters with which a learner begins, of all replicas."""
    parameter = next(study.tower.parameters())
    audio, labels = embeddings.to(parameter), study.labels.to(parameter.device)
    clips = TrainingClips.of(audio, labels, study.rows) if study.learner.starts_from_clips else None
    return study.learner.init(Init(study.keys, parameter.device, parameter.dtype, clips))


def _prediction(
    study: Study, learner: Learner, params: dict[str, Tensor]
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Encoding the names, and ranking them for ``CLIPS`` clips, as `evaluate` does it for one replica."""
    own = {name: value[:1].detach() for name, value in params.items()}
    labels = torch.arange(CLIPS) % len(study.classes)
    audio = study.embeddings(labels, study.classes, seed=1).to(next(study.tower.parameters()))[None]

    @torch.no_grad()
    def names(clips: Tensor | None = None) -> Tensor:
        return learner.features(own, clips, study.bank)

    text = None if learner.conditional else names()

    @torch.no_grad()
    def predict() -> None:
        if text is None:
            for clips in audio.split(CLIPS_AT_ONCE, dim=1):
                learner.logits(own, clips, names(clips), study.bank.names, base=True)[0].argmax(-1)
            return
        for _ in range(REPEATED):
            learner.logits(own, audio, text, study.bank.names, base=True)[0].argmax(-1)

    return (names if text is not None else lambda: None), predict


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.bench_methods", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--encoder", default="mini")
    parser.add_argument("--methods", default=",".join(methods()), help="some of: %(default)s")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each method")
    given = parser.parse_args(arguments)
    print(json.dumps(machine(given.device) | {"encoder": given.encoder, "load": os.getloadavg()}))
    head = ("method", "parameters", "step ms", "epoch s", "peak MB", "names ms", "us/clip", "x zero-shot")
    if not given.json:
        print("{:<26} {:>10} {:>8} {:>8} {:>8} {:>8} {:>9} {:>11}".format(*head))
    for method in given.methods.split(","):
        config = StudyConfig(given.encoder, "ESC10", method, given.device, steps=STEPS)
        # On a GPU torch's allocator tells the peak of each; a process for each would take minutes to start.
        cost: Cost = alone(measure, config) if given.device == "cpu" else measure(config)
        print(json.dumps(asdict(cost)) if given.json else _line(cost), flush=True)
    print(f"load at the end: {os.getloadavg()}")


def _line(cost: Cost) -> str:
    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:,.{digits}f}"

    return (
        f"{cost.method:<26} {cost.parameters:10,} {number(cost.step_ms, 1):>8} {number(cost.epoch_s, 3):>8} "
        f"{number(cost.peak_mb, 1):>8} {number(cost.names_ms, 1):>8} {cost.clip_us:9,.1f} {cost.times_zero_shot:11,.1f}"
    )


if __name__ == "__main__":
    main()
