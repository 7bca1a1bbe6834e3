"""Tiny models and tables: every test of the method runs in milliseconds and in float64."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F

from sept_core.datasets import EmbeddingTable, get_dataset
from sept_core.datasets.pretraining import Pretraining
from sept_core.encoders import Encoder, TextTower, Tokens
from sept_core.encoders.mini.text import MiniTextConfig, MiniTextTower

WORDS = "this is a sound of rain dog bark barking puppy sea waves rooster crow helicopter engine one two three four"


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([WORDS], trainer)
    return tokenizer


@pytest.fixture(scope="session")
def causal_tower(tokenizer: Tokenizer) -> MiniTextTower:
    torch.manual_seed(0)
    config = MiniTextConfig(vocab_size=300, layers=3, width=16, heads=4, max_tokens=48, dim=12)
    tower = MiniTextTower(config, tokenizer).double().eval().requires_grad_(False)
    for block in tower.blocks:  # the default initialisation is so small that attention would hardly matter
        nn.init.normal_(block.in_projection.weight, std=0.4)
    return tower


class BidirectionalTower(TextTower):
    """Masked mean over everything: whatever stands in front changes all, so no prefix can be shared."""

    causal = False

    def __init__(self, inner: MiniTextTower) -> None:
        super().__init__()
        self.inner = inner
        self.dim, self.token_dim, self.max_tokens = inner.dim, inner.token_dim, inner.max_tokens
        self.mix = nn.Linear(self.token_dim, self.dim, dtype=torch.float64)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        return self.inner.tokenize(texts)

    def embed(self, ids: Tensor) -> Tensor:
        return self.inner.embed(ids)

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        real = torch.arange(embeddings.shape[1]) < lengths[:, None]
        scores = (embeddings @ embeddings.transpose(1, 2)).masked_fill(~real[:, None], float("-inf"))
        mixed = torch.tanh(self.mix(scores.softmax(-1) @ embeddings)) * real[..., None]
        return mixed.sum(1) / lengths[:, None]


@pytest.fixture(scope="session")
def bidirectional_tower(causal_tower: MiniTextTower) -> TextTower:
    torch.manual_seed(1)
    return BidirectionalTower(causal_tower).eval().requires_grad_(False)


def _no_audio() -> None:
    raise AssertionError("a trial must never load the audio tower")


@pytest.fixture(scope="session")
def encoder(causal_tower: MiniTextTower) -> Encoder:
    return Encoder(
        name="tiny",
        text=causal_tower,
        load_audio=_no_audio,  # type: ignore[arg-type]
        logit_scale=10.0,
        fingerprint="00000000deadbeef",
        pretraining=Pretraining({"FSDD": ("george",)}),
    )


@pytest.fixture(scope="session")
def make_table() -> Callable[..., EmbeddingTable]:
    """Clustered unit vectors for a registered dataset: ``per_class`` clips of every class in every fold."""

    def make(dataset: str = "FSDD", per_class: int | Sequence[int] = 4, dim: int = 12, seed: int = 0) -> EmbeddingTable:
        info = get_dataset(dataset)
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn(len(info.classnames), dim, generator=generator)
        sizes = itertools.repeat(per_class) if isinstance(per_class, int) else itertools.cycle(per_class)
        rows = [
            (f"{fold}-{name}-{number:03d}", name, fold, centres[index])
            for (index, name), size in zip(enumerate(info.classnames), sizes, strict=False)
            for fold in (*info.folds, *(("train",) if info.split == "fixed" else ()))
            for number in range(size)
        ]
        rows.sort(key=lambda row: row[0])
        noise = torch.randn(len(rows), dim, generator=generator)
        embeddings = F.normalize(torch.stack([row[3] for row in rows]) + 0.7 * noise, dim=-1)
        return EmbeddingTable(
            dataset=info.name,
            encoder_fingerprint="00000000deadbeef",
            manifest_digest="0123456789abcdef",
            clip_ids=tuple(row[0] for row in rows),
            classnames=tuple(row[1] for row in rows),
            folds=tuple(row[2] for row in rows),
            groups=tuple(row[2] for row in rows),
            sha256=tuple(hashlib.sha256(f"{info.name} {row[0]}".encode()).hexdigest() for row in rows),
            embeddings=embeddings,
        )

    return make
