"""A study of made-up clips: real class names and neighbours, a random encoder of full size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from sept_core.datasets import get_dataset, halves
from sept_core.encoders import Encoder, TextTower
from sept_core.evaluation import Group, evaluate, summarise
from sept_core.hyper import Value, complete
from sept_core.learners import get_learner
from sept_core.methods import hyper_parameters, split_method
from sept_core.prompt_form import Wording
from sept_core.schedule import Precision, Schedule
from sept_core.semantic import SemanticExpansion, load_neighbors, load_templates
from sept_core.semantic.templates import fill
from sept_core.training import FusedTraining

from .encoders import encoder_on

__all__ = ["METHODS", "Study", "StudyConfig"]

METHODS = tuple(f"{baseline}{sept}" for baseline in ("coop", "kgcoop", "dept", "cocoop") for sept in ("", "+sept"))


@dataclass(frozen=True)
class StudyConfig:
    """The measured configuration.

    Attributes:
        encoder: One of ``encoders.ENCODERS``.
        dataset: The dataset with the class names and neighbours.
        method: Such as ``coop+sept``.
        replicas: Number of replicas.
        n_neighbors: Neighbours per class (N).
        n_ctx: Length of the context.
        batch: Clips per step and replica.
        steps: Steps of an epoch; each replica has as many clips.
        epochs: Of the schedule.
        device: ``cpu`` or ``cuda``.
        small: A text model of two narrow layers.
        precision: Of the text tower in training.
        budget: Text tokens of a pass, None for the device's.
        hyper: Values of other hyper-parameters.
    """

    encoder: str
    dataset: str
    method: str
    device: str
    replicas: int = 3
    n_neighbors: int = 5
    n_ctx: int = 16
    batch: int = 16
    steps: int = 1
    epochs: int = 1000
    small: bool = False
    precision: Precision = "float32"
    budget: int | None = None
    hyper: Mapping[str, Value] = field(default_factory=dict)


class Study:
    """Encoder, names, margins, hyper-parameters and clips of a configuration."""

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.device = torch.device(config.device)
        self.encoder: Encoder = encoder_on(config.encoder, config.device, config.small)
        self.tower: TextTower = self.encoder.text
        info = get_dataset(config.dataset)
        self.baseline, self.sept = split_method(config.method)
        declared = hyper_parameters(self.baseline, self.sept)
        # Margins of one template: they are constants of a trial, made before it starts.
        wanted: dict[str, Value] = {"n_ctx": config.n_ctx, "n_neighbors": config.n_neighbors, "n_templates": 1}
        wanted |= config.hyper
        self.hyper = complete(
            tuple(declared.values()),
            {name: value for name, value in wanted.items() if name in declared},
            config.method,
            {"logit_scale": self.encoder.logit_scale, "template": info.template, "texts": info.kind},
        )
        wording = Wording.of(self.hyper)
        base, new = halves(info.classnames)
        self.classes, self.new = wording.names(base), wording.names(new)
        self.template = info.template
        self.learner = get_learner(self.baseline)(self.tower, self.hyper, self.classes)
        self.bank = wording.bank(self.tower, self.classes)
        self.new_bank = wording.bank(self.tower, self.new)
        self.semantic: SemanticExpansion | None = None
        if self.sept:
            neighbors, templates = load_neighbors(config.dataset), load_templates(info.kind)
            self.semantic = SemanticExpansion.of(self.tower, self.classes, neighbors, templates, self.hyper)
        self.keys = [f"made-up/{replica}" for replica in range(config.replicas)]
        self.clips = config.batch * config.steps
        # Of every replica its own clips: the same numbers on every device.
        generator = torch.Generator().manual_seed(0)
        self.rows = [torch.randperm(2 * self.clips, generator=generator)[: self.clips].tolist() for _ in self.keys]
        self.labels = torch.arange(2 * self.clips) % len(self.classes)

    def embeddings(self, labels: Tensor | None = None, bank: tuple[str, ...] = (), seed: int = 0) -> Tensor:
        """Unit-norm clip features ``[clips, dim]`` around the features of their classes' hand-crafted prompts.

        Noise is as large as the distance of classes, so that some clips are misclassified. Computed on the
        CPU, whatever the device.
        """
        labels = self.labels if labels is None else labels
        tower = encoder_on(self.config.encoder, "cpu", self.config.small).text
        centres = F.normalize(tower.encode(fill(self.template, bank or self.classes, lower=False)), dim=-1)
        apart = torch.pdist(centres).mean() if len(centres) > 1 else torch.tensor(1.0)
        noise = torch.randn(len(labels), centres.shape[1], generator=torch.Generator().manual_seed(seed))
        return F.normalize(centres[labels] + 0.5 * apart * noise, dim=-1)

    def training(self, embeddings: Tensor | None = None, replicas: slice = slice(None)) -> FusedTraining:
        """Ours, of all replicas or some of them; an epoch is ``config.steps`` steps."""
        return FusedTraining(
            learner=self.learner,
            classes=self.bank,
            semantic=self.semantic,
            embeddings=self.embeddings() if embeddings is None else embeddings,
            labels=self.labels,
            rows=self.rows[replicas],
            keys=self.keys[replicas],
            schedule=Schedule.of(self.config.epochs, self.config.batch, self.hyper),
            precision=self.config.precision,
            budget=self.config.budget,
        )

    def validation(self, training: FusedTraining, clips: int = 160) -> list[float]:
        """H of every replica in percent, on clips that none trains on."""
        groups = {}
        for name, names, bank, seed in (("base", self.classes, self.bank, 1), ("new", self.new, self.new_bank, 2)):
            labels = torch.arange(clips) % len(names)
            audio = self.embeddings(labels, names, seed)
            groups[name] = Group(bank, audio, labels, [range(clips)] * len(self.keys), trained=name == "base")
        _, rows = summarise(evaluate(self.learner, training.params, groups))
        return [row["h"] for row in rows]

    def touch(self) -> None:
        """Run a name through the tower and back: what torch sets up at first use is not a step's memory."""
        context = torch.zeros(1, self.tower.token_dim, device=self.device, requires_grad=True)
        prompt = torch.cat([context, self.bank.embeddings[0]])[None]
        features = self.tower(prompt, self.bank.lengths[:1] + 1)
        F.normalize(features, dim=-1).sum().backward()
