"""Inputs of trials that train in milliseconds."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from torch.nn import functional as F

from pipeline.spec import StudyInputs
from sept_core.datasets import EmbeddingTable, get_dataset, halves, prompt_name
from sept_core.datasets.pretraining import Pretraining
from sept_core.encoders import Encoder
from sept_core.encoders.mini.text import MiniTextConfig, MiniTextTower
from sept_core.errors import InputError
from sept_core.semantic import Neighbors
from sept_core.trial import TrialInputs

FINGERPRINT = "00000000deadbeef"
DIM = 8


def provide(root: str, inputs: StudyInputs) -> TrialInputs:
    """A random encoder and clustered embeddings."""
    neighbors = _neighbors(inputs.dataset) if inputs.sept else None
    targets = {target: _table(target) for target in inputs.targets}
    return TrialInputs(_encoder(), _table(inputs.dataset), neighbors, targets)


def provide_nothing(root: str, inputs: StudyInputs) -> TrialInputs:
    """Inputs that are missing."""
    raise InputError("no embeddings here", fix="bring them")


def provide_slowly(root: str, inputs: StudyInputs) -> TrialInputs:
    """The same, slowly enough to be interrupted; leaves the process's id beside the store."""
    Path(root, "pids").mkdir(parents=True, exist_ok=True)
    Path(root, "pids", str(os.getpid())).touch()
    return dataclasses.replace(provide(root, inputs), encoder=_encoder(_SlowTower))


def provide_in_the_driver_only(root: str, inputs: StudyInputs) -> TrialInputs:
    """The same in the process whose id stands in ``driver.pid``, an error of input in any other."""
    here = Path(root, "driver.pid").read_text() == str(os.getpid())
    return provide(root, inputs) if here else provide_nothing(root, inputs)


def provide_other_test_labels(root: str, inputs: StudyInputs) -> TrialInputs:
    """The same, with the labels of the test fold's clips turned round within base and new classes."""
    loaded = provide(root, inputs)
    table, info = loaded.table, get_dataset(inputs.dataset)
    other = {name: half[(index + 1) % len(half)] for half in halves(info.classnames) for index, name in enumerate(half)}
    names = tuple(
        other[name] if fold == TEST_FOLD else name for name, fold in zip(table.classnames, table.folds, strict=True)
    )
    return dataclasses.replace(loaded, table=dataclasses.replace(table, classnames=names))


def provide_random_test_clips(root: str, inputs: StudyInputs) -> TrialInputs:
    """The same, with random embeddings and mixed labels of all clips of the test fold."""
    loaded = provide(root, inputs)
    table = loaded.table
    rows = [row for row, fold in enumerate(table.folds) if fold == TEST_FOLD]
    generator = torch.Generator().manual_seed(7)
    embeddings = table.embeddings.clone()
    embeddings[rows] = F.normalize(torch.randn(len(rows), DIM, generator=generator), dim=-1)
    names = list(table.classnames)
    for row, other in zip(rows, torch.randperm(len(rows), generator=generator).tolist(), strict=True):
        names[row] = table.classnames[rows[other]]
    return dataclasses.replace(loaded, table=dataclasses.replace(table, embeddings=embeddings, classnames=tuple(names)))


TEST_FOLD = "theo"


class _SlowTower(MiniTextTower):
    def place(self, embeddings: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return super().place(embeddings, positions)


@lru_cache
def _encoder(kind: type[MiniTextTower] = MiniTextTower) -> Encoder:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=260, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["zero one two three four five six seven eight nine"], trainer)
    torch.manual_seed(0)
    config = MiniTextConfig(vocab_size=260, layers=1, width=8, heads=2, max_tokens=48, dim=DIM)
    tower = kind(config, tokenizer).eval().requires_grad_(False)
    nn.init.normal_(tower.blocks[0].in_projection.weight, std=0.4)
    return Encoder(
        name="mini",
        text=tower,
        load_audio=_no_audio,  # type: ignore[arg-type]
        logit_scale=10.0,
        fingerprint=FINGERPRINT,
        pretraining=Pretraining({"FSDD": ("george", "jackson", "lucas")}),
    )


def _no_audio() -> None:
    raise AssertionError("a trial must never load the audio tower")


@lru_cache
def _table(dataset: str) -> EmbeddingTable:
    info = get_dataset(dataset)
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(len(info.classnames), DIM, generator=generator)
    rows = sorted(
        (f"{fold}-{name}-{number}", name, fold, index)
        for index, name in enumerate(info.classnames)
        for fold in info.folds
        for number in range(5)
    )
    noise = torch.randn(len(rows), DIM, generator=generator)
    return EmbeddingTable(
        dataset=info.name,
        encoder_fingerprint=FINGERPRINT,
        manifest_digest="0123456789abcdef",
        clip_ids=tuple(row[0] for row in rows),
        classnames=tuple(row[1] for row in rows),
        folds=tuple(row[2] for row in rows),
        groups=tuple(row[2] for row in rows),
        sha256=tuple(hashlib.sha256(f"{info.name} {row[0]}".encode()).hexdigest() for row in rows),
        embeddings=F.normalize(torch.stack([centres[row[3]] for row in rows]) + 0.8 * noise, dim=-1),
    )


@lru_cache
def _neighbors(dataset: str) -> Neighbors:
    names = [prompt_name(name) for name in get_dataset(dataset).classnames]
    return Neighbors(dataset, {name: tuple(f"{name} kind {word}" for word in ("a", "b", "c")) for name in names})
