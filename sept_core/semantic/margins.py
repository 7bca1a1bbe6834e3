r"""Margins: the distance of a class and a neighbour in the space of hand-crafted prompts (SEPT, margin equation).

    m_{i,j,n} = (1/T) \sum_t || f_t(h_t(c_i)) - f_t(h_t(p_j^n)) ||_2

with f_t unit-norm, h_t the t-th hand-crafted template, c_i the i-th training class and p_j^n the n-th neighbour of the
j-th. They are constants of a trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from sept_core.errors import InputError
from sept_core.semantic.templates import fill
from sept_core.suggestions import known_words

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower

__all__ = ["MARGIN_MODES", "MarginMode", "handcrafted_distances", "margins"]

MarginMode = Literal["handcrafted", "constant", "none"]
MARGIN_MODES: tuple[MarginMode, ...] = get_args(MarginMode)

FARTHEST = 2.0
"""The largest distance of two unit vectors: a hinge with this margin never stops pushing."""


def handcrafted_distances(
    tower: TextTower, classes: Sequence[str], neighbors: Sequence[Sequence[str]], templates: Sequence[str]
) -> Tensor:
    """m_{i,j,n} of all classes and neighbours.

    Args:
        tower: The frozen text tower.
        classes: Names of the C training classes, as used in prompts.
        neighbors: For each of them its N neighbours.
        templates: The T hand-crafted templates.

    Returns:
        ``[C, C, N]``: class i, neighbour n of class j.

    Raises:
        InputError: Not the same number of neighbours, at least one, for every class.
    """
    import torch
    from torch.nn import functional as F

    _check_counts(classes, neighbors)
    # The first neighbours of all classes together, then all second ones: the tower caches such lists
    # (`TextTower.encode`), so that trials with other N and T encode only what is new.
    ranks = list(zip(*neighbors, strict=True))
    total: Tensor | float = 0.0
    for template in templates:
        c = F.normalize(tower.encode(fill(template, classes, lower=False)), dim=-1)
        p = [F.normalize(tower.encode(fill(template, terms, lower=False)), dim=-1) for terms in ranks]
        total = total + torch.stack([(c[:, None] - own[None]).norm(dim=-1) for own in p], dim=-1)
    assert isinstance(total, torch.Tensor)  # there is a template
    return total / len(templates)


def margins(
    mode: str,
    *,
    margin_intra: float,
    margin_inter: float,
    tower: TextTower,
    classes: Sequence[str],
    neighbors: Sequence[Sequence[str]],
    templates: Sequence[str],
) -> tuple[Tensor, Tensor]:
    """The margins that the two hinges use.

    Args:
        mode: ``handcrafted`` (the paper): the factors times m_{i,i,n} and m_{i,j,n}; ``constant``: the factors
            themselves; ``none`` (the paper's ablation): pull to distance 0, push without limit.
        margin_intra: Factor on a class's own neighbours.
        margin_inter: Factor on other classes' neighbours.
        tower: The frozen text tower.
        classes: Names of the C training classes.
        neighbors: For each of them its N neighbours.
        templates: The T hand-crafted templates.

    Returns:
        Intra ``[C, N]`` and inter ``[C, C, N]`` (its diagonal is not used).

    Raises:
        InputError: Unknown mode, or not the same number of neighbours, at least one, for every class: a mean over
            classes would weigh their terms differently, and features could not be told apart by class.
    """
    import torch

    if mode not in MARGIN_MODES:
        raise InputError(f"unknown margin_mode '{mode}'", fix=known_words(mode, MARGIN_MODES))
    _check_counts(classes, neighbors)
    size, count = len(classes), len(neighbors[0])
    device = next(tower.parameters()).device
    if mode == "handcrafted":
        distances = handcrafted_distances(tower, classes, neighbors, templates)
        own = torch.arange(size, device=device)
        return margin_intra * distances[own, own], margin_inter * distances
    intra, inter = (margin_intra, margin_inter) if mode == "constant" else (0.0, FARTHEST)
    dtype = next(tower.parameters()).dtype
    return (
        torch.full((size, count), intra, device=device, dtype=dtype),
        torch.full((size, size, count), inter, device=device, dtype=dtype),
    )


def _check_counts(classes: Sequence[str], neighbors: Sequence[Sequence[str]]) -> None:
    if len(neighbors) != len(classes):
        raise InputError(f"{len(neighbors)} lists of neighbours for {len(classes)} classes", fix="give one per class")
    counts = [len(terms) for terms in neighbors]
    if len(set(counts)) > 1 or not all(counts):
        fewest, most = min(counts), max(counts)
        few, many = classes[counts.index(fewest)], classes[counts.index(most)]
        what = f"class '{few}' has {fewest} neighbours" + (f" and '{many}' {most}" if fewest != most else "")
        raise InputError(what, fix="give every class the same number, at least 1")
