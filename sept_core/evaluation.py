"""Base-to-new evaluation: base clips among base names, new clips among new names, and their harmonic mean.

H = 2 b n / (b + n) per replica (fold, seed), then averaged: the headline. H of the averaged accuracies is reported
beside it, labelled, since published tables use either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sept_core.encoders.prefix import PromptBank
from sept_core.learners import Learner, Params

__all__ = ["Scores", "harmonic_mean", "score"]


CLIPS_AT_ONCE = 32
"""Clips of one forward pass where every clip has its own prompts (CoCoOp); bounds memory."""


def harmonic_mean(base: float, new: float) -> float:
    """2 b n / (b + n); 0 where both are 0."""
    return 2.0 * base * new / (base + new) if base + new > 0 else 0.0


@dataclass(frozen=True)
class Scores:
    """Accuracies in percent, one per replica, and confusion counts over all of them.

    Attributes:
        base: Base clips among base names.
        new: New clips among new names.
        confusion_base: Clips by true (row) and predicted (column) base class.
        confusion_new: The same for new classes.
    """

    base: tuple[float, ...]
    new: tuple[float, ...]
    confusion_base: list[list[int]]
    confusion_new: list[list[int]]

    def replica(self, index: int) -> dict[str, float]:
        """``base``, ``new``, ``h`` of one replica."""
        base, new = self.base[index], self.new[index]
        return {"base": base, "new": new, "h": harmonic_mean(base, new)}

    def summary(self) -> dict[str, float]:
        """Means over replicas, their sample standard deviations ``*_std`` (0 for one replica), and ``h_of_means``."""
        values = {"base": self.base, "new": self.new, "h": tuple(map(harmonic_mean, self.base, self.new))}
        summary: dict[str, float] = {}
        for name, numbers in values.items():
            tensor = torch.tensor(numbers, dtype=torch.float64)
            summary[name] = float(tensor.mean())
            summary[f"{name}_std"] = float(tensor.std()) if len(numbers) > 1 else 0.0
        summary["h_of_means"] = harmonic_mean(summary["base"], summary["new"])
        return summary


def score(
    learner: Learner,
    params: Params,
    embeddings: Tensor,
    labels: Tensor,
    *,
    base_rows: Sequence[Sequence[int]],
    new_rows: Sequence[Sequence[int]],
    base_bank: PromptBank,
    new_bank: PromptBank,
) -> Scores:
    """Classify each replica's clips.

    Args:
        learner: The baseline.
        params: Stacked parameters.
        embeddings: Unit-norm clip features ``[clips, dim]``.
        labels: Class index of every clip, base classes first ``[clips]``.
        base_rows: For each replica the rows of its base clips.
        new_rows: For each replica the rows of its new clips.
        base_bank: Names to choose from for base clips.
        new_bank: Names to choose from for new clips.
    """
    base, confusion_base = _accuracies(learner, params, embeddings, labels, base_rows, base_bank, first=0)
    new, confusion_new = _accuracies(learner, params, embeddings, labels, new_rows, new_bank, first=len(base_bank))
    return Scores(base, new, confusion_base, confusion_new)


@torch.no_grad()
def _accuracies(
    learner: Learner,
    params: Params,
    embeddings: Tensor,
    labels: Tensor,
    rows: Sequence[Sequence[int]],
    bank: PromptBank,
    first: int,
) -> tuple[tuple[float, ...], list[list[int]]]:
    """Accuracy of each replica and the confusion counts; ``first`` is the class index of the bank's first name."""
    parameter = next(learner.tower.parameters())
    size = len(bank)
    text = None if learner.conditional else learner.features(params, None, bank)
    confusion = torch.zeros(size, size, dtype=torch.int64)
    accuracies = []
    for replica, chosen in enumerate(rows):
        index = torch.tensor(chosen, dtype=torch.int64)
        audio = embeddings[index].to(parameter)[None]  # [1, clips, dim]
        own = {name: value[replica : replica + 1] for name, value in params.items()}
        predictions = []
        for clips in audio.split(CLIPS_AT_ONCE if learner.conditional else max(1, len(chosen)), dim=1):
            features = learner.features(own, clips, bank) if text is None else text[replica : replica + 1]
            predictions.append(learner.logits(own, clips, features, base=first == 0)[0].argmax(-1).cpu())
        predicted = torch.cat(predictions)
        true = labels[index.to(labels.device)].cpu() - first
        confusion += torch.bincount(true * size + predicted, minlength=size * size).view(size, size)
        accuracies.append(100.0 * float((true == predicted).double().mean()))
    return tuple(accuracies), confusion.tolist()
