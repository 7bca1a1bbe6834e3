"""One training step of every baseline, with and without SEPT: ours against a plain reference, with peak memory.

    pip install -e ".[dev]" && pytest tests/benchmarks/bench_step.py -s

The reference is a training as published code writes it: one replica after the other, every prompt padded to 77 tokens,
the batch's waveforms through the audio tower in every step (already decoded, which published code does each time too).
Both start from the same parameters on the same clips, on random weights of msclap-2023 at full size, and the first
step of replica 0 must come out the same: losses, and what every parameter learns. Each measurement has a process of
its own; on one thread, and on a GPU where there is one. A larger study there:

    SEPT_BENCH_DATASET=ESC50 SEPT_BENCH_REPLICAS=30 SEPT_BENCH_NEIGHBORS=10 pytest tests/benchmarks/bench_step.py -s
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from measuring import Peak, alone, synchronise
from random_msclap import write_msclap
from random_study import Study, StudyConfig
from torch import Tensor, nn
from torch.nn import functional as F

from sept_core.encoders import load_encoder
from sept_core.encoders.gpt2 import Gpt2TextTower

PAD_TO, MOMENTUM, HEAD_LR, ROUNDS, CLIPS = 77, 0.9, 6.5, 3, 32
BASELINES = ("coop", "kgcoop", "dept", "cocoop")
CLIPS_FILE = "clips.pt"


@dataclass(frozen=True)
class Measured:
    """One side of the comparison.

    Attributes:
        seconds: A step of all replicas, the median of several; the reference's: the median replica's times replicas.
        peak: MB above the loaded model.
        losses: Of replica 0 in its first step.
        learned: What the first step added to replica 0's parameters, flattened.
    """

    seconds: float
    peak: float
    losses: dict[str, float]
    learned: dict[str, Tensor]


class PaddedPrompts:
    """Names behind a context, each prompt padded to 77 tokens, as msclap pads and pools a text."""

    def __init__(self, study: Study, names: list[str]) -> None:
        assert isinstance(study.tower, Gpt2TextTower)
        self.tower = study.tower
        n_ctx = study.config.n_ctx
        tokens = self.tower.tokenize([f" {name}" for name in names])
        ids = F.pad(tokens.ids, (0, PAD_TO - n_ctx - tokens.ids.shape[1])).to(study.device)
        self.suffix = self.tower.base.wte(ids)  # [names, 77 - n_ctx, width]
        self.last = n_ctx + tokens.lengths.to(study.device) - 1
        self.mask = (torch.arange(PAD_TO, device=study.device) <= self.last[:, None]).long()

    def encode(self, context: Tensor) -> Tensor:
        """Unit-norm features ``[names, dim]`` behind ``context [n_ctx, width]``."""
        count = len(self.suffix)
        prompts = torch.cat([context.expand(count, -1, -1), self.suffix], dim=1)
        hidden = self.tower.base(inputs_embeds=prompts, attention_mask=self.mask, use_cache=False).last_hidden_state
        pooled = hidden[torch.arange(count, device=hidden.device), self.last]
        return F.normalize(self.tower.projection(pooled), dim=-1)


class PlainTraining:
    """One replica: parameters, SGD, and a step."""

    def __init__(self, reference: PlainReference, start: dict[str, Tensor], windows: Tensor, labels: Tensor) -> None:
        self.reference, self.windows, self.labels = reference, windows, labels
        self.params = {name: nn.Parameter(value.clone()) for name, value in start.items()}
        lr = float(reference.study.hyper["lr"])
        groups = [
            {"params": [value], "lr": lr * (HEAD_LR if name.startswith(("film", "head")) else 1.0)}
            for name, value in self.params.items()
        ]
        self.optimizer = torch.optim.SGD(groups, momentum=MOMENTUM)

    def step(self) -> dict[str, float]:
        """One step on the whole batch; its losses."""
        losses = self.reference.losses(self.params, self.windows, self.labels)
        self.optimizer.zero_grad()
        losses["total"].backward()
        self.optimizer.step()
        return {name: loss.item() for name, loss in losses.items()}


class PlainReference:
    """The losses of every baseline for one replica, written down as their papers do."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.baseline, self.scale = study.config.baseline, study.learner.logit_scale
        self.audio = study.encoder.load_audio().to(study.device)
        terms = [] if study.semantic is None else list(study.semantic.bank.names[len(study.classes) :])
        self.classes = PaddedPrompts(study, study.classes)
        self.everything = PaddedPrompts(study, [*study.classes, *terms])
        if self.baseline == "kgcoop":
            texts = [str(study.hyper["template"]).replace("{}", name) for name in study.classes]
            self.anchors = F.normalize(study.tower.encode(texts), dim=-1)

    def losses(self, params: dict[str, nn.Parameter], windows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``total``, ``base`` and with SEPT ``intra`` and ``inter`` of one batch of waveforms."""
        with torch.no_grad():
            audio = self.audio(windows)  # [clips, dim]
        if self.baseline == "cocoop":
            everything = self.everything.encode(self.shifted(params, audio.mean(0))) if self.study.config.sept else None
            base = self.cocoop(params, audio, labels)
        else:
            everything = self.everything.encode(params["ctx"])
            base = self.unconditional(params, audio, labels, everything[: len(self.study.classes)])
        if self.study.semantic is None or everything is None:
            return {"total": base, "base": base}
        intra, inter = self.expansion(everything)
        return {
            "total": base + self.study.semantic.weight * (intra + inter),
            "base": base,
            "intra": intra,
            "inter": inter,
        }

    def unconditional(self, params: dict[str, nn.Parameter], audio: Tensor, labels: Tensor, text: Tensor) -> Tensor:
        """CoOp, KgCoOp or DePT with class features ``text [classes, dim]``."""
        similarity = F.cross_entropy(self.scale * audio @ text.T, labels)
        if self.baseline == "kgcoop":
            return similarity + float(self.study.hyper["kg_weight"]) * (1 - (text * self.anchors).sum(-1).mean())
        if self.baseline == "dept":
            weight = float(self.study.hyper["dept_weight"])
            sides = []
            for side, features in (("text", text[labels]), ("audio", audio)):
                filmed = params[f"film_{side}.scale"] * features + params[f"film_{side}.bias"]
                sides.append(F.linear(filmed, params["head.weight"], params["head.bias"]))
            head = F.cross_entropy(torch.cat(sides), torch.cat([labels, labels]))
            return (1 - weight) * similarity + weight * head
        return similarity

    def cocoop(self, params: dict[str, nn.Parameter], audio: Tensor, labels: Tensor) -> Tensor:
        """Every clip's own prompts, one clip after the other as in the authors' code."""
        logits = [self.scale * self.classes.encode(self.shifted(params, clip)) @ clip for clip in audio]
        return F.cross_entropy(torch.stack(logits), labels)

    def shifted(self, params: dict[str, nn.Parameter], clip: Tensor) -> Tensor:
        """CoCoOp's context for ``clip [dim]``."""
        hidden = F.relu(F.linear(clip, params["meta1.weight"], params["meta1.bias"]))
        return params["ctx"] + F.linear(hidden, params["meta2.weight"], params["meta2.bias"])

    def expansion(self, everything: Tensor) -> tuple[Tensor, Tensor]:
        """SEPT's two hinges from the features of the classes and, class by class, their neighbours."""
        assert self.study.semantic is not None
        size = len(self.study.classes)
        margins = self.study.semantic.inter.flatten(1)  # [classes, classes * neighbours]
        distances = (everything[:size, None] - everything[None, size:]).norm(dim=-1)
        own = torch.eye(size, dtype=torch.bool, device=margins.device).repeat_interleave(margins.shape[1] // size, 1)
        return F.relu(distances - margins)[own].mean(), F.relu(margins - distances)[~own].mean()


def measure_plain(config: StudyConfig, timed: int) -> Measured:
    """The reference, one replica after the other, the first ``timed`` of them; in a process of its own."""
    study = Study(config)
    reference = PlainReference(study)
    windows = torch.load(config.folder / CLIPS_FILE, weights_only=True)["windows"].to(study.device)
    rows, labels = study.rows(len(windows)), study.labels(len(windows)).to(study.device)
    start = study.training(torch.zeros(len(windows), study.tower.dim), rows).params

    def replica(index: int) -> PlainTraining:
        own = {name: value[index] for name, value in start.items()}
        return PlainTraining(reference, own, windows[rows[index]], labels[rows[index]])

    study.touch()  # the warm-up: a whole step more of each method would take minutes
    reference.audio(windows[:1])
    peak = Peak(study.device)
    trainings = [replica(index) for index in range(timed)]
    seconds, losses = [], []
    for training in trainings:
        synchronise(study.device)
        started = time.perf_counter()
        losses.append(training.step())
        synchronise(study.device)
        seconds.append(time.perf_counter() - started)
    learned = {name: (value.detach() - start[name][0]).cpu() for name, value in trainings[0].params.items()}
    return Measured(config.replicas * statistics.median(seconds), peak.megabytes(), losses[0], learned)


def measure_ours(config: StudyConfig) -> Measured:
    """Ours, all replicas at once on embeddings; in a process of its own."""
    study = Study(config)
    embeddings = torch.load(config.folder / CLIPS_FILE, weights_only=True)["embeddings"]
    rows = study.rows(len(embeddings))
    study.touch()
    peak = Peak(study.device)
    training = study.training(embeddings, rows)
    start = {name: value[0].clone() for name, value in training.params.items()}
    training.train_epoch()  # the warm-up
    learned = {name: (value[0] - start[name]).cpu() for name, value in training.params.items()}
    seconds = []
    for _ in range(ROUNDS):
        synchronise(study.device)
        started = time.perf_counter()
        training.train_epoch()
        synchronise(study.device)
        seconds.append(time.perf_counter() - started)
    megabytes = peak.megabytes()
    losses = study.training(embeddings, rows[:1], study.keys[:1]).train_epoch()  # train_epoch returns means only
    return Measured(statistics.median(seconds), megabytes, losses, learned)


def difference(plain: Measured, ours: Measured) -> float:
    """The largest relative difference of the first step of replica 0, over its losses and over what it learned."""
    assert plain.losses.keys() == ours.losses.keys()
    assert plain.learned.keys() == ours.learned.keys()
    losses = [abs(ours.losses[name] - value) / max(abs(value), 1e-6) for name, value in plain.losses.items()]
    learned = [float((ours.learned[name] - value).norm() / value.norm()) for name, value in plain.learned.items()]
    return max(losses + learned)


def save_clips(folder: Path) -> None:
    """Random tones in noise and their embeddings by the audio tower."""
    torch.set_num_threads(1)
    audio = load_encoder("msclap-2023", folder).load_audio()
    generator = torch.Generator().manual_seed(0)
    times = torch.arange(round(audio.seconds * audio.sample_rate)) / audio.sample_rate
    pitches = 200 + 4000 * torch.rand(CLIPS, 1, generator=generator)
    noise = torch.randn(CLIPS, len(times), generator=generator)
    windows = 0.5 * torch.sin(2 * torch.pi * pitches * times) + 0.1 * noise
    with torch.no_grad():
        embeddings = torch.cat([audio(some) for some in windows.split(8)])
    torch.save({"windows": windows, "embeddings": embeddings}, folder / CLIPS_FILE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if sys.platform != "linux":
        pytest.skip("peak memory is read from /proc")
    path = tmp_path_factory.mktemp("msclap-2023")
    alone(write_msclap, "msclap-2023", path)
    alone(save_clips, path)
    yield path
    for file in path.iterdir():
        file.unlink()  # hundreds of megabytes


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_step_against_the_plain_reference(folder: Path, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    setting = os.environ.get
    study = StudyConfig(
        folder=folder,
        encoder="msclap-2023",
        dataset=setting("SEPT_BENCH_DATASET", "UrbanSound8K"),
        baseline="",
        sept=False,
        replicas=int(setting("SEPT_BENCH_REPLICAS", "3")),
        n_neighbors=int(setting("SEPT_BENCH_NEIGHBORS", "5")),
        n_ctx=int(setting("SEPT_BENCH_N_CTX", "16")),
        batch=int(setting("SEPT_BENCH_BATCH", "16")),
        device=device,
    )
    heads = ("reference s", "ours s", "ratio", "reference MB", "ours MB", "differ by")
    print(
        f"\n{device}: {study.dataset}, {study.replicas} replicas, {study.n_neighbors} neighbours, n_ctx {study.n_ctx}, "
        f"batch {study.batch}, random msclap-2023;\nseconds per step of all replicas, peak MB above the loaded models"
        f"\n{'method':>12}" + "".join(f"{head:>13}" for head in heads)
    )
    differences = {}
    for config in (replace(study, baseline=name, sept=sept) for name in BASELINES for sept in (False, True)):
        # A step of CoCoOp's reference takes half a minute a replica on a CPU.
        timed = 1 if config.baseline == "cocoop" and device == "cpu" else config.replicas
        plain, ours = alone(measure_plain, config, timed), alone(measure_ours, config)
        differences[config.method] = difference(plain, ours)
        note = "" if timed == config.replicas else f"  reference: {timed} replica timed, times {config.replicas}"
        print(
            f"{config.method:>12}{plain.seconds:13.2f}{ours.seconds:13.3f}{plain.seconds / ours.seconds:12.1f}x"
            f"{plain.peak:13,.0f}{ours.peak:13,.0f}{differences[config.method]:13.0e}{note}",
            flush=True,
        )
    assert max(differences.values()) < 1e-3
