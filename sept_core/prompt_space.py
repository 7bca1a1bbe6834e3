r"""What tuning does to the space of prompts: class names against their neighbours, hand-written and learned.

    hand-written   m_{i,j,n}, the mean distance over T templates (``semantic/margins.py``): SEPT's margins at factor 1
    learned        d_{i,j,n} = || z_i - p_j^n ||_2 after the learned context, unit-norm, for each replica

Of the classes of a group (base, new), with their own and each other's neighbours:

- drift: mean over classes of || z_i - h_i ||_2; h_i is the class in the hand-written prompt of zero-shot, so that
  zero-shot has a drift of exactly 0;
- ratio: mean d_{i,i,n} over mean d_{i,j,n} with i != j; the smaller, the closer classes are to their own neighbours;
- violated margins: intra, the share of d_{i,i,n} > m_{i,i,n}; inter, the share of d_{i,j,n} < m_{i,j,n} with i != j.

Only for looking at results: nothing that trains or chooses imports this module, because it reads the names and
neighbours of new classes. A prompt is taken as it predicts: DePT's head, which has no text features, plays no part, and
CoCoOp's context is the one for the mean training clip of a replica, as for SEPT's loss.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sept_core.json_dataclasses import Stored

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders import TextTower
    from sept_core.learners import Learner, Params
    from sept_core.prompt_form import Wording

__all__ = ["GROUPS", "Learned", "Names", "PromptSpace", "View", "measure_space"]

GROUPS = ("base", "new")
"""Classes that are trained on, and all others; cross-dataset has only the former."""
DIGITS = 4
"""Decimals of stored numbers: distances are from 0 to 2."""
SLACK = 0.001
"""A margin is violated if a distance is beyond it by more than this: SEPT's hinges stop pushing at the margin itself,
so that without it rounding would decide."""


@dataclass(frozen=True)
class Names:
    """The texts of a space.

    Attributes:
        classes: Names as the data set spells them, those that are trained on first.
        trained: How many of them are trained on.
        neighbors: N neighbours of each of the first classes: of the trained ones, or of all.
        templates: The T templates of the margins.
        template: The prompt of zero-shot.
    """

    classes: tuple[str, ...]
    trained: int
    neighbors: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]
    template: str

    @property
    def terms(self) -> tuple[str, ...]:
        """All neighbours, class by class."""
        return tuple(term for terms in self.neighbors for term in terms)


@dataclass(frozen=True)
class Learned:
    """A learned prompt.

    Attributes:
        title: Such as ``CoOp + SEPT``.
        params: The learner's parameters, stacked over replicas.
        wording: The form of its names.
        audio: ``[replicas, 1, dim]``: the clip that a conditional learner's context is for; None for other learners.
        own: The margins that its training used, with their factors and mode: intra ``[K, N]`` and inter ``[K, K, N]``
            of the K classes with neighbours; None without SEPT.
    """

    title: str
    learner: Learner
    params: Params
    wording: Wording
    audio: Tensor | None = None
    own: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class View(Stored):
    """One way to write prompts: by hand, or learned.

    Attributes:
        title: ``hand-written``, or the method.
        values: By measure, a value per replica (hand-written: one): ``drift``, ``drift_<group>``, ``ratio_<group>``,
            ``violated_intra_<group>`` and ``violated_inter_<group>`` (shares); the latter two with ``own_`` in front
            are of the margins that its training used, with their factors and mode.
        distances: ``[K][K]``: mean over neighbours and replicas.
        violated: The same for the share of violated margins.
        class_points: ``[C]``: places on the map, means over replicas.
        neighbor_points: ``[K * N]``, class by class.
    """

    title: str
    values: dict[str, list[float]]
    distances: list[list[float]]
    violated: list[list[float]]
    class_points: list[tuple[float, float]]
    neighbor_points: list[tuple[float, float]]

    def mean(self, measure: str) -> float | None:
        """The mean over replicas; None if the measure does not apply, as of new classes without neighbours."""
        return statistics.fmean(self.values[measure]) if measure in self.values else None

    def spread(self, measure: str) -> float:
        """The sample standard deviation over replicas; 0 for one."""
        values = self.values[measure]
        return statistics.stdev(values) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class PromptSpace(Stored):
    """The space of one data set's prompts, hand-written and learned.

    Attributes:
        classes: Names, those that are trained on first.
        trained: How many of them are trained on.
        neighbors: Of each of the first classes.
        templates: T.
        views: Hand-written first.
        explained: Share of the variance that the two axes of the map show.
        remarks: What a reader must know, one line each.
    """

    classes: list[str]
    trained: int
    neighbors: list[list[str]]
    templates: int
    views: list[View]
    explained: float
    remarks: list[str] = field(default_factory=list)

    @property
    def has_new(self) -> bool:
        """Whether any class was not trained on."""
        return len(self.classes) > self.trained

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups with neighbours."""
        return GROUPS if len(self.neighbors) > self.trained else GROUPS[:1]


def measure_space(
    tower: TextTower, names: Names, prompts: Sequence[Learned], remarks: Sequence[str] = ()
) -> PromptSpace:
    """Measure the space of hand-written and learned prompts; equal inputs give equal numbers.

    Args:
        tower: The frozen text tower.
        names: Classes, neighbours and templates.
        prompts: The learned prompts, at least one; the last decides how the hand-written ones spell names.
        remarks: Kept with the result.

    Raises:
        InputError: A text is too long for the tower, or two class names or two neighbours have the same tokens.
    """
    import torch

    wording = prompts[-1].wording
    with torch.no_grad():
        margins = _margins(tower, names, wording)
        written = [_written(tower, names.template, texts) for texts in (wording.names(names.classes), names.terms)]
        features = [_learned(tower, names, prompt) for prompt in prompts]
        points, explained = _map([(written[0][None], written[1][None]), *features])
        views = [
            View("hand-written", _measures(names, margins[None], margins), *_grid(margins[None], margins), *points[0])
        ]
        for prompt, (z, p), placed in zip(prompts, features, points[1:], strict=True):
            distances = _distances(z[:, : len(names.neighbors)], p.unflatten(1, (len(names.neighbors), -1)))
            reference = _written(tower, names.template, prompt.wording.names(names.classes))
            values = _drift(names, z, reference) | _measures(names, distances, margins)
            if prompt.own is not None:
                own = _violated(names, distances, prompt.own[0].double().cpu(), prompt.own[1].double().cpu())
                values |= {f"own_{name}": of for name, of in own.items()}
            views.append(View(prompt.title, values, *_grid(distances, margins), *placed))
    return PromptSpace(
        classes=list(names.classes),
        trained=names.trained,
        neighbors=[list(terms) for terms in names.neighbors],
        templates=len(names.templates),
        views=views,
        explained=round(explained, DIGITS),
        remarks=list(remarks),
    )


def _margins(tower: TextTower, names: Names, wording: Wording) -> Tensor:
    """``[K, K, N]`` float64 of the K classes with neighbours: the distances behind SEPT's margins."""
    from sept_core.semantic.margins import handcrafted_distances

    known = wording.names(names.classes)[: len(names.neighbors)]
    return handcrafted_distances(tower, known, names.neighbors, names.templates).double().cpu()


def _written(tower: TextTower, template: str, texts: Sequence[str]) -> Tensor:
    """Unit-norm features ``[texts, dim]`` of names in a hand-written prompt."""
    from torch.nn import functional as F

    from sept_core.semantic.templates import fill

    return F.normalize(tower.encode(fill(template, texts, lower=False)).double().cpu(), dim=-1)


def _learned(tower: TextTower, names: Names, prompt: Learned) -> tuple[Tensor, Tensor]:
    """Unit-norm features of all classes ``[replicas, C, dim]`` and of all neighbours ``[replicas, K * N, dim]``."""
    from torch.nn import functional as F

    found = []
    for texts in (prompt.wording.names(names.classes), names.terms):
        features = prompt.learner.features(prompt.params, prompt.audio, prompt.wording.bank(tower, texts))
        # A conditional learner has one set of features per clip, and there is one clip.
        features = features.squeeze(1) if prompt.learner.conditional else features
        found.append(F.normalize(features.double().cpu(), dim=-1))
    return found[0], found[1]


def _distances(z: Tensor, p: Tensor) -> Tensor:
    """``[replicas, K, K, N]``: class i of ``z [replicas, K, dim]``, neighbour n of j of ``p [replicas, K, N, dim]``."""
    import torch

    # One class at a time: all differences at once would take gigabytes.
    return torch.stack([(p - z[:, at, None, None]).norm(dim=-1) for at in range(z.shape[1])], dim=1)


def _parts(names: Names) -> dict[str, slice]:
    """The classes with neighbours, by group."""
    parts = {"base": slice(0, names.trained), "new": slice(names.trained, len(names.neighbors))}
    return {group: part for group, part in parts.items() if part.start < part.stop}


def _drift(names: Names, z: Tensor, reference: Tensor) -> dict[str, list[float]]:
    drift = (z - reference).norm(dim=-1)  # [replicas, C]
    groups = {"drift": drift, "drift_base": drift[:, : names.trained], "drift_new": drift[:, names.trained :]}
    return {name: _rounded(of.mean(1)) for name, of in groups.items() if of.shape[1]}


def _measures(names: Names, distances: Tensor, margins: Tensor) -> dict[str, list[float]]:
    """Ratio and violated margins of each group, a value per replica."""
    values = {}
    for group, part in _parts(names).items():
        own, others = _split(distances[:, part, part])
        if others.shape[1]:
            values[f"ratio_{group}"] = _rounded(own.mean(1) / others.mean(1))
    intra = margins.diagonal(dim1=0, dim2=1).T
    return values | _violated(names, distances, intra, margins)


def _violated(names: Names, distances: Tensor, intra: Tensor, inter: Tensor) -> dict[str, list[float]]:
    """Shares of violated margins: ``distances [replicas, K, K, N]``, margins of the first classes, as in training."""
    values = {}
    for group, part in _parts(names).items():
        if part.stop > len(intra):
            continue
        own, others = _split(distances[:, part, part])
        values[f"violated_intra_{group}"] = _share(own > intra[part].flatten() + SLACK)
        if others.shape[1]:
            values[f"violated_inter_{group}"] = _share(others < _split(inter[None, part, part])[1] - SLACK)
    return values


def _split(distances: Tensor) -> tuple[Tensor, Tensor]:
    """Of ``[replicas, c, c, N]`` those to own neighbours, and those to other classes' neighbours, each flattened."""
    import torch

    same = torch.eye(distances.shape[1], dtype=torch.bool)
    return distances[:, same].flatten(1), distances[:, ~same].flatten(1)


def _share(violated: Tensor) -> list[float]:
    return _rounded(violated.double().mean(1))


def _grid(distances: Tensor, margins: Tensor) -> tuple[list[list[float]], list[list[float]]]:
    """Mean distance and share of violated margins of every class and every class's neighbours."""
    import torch

    same = torch.eye(len(margins), dtype=torch.bool)[:, :, None]
    violated = torch.where(same, distances > margins + SLACK, distances < margins - SLACK)
    return tuple([_rounded(row) for row in of.double().mean((0, 3))] for of in (distances, violated))  # type: ignore[return-value]


_Placed = tuple[list[tuple[float, float]], list[tuple[float, float]]]


def _map(features: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[_Placed], float]:
    """Principal components of all sets of features together, means over replicas, each set around its own centre.

    So a shift of all names together, which no ranking depends on much, does not fill the map.
    """
    import torch

    sets = [torch.cat([of.mean(0) for of in pair]) for pair in features]
    sets = [one - one.mean(0) for one in sets]
    every = torch.cat(sets)
    values, vectors = torch.linalg.eigh(every.T @ every)
    axes = vectors[:, [-1, -2]] if vectors.shape[1] > 1 else vectors.repeat(1, 2)
    # An eigenvector has no sign of its own: its largest component is made positive.
    largest = axes.abs().argmax(0)
    axes = axes * axes.gather(0, largest[None]).sign()
    placed = []
    for pair, one in zip(features, sets, strict=True):
        points = [(round(x, DIGITS) + 0.0, round(y, DIGITS) + 0.0) for x, y in (one @ axes).tolist()]
        placed.append((points[: pair[0].shape[1]], points[pair[0].shape[1] :]))
    return placed, float(values[-2:].sum() / values.sum())


def _rounded(values: Tensor) -> list[float]:
    return [round(value, DIGITS) for value in values.tolist()]
