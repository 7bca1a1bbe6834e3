"""Evaluation: classifies the clips of a group among the names of that group, per replica.

Base-to-new: base clips among base names, new clips among new names, and H = 2 b n / (b + n) per replica (fold, seed),
then averaged: the headline. H of the averaged accuracies is reported as well, since published tables use either.
Few-shot: accuracy on the clips of all classes. Cross-dataset: accuracy on the source and on every target.

Test clips of base-to-new are also ranked among all names, base and new (the generalised setting): ``all``, and
``all_base`` and ``all_new`` for the clips of each group. A name has the same logit as within its group, so a clip that
is right among all names is right in its group too: ``all_base`` is never above ``base``, ``all_new``
never above ``new``, and ``all`` never above the mean of the two weighted by clips.
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
"""Clips of one forward pass if every clip has its own prompts (CoCoOp); bounds memory."""


@dataclass(frozen=True)
class Group:
    """Clips and the names to choose from.

    Attributes:
        bank: The names.
        embeddings: Unit-norm clip features ``[clips, dim]`` of the table that ``rows`` index.
        labels: For each clip of the table the index of its class in ``bank``; -1 if it is none of them.
        rows: For each replica the rows of its clips.
        trained: Whether the names are exactly the training classes.
        sources: Source recording or speaker of each clip of the table, ``""`` if unknown; empty if no clip has one.
    """

    bank: PromptBank
    embeddings: Tensor
    labels: Tensor
    rows: Sequence[Sequence[int]]
    trained: bool
    sources: Sequence[str] = ()

    def source_of(self, row: int) -> tuple[str, int]:
        """The source by which the clip of a row is counted; the clip itself if unknown."""
        source = self.sources[row] if self.sources else ""
        return (source, -1) if source else ("", row)


@dataclass(frozen=True)
class GroupScores:
    """The classification of one group.

    Attributes:
        accuracy: Percent, one per replica.
        macro_f1: Mean over the group's classes of 2 tp / (2 tp + fp + fn), in percent, one per replica.
        confusion: Clips by true (row) and predicted (column) class, over all replicas.
        among_all: For each replica the group's clips by true and predicted class over the names of all groups, int64
            ``[names, names]``; empty if not requested.
        right: For each replica whether each of its clips was classified correctly, in the order of ``Group.rows``.
    """

    accuracy: tuple[float, ...]
    macro_f1: tuple[float, ...]
    confusion: list[list[int]]
    among_all: tuple[Tensor, ...] = ()
    right: tuple[list[bool], ...] = ()


def summarise(scores: Mapping[str, GroupScores]) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Means over replicas, and one row per replica.

    For groups ``base`` and ``new`` there are also ``h``, the harmonic mean of a replica, and ``h_of_means``; if they
    were ranked among all names, also ``all`` (all clips together), ``all_base``, ``all_new``, ``all_h`` and ``all_f1``.
    Few-shot has ``accuracy``. Cross-dataset has ``source``, the targets, and ``targets``, the mean over the targets.

    Returns:
        Summary: for every group and measure the mean over replicas, its sample standard deviation ``*_std`` (0 for one
        replica), and ``<group>_f1``. Rows: the same values of each replica.
    """
    replicas = len(next(iter(scores.values())).accuracy)
    rows: list[dict[str, float]] = []
    for index in range(replicas):
        row = {name: group.accuracy[index] for name, group in scores.items()}
        row |= {f"{name}_f1": group.macro_f1[index] for name, group in scores.items()}
        targets = [name for name in scores if name != "source"] if "source" in scores else []
        if "base" in scores and "new" in scores:
            row["h"] = harmonic_mean(row["base"], row["new"])
            if scores["base"].among_all:
                row |= _among_all(scores["base"].among_all[index], scores["new"].among_all[index])
        if targets:
            row["targets"] = sum(row[name] for name in targets) / len(targets)
        rows.append(row)
    return averages(rows), rows


def _among_all(base: Tensor, new: Tensor) -> dict[str, float]:
    """One replica's accuracies and macro F1 over all names, from the confusion matrices of base and new clips."""
    row = {"all": _accuracy(base + new), "all_base": _accuracy(base), "all_new": _accuracy(new)}
    return row | {"all_h": harmonic_mean(row["all_base"], row["all_new"]), "all_f1": _macro_f1(base + new)}


@torch.no_grad()
def evaluate(
    learner: Learner, params: Params, groups: Mapping[str, Group], *, among_all: bool = False
) -> dict[str, GroupScores]:
    """Classify each replica's clips of each group.

    Args:
        learner: The baseline.
        params: Stacked parameters.
        groups: What to classify, by name.
        among_all: Whether to classify them among the names of all groups too. If names are encoded clip by clip
            (CoCoOp), this takes a pass over the other groups' names for every clip; otherwise it takes hardly any time.
    """
    texts = [None if learner.conditional else learner.features(params, None, group.bank) for group in groups.values()]
    every = list(zip(groups.values(), texts, strict=True))
    scores = {}
    for place, (name, group) in enumerate(groups.items()):
        ranked, own = (every, place) if among_all else ([every[place]], 0)
        scores[name] = _classify(learner, params, group, ranked, own)
    return scores


_Named = tuple[Group, Tensor | None]
"""A group for its names, with their features ``[replicas, names, dim]`` unless these depend on the clip."""


def _classify(learner: Learner, params: Params, group: Group, ranked: Sequence[_Named], place: int) -> GroupScores:
    """Classify a group's clips among its own names, those of ``ranked[place]``, and among all that are ranked."""
    parameter = next(learner.tower.parameters())
    sizes = [len(names.bank) for names, _ in ranked]
    size, start, every = sizes[place], sum(sizes[:place]), sum(sizes)
    total = torch.zeros(size, size, dtype=torch.int64)
    accuracy, macro_f1, right, among_all = [], [], [], []
    for replica, chosen in enumerate(group.rows):
        index = torch.tensor(chosen, dtype=torch.int64)
        audio = group.embeddings[index].to(parameter)[None]  # [1, clips, dim]
        own = {name: value[replica : replica + 1] for name, value in params.items()}
        predictions, predictions_among_all = [], []
        for clips in audio.split(CLIPS_AT_ONCE if learner.conditional else max(1, len(chosen)), dim=1):
            best, of_each = [], []
            for names, text in ranked:
                features = learner.features(own, clips, names.bank) if text is None else text[replica : replica + 1]
                highest = learner.logits(own, clips, features, names.bank.names, base=names.trained)[0].max(-1)
                of_each.append(highest.indices)
                offset = learner.offset(own, clips, features)[0] if names.trained and len(ranked) > 1 else 0.0
                best.append(highest.values + offset)
            predictions.append(of_each[place].cpu())
            if len(ranked) > 1:
                # The best name of the group whose best is highest; of equal ones that of the first group, like argmax
                # over all.
                winner = torch.stack(best).argmax(0, keepdim=True)
                shifted = torch.stack([of + sum(sizes[:at]) for at, of in enumerate(of_each)])
                predictions_among_all.append(shifted.gather(0, winner)[0].cpu())
        true, predicted = group.labels[index], torch.cat(predictions)
        confusion = _confusion(true, predicted, size)
        total += confusion
        right.append((true == predicted).tolist())
        accuracy.append(_accuracy(confusion))
        macro_f1.append(_macro_f1(confusion))
        if predictions_among_all:
            among_all.append(_confusion(true + start, torch.cat(predictions_among_all), every))
    return GroupScores(tuple(accuracy), tuple(macro_f1), total.tolist(), tuple(among_all), tuple(right))


def _confusion(true: Tensor, predicted: Tensor, size: int) -> Tensor:
    """Clips by true and predicted class, int64 ``[size, size]``."""
    return torch.bincount(true * size + predicted, minlength=size * size).view(size, size)


def _accuracy(confusion: Tensor) -> float:
    """Percent of the clips on the diagonal."""
    return 100.0 * float(confusion.diagonal().double().sum() / confusion.sum())


def _macro_f1(confusion: Tensor) -> float:
    """Mean over the classes of 2 tp / (2 tp + fp + fn), in percent."""
    # A class that is neither present nor predicted counts as 0: it is still part of the task.
    either = confusion.sum(0) + confusion.sum(1)
    return 100.0 * float((2 * confusion.diagonal().double() / either.clamp_min(1)).mean())
