"""The section that compares a training step of every method with the plain reference."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sept_core.encoders import AudioTower

from .bench import Bench, MissingError, ToleranceError, clock, seconds_of
from .encoders import random_encoder
from .measuring import Peak, alone, synchronise
from .plain import PlainReference, PlainTraining
from .study import METHODS, Study, StudyConfig

__all__ = ["measure_ours", "measure_plain", "step"]

LOSS_OR_LEARNED = 1e-3
ROUNDS = 3


@dataclass(frozen=True)
class Measured:
    """One side of the comparison with the plain reference.

    Attributes:
        seconds: A step of all replicas; the reference's: the median replica's times replicas.
        peak: MB above the loaded model.
        losses: Of replica 0 in its first step.
        learned: What the first step added to replica 0's parameters.
    """

    seconds: float
    peak: float
    losses: dict[str, float]
    learned: dict[str, Tensor]


def step(bench: Bench) -> dict[str, Any]:
    """A step of every method against the plain reference; both start the same, and their first steps must agree."""
    dataset, replicas = ("ESC10", 2) if bench.small else ("UrbanSound8K", 3)
    rows, faults = [], []
    for method in METHODS[1::6] if bench.small else METHODS:
        if not bench.time_for(method):
            continue
        config = StudyConfig("msclap-2023", dataset, method, replicas=replicas, **bench.sizes())
        # On a CPU a step of CoCoOp's reference takes half a minute a replica, and memory is told of a whole process.
        timed = 1 if method.startswith("cocoop") and not bench.on_gpu else replicas
        apart: Callable[..., Measured] = alone if not (bench.on_gpu or bench.small) else _directly
        plain, ours = apart(measure_plain, config, timed), apart(measure_ours, config)
        differs = _difference(plain, ours)
        row = {
            "method": method,
            "plain_s": plain.seconds,
            "ours_s": ours.seconds,
            "ratio": plain.seconds / ours.seconds,
            "plain_mb": plain.peak,
            "ours_mb": ours.peak,
            "differ_by": differs,
        }
        rows.append(bench.found(row))
        if not differs < LOSS_OR_LEARNED:
            faults.append(f"{method}: the first step differs from the reference's by {differs:.1e}")
    result = {
        "dataset": dataset,
        "replicas": replicas,
        "audio_tower": _audio(bench.small)[1],
        "tolerance": LOSS_OR_LEARNED,
        "rows": rows,
    }
    if faults:
        raise ToleranceError("; ".join(faults), result)
    return result


def _directly(function: Callable[..., Measured], *arguments: object) -> Measured:
    return function(*arguments)


def measure_plain(config: StudyConfig, timed: int) -> Measured:
    """The reference, one replica after the other, the first ``timed`` of them."""
    study, (audio, _) = _study(config), _audio(config.small)
    audio = audio.to(study.device)
    windows = _windows(audio, len(study.labels)).to(study.device)
    reference = PlainReference(study, audio)
    labels, start = study.labels.to(study.device), study.training(torch.zeros(len(windows), audio.dim)).params

    def replica(index: int) -> PlainTraining:
        own, rows = {name: value[index] for name, value in start.items()}, study.rows[index]
        return PlainTraining(reference, own, windows[rows], labels[rows])

    study.touch()
    with torch.no_grad():
        audio(windows[:1])
    if config.device == "cuda":
        replica(0).step()  # a warm-up; on a CPU a whole step more of each method would take minutes
    peak = Peak(study.device)
    trainings = [replica(index) for index in range(timed)]
    seconds, losses = [], []
    for training in trainings:
        synchronise(study.device)
        started = clock(config.device)
        losses.append(training.step())
        synchronise(study.device)
        seconds.append(clock(config.device) - started)
    learned = {name: (value.detach() - start[name][0]).cpu() for name, value in trainings[0].params.items()}
    return Measured(config.replicas * statistics.median(seconds), peak.megabytes(), losses[0], learned)


def measure_ours(config: StudyConfig) -> Measured:
    """Ours, all replicas at once on embeddings."""
    study, (audio, _) = _study(config), _audio(config.small)
    audio = audio.to(study.device)
    with torch.no_grad():
        windows = _windows(audio, len(study.labels)).to(study.device)
        embeddings = torch.cat([audio(some) for some in windows.split(8)]).cpu()
    del windows
    study.touch()
    peak = Peak(study.device)
    training = study.training(embeddings)
    start = {name: value[0].clone() for name, value in training.params.items()}
    training.train_epoch()
    learned = {name: (value[0] - start[name]).cpu() for name, value in training.params.items()}
    seconds = seconds_of(training.train_epoch, config.device, ROUNDS, warm=0)
    losses = study.training(embeddings, slice(1)).train_epoch()  # train_epoch returns means over replicas
    return Measured(seconds, peak.megabytes(), losses, learned)


def _study(config: StudyConfig) -> Study:
    if config.device == "cpu":
        torch.set_num_threads(1)  # as in a trial
    return Study(config)


def _difference(plain: Measured, ours: Measured) -> float:
    """The largest relative difference of the first step of replica 0, over its losses and over what it learned."""
    losses = [abs(ours.losses[name] - value) / max(abs(value), 1e-6) for name, value in plain.losses.items()]
    learned = [float((ours.learned[name] - value).norm() / value.norm()) for name, value in plain.learned.items()]
    return max(losses + learned)


class ReadyMel(AudioTower):
    """LAION-CLAP's HTSAT on mel spectrograms that are there, its features brought to msclap's width.

    Replaces msclap-2023's audio tower, an HTSAT of the same size, if the package msclap is not installed; the
    computation of spectrograms is left out, which favours the reference.
    """

    sample_rate, seconds = 48_000, 10.0

    def __init__(self, dim: int) -> None:
        super().__init__()
        tower: Any = random_encoder("laion-clap", small=True).load_audio()
        self.base, self.dim = tower.base, dim
        self.widen = nn.Linear(self.base.config.hidden_size, dim, bias=False).requires_grad_(False)

    def preparation(self) -> Any:
        raise NotImplementedError

    def forward(self, windows: Tensor) -> Tensor:
        return F.normalize(self.widen(self.base(input_features=windows).pooler_output), dim=-1)


class LittleAudio(AudioTower):
    """For ``--small``: one matrix."""

    sample_rate, seconds = 100, 1.0

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.widen = nn.Linear(100, dim, bias=False).requires_grad_(False)

    def preparation(self) -> Any:
        raise NotImplementedError

    def forward(self, windows: Tensor) -> Tensor:
        return F.normalize(self.widen(windows), dim=-1)


def _audio(small: bool) -> tuple[AudioTower, str]:
    """The reference's audio tower, and what it is."""
    encoder = random_encoder("msclap-2023", small)
    torch.manual_seed(1)
    if small:
        return LittleAudio(encoder.text.dim), "one matrix, in little"
    try:
        return encoder.load_audio(), "msclap-2023's"
    except MissingError:
        return ReadyMel(encoder.text.dim), "LAION-CLAP's HTSAT on ready mel spectrograms: no package msclap"


def _windows(audio: AudioTower, clips: int) -> Tensor:
    """Random tones in noise, or mel spectrograms of noise."""
    generator = torch.Generator().manual_seed(0)
    if isinstance(audio, ReadyMel):
        return torch.randn(clips, 1, 1001, 64, generator=generator)
    size = round(audio.seconds * audio.sample_rate)
    times = torch.arange(size) / audio.sample_rate
    pitches = 200 + 4000 * torch.rand(clips, 1, generator=generator)
    return 0.5 * torch.sin(2 * torch.pi * pitches * times) + 0.1 * torch.randn(clips, size, generator=generator)
