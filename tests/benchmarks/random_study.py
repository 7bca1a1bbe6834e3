"""A study of random clips: real class names and neighbours, a random msclap encoder at full size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from sept_core.datasets import get_dataset, halves, prompt_name
from sept_core.encoders import Encoder, load_encoder
from sept_core.encoders.prefix import PromptBank
from sept_core.hyper import Value, complete
from sept_core.learners import LEARNERS
from sept_core.semantic import SemanticExpansion, load_neighbors, load_templates
from sept_core.training import FusedTraining, Schedule
from sept_core.trial import hyper_parameters

__all__ = ["Study", "StudyConfig"]


@dataclass(frozen=True)
class StudyConfig:
    """What is measured.

    Attributes:
        folder: Where ``write_msclap`` has written the encoder.
        encoder: Its name.
        dataset: Whose base classes and neighbours are used.
        baseline: Key of ``LEARNERS``.
        sept: Whether SEPT is added.
        replicas: How many train at once.
        n_neighbors: Neighbours per class (N).
        n_ctx: Length of the context.
        batch: Clips per step and replica; each replica has as many, so that an epoch is a step.
        device: ``cpu`` or ``cuda``.
        n_templates: Templates behind a margin (T); margins are constants of a trial, made before it starts.
    """

    folder: Path
    encoder: str
    dataset: str
    baseline: str
    sept: bool
    replicas: int
    n_neighbors: int
    n_ctx: int
    batch: int
    device: str
    n_templates: int = 5

    @property
    def method(self) -> str:
        """As in a report: ``coop``, ``coop+sept``."""
        return f"{self.baseline}+sept" if self.sept else self.baseline


class Study:
    """Encoder, names, margins and hyper-parameters of a configuration, on one CPU thread or the GPU."""

    def __init__(self, config: StudyConfig) -> None:
        torch.set_num_threads(1)  # as in a trial
        self.config = config
        self.device = torch.device(config.device)
        self.encoder: Encoder = load_encoder(config.encoder, config.folder)
        self.tower = self.encoder.text.to(self.device)
        info = get_dataset(config.dataset)
        self.classes = [prompt_name(name) for name in halves(info.classnames)[0]]
        declared = hyper_parameters(config.baseline, config.sept)
        wanted: dict[str, Value] = {"n_ctx": config.n_ctx}
        if config.sept:
            wanted |= {"n_neighbors": config.n_neighbors, "n_templates": config.n_templates}
        fallback: dict[str, Value] = {"logit_scale": self.encoder.logit_scale, "template": info.template}
        self.hyper = complete(tuple(declared.values()), wanted, config.method, fallback)
        self.learner = LEARNERS[config.baseline](self.tower, self.hyper, self.classes)
        self.bank = PromptBank.of(self.tower, self.classes)
        self.semantic: SemanticExpansion | None = None
        if config.sept:
            neighbors, templates = load_neighbors(config.dataset), load_templates(info.kind)
            self.semantic = SemanticExpansion.of(self.tower, self.classes, neighbors, templates, self.hyper)
        self.keys = [f"bench/{replica}" for replica in range(config.replicas)]

    def rows(self, clips: int) -> list[list[int]]:
        """For each replica the clips that it trains on, one batch of the ``clips`` that there are."""
        generator = torch.Generator().manual_seed(0)
        return [torch.randperm(clips, generator=generator)[: self.config.batch].tolist() for _ in self.keys]

    def labels(self, clips: int) -> Tensor:
        """Class of every clip ``[clips]``, all classes in turn."""
        return torch.arange(clips) % len(self.classes)

    def training(self, embeddings: Tensor, rows: list[list[int]], keys: list[str] | None = None) -> FusedTraining:
        """Ours, of all replicas or those of ``keys``; an epoch is one step."""
        return FusedTraining(
            learner=self.learner,
            classes=self.bank,
            semantic=self.semantic,
            embeddings=embeddings,
            labels=self.labels(len(embeddings)),
            rows=rows,
            keys=self.keys if keys is None else keys,
            schedule=Schedule(epochs=1000, batch_size=self.config.batch, lr=float(self.hyper["lr"])),
        )

    def touch(self) -> None:
        """Run a name through the tower and back: what torch sets up at first use is not a step's memory."""
        context = torch.zeros(1, self.tower.token_dim, device=self.device, requires_grad=True)
        prompt = torch.cat([context, self.bank.embeddings[0]])[None]
        features = self.tower(prompt, self.bank.lengths[:1] + 1)
        F.normalize(features, dim=-1).sum().backward()
