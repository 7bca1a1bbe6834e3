"""Evaluation: clips of a group classified among the names of that group, per replica.

Base-to-new: base clips among base names, new clips among new names, and H = 2 b n / (b + n) per replica (fold, seed),
then averaged: the headline. H of the averaged accuracies is reported beside it, labelled, since published tables use
either. Cross-dataset: accuracy on the source and on every target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sept_core.averages import averages, harmonic_mean
from sept_core.encoders.prefix import PromptBank
from sept_core.learners import Learner, Params

__all__ = ["Group", "GroupScores", "evaluate", "harmonic_mean", "summarise"]

CLIPS_AT_ONCE = 32
"""Clips of one forward pass where every clip has its own prompts (CoCoOp); bounds memory."""


@dataclass(frozen=True)
class Group:
    """Clips and the names to choose from.

    Attributes:
        bank: The names.
        embeddings: Unit-norm clip features ``[clips, dim]`` of the table that ``rows`` index.
        labels: For each clip of the table the index of its class in ``bank``; -1 where it is none of them.
        rows: For each replica the rows of its clips.
        trained: Whether the names are exactly the training classes.
    """

    bank: PromptBank
    embeddings: Tensor
    labels: Tensor
    rows: Sequence[Sequence[int]]
    trained: bool


@dataclass(frozen=True)
class GroupScores:
    """How one group was classified.

    Attributes:
        accuracy: Percent, one per replica.
        macro_f1: Mean over the group's classes of 2 tp / (2 tp + fp + fn), in percent, one per replica.
        confusion: Clips by true (row) and predicted (column) class, over all replicas.
    """

    accuracy: tuple[float, ...]
    macro_f1: tuple[float, ...]
    confusion: list[list[int]]


def summarise(scores: Mapping[str, GroupScores]) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Means over replicas, and one row per replica.

    Groups ``base`` and ``new`` are joined by ``h``, the harmonic mean of a replica, and ``h_of_means``. Any others
    (cross-dataset: ``source`` and the targets) stand for themselves, with ``targets`` the mean over the targets.

    Returns:
        Summary: for every group and measure the mean over replicas, its sample standard deviation ``*_std`` (0 for one
        replica), and ``<group>_f1``. Rows: the same values of each replica.
    """
    replicas = len(next(iter(scores.values())).accuracy)
    rows: list[dict[str, float]] = []
    for index in range(replicas):
        row = {name: group.accuracy[index] for name, group in scores.items()}
        row |= {f"{name}_f1": group.macro_f1[index] for name, group in scores.items()}
        targets = [name for name in scores if name not in ("base", "new", "source")]
        if "base" in scores and "new" in scores:
            row["h"] = harmonic_mean(row["base"], row["new"])
        if targets:
            row["targets"] = sum(row[name] for name in targets) / len(targets)
        rows.append(row)
    return averages(rows), rows


@torch.no_grad()
def evaluate(learner: Learner, params: Params, groups: Mapping[str, Group]) -> dict[str, GroupScores]:
    """Classify each replica's clips of each group.

    Args:
        learner: The baseline.
        params: Stacked parameters.
        groups: What to classify, by name.
    """
    return {name: _classify(learner, params, group) for name, group in groups.items()}


def _classify(learner: Learner, params: Params, group: Group) -> GroupScores:
    parameter = next(learner.tower.parameters())
    size = len(group.bank)
    text = None if learner.conditional else learner.features(params, None, group.bank)
    total = torch.zeros(size, size, dtype=torch.int64)
    accuracy, macro_f1 = [], []
    for replica, chosen in enumerate(group.rows):
        index = torch.tensor(chosen, dtype=torch.int64)
        audio = group.embeddings[index].to(parameter)[None]  # [1, clips, dim]
        own = {name: value[replica : replica + 1] for name, value in params.items()}
        predictions = []
        for clips in audio.split(CLIPS_AT_ONCE if learner.conditional else max(1, len(chosen)), dim=1):
            features = learner.features(own, clips, group.bank) if text is None else text[replica : replica + 1]
            predictions.append(learner.logits(own, clips, features, base=group.trained)[0].argmax(-1).cpu())
        true, predicted = group.labels[index], torch.cat(predictions)
        confusion = torch.bincount(true * size + predicted, minlength=size * size).view(size, size)
        total += confusion
        hits = confusion.diagonal().double()
        accuracy.append(100.0 * float(hits.sum() / confusion.sum()))
        # A class that is neither present nor predicted counts as 0: it is part of the task all the same.
        either = confusion.sum(0) + confusion.sum(1)
        macro_f1.append(100.0 * float((2 * hits / either.clamp_min(1)).mean()))
    return GroupScores(tuple(accuracy), tuple(macro_f1), total.tolist())
