r"""The semantic expansion loss (SEPT), for all replicas at once.

    L_intra = mean_{i,n}       max(0, ||z_i - p_i^n||_2 - m_{i,i,n})    pulls only when farther than natural
    L_inter = mean_{i,j!=i,n}  max(0, m_{i,j,n} - ||z_i - p_j^n||_2)    pushes only when nearer than natural
    L = L_base + lambda_se * (L_intra + L_inter)

z_i and p_j^n are the unit-norm features of class i and of neighbour n of class j after the same learned context.
Where the paper does not say, we use unit-norm features, plain L2 (not squared), means, equal weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sept_core.errors import InputError
from sept_core.hyper import HyperParameter, Value
from sept_core.prompt_form import Wording
from sept_core.semantic.margins import MARGIN_MODES, margins
from sept_core.semantic.neighbors import Neighbors

# The hyper-parameters of SEPT are needed long before training, so importing this does not load torch.
if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.base import TextTower
    from sept_core.encoders.prefix import PromptBank

__all__ = ["SEPT_HYPER", "Hinges", "SemanticExpansion", "expansion_losses"]

SEPT_HYPER = (
    HyperParameter("lambda_se", float, "weight of the expansion loss (lambda)", 1.0, low=0.0, high=1e4, column=True),
    HyperParameter("margin_intra", float, "factor on margins to own neighbours", 1.0, low=0.0, high=1e6, column=True),
    HyperParameter("margin_inter", float, "factor on margins to other classes", 1.0, low=0.0, high=10.0, column=True),
    HyperParameter("margin_mode", str, "where margins come from", "handcrafted", choices=MARGIN_MODES, column=True),
    HyperParameter("n_neighbors", int, "neighbours per class (N), first of its list", 5, low=1, high=20, column=True),
    HyperParameter("n_templates", int, "templates behind a margin (T), hand-crafted", 5, low=1, high=10, column=True),
)

SMALLEST = 1e-12
"""Lower bound of squared distances: the gradient of a norm at zero is not a number."""


@dataclass(frozen=True)
class Hinges:
    """Both hinges of every class and neighbour before they are cut off at 0; a positive one is active.

    Attributes:
        intra: ``[replicas, C, N]``: distance to an own neighbour minus its margin.
        inter: ``[replicas, C, C, N]``: margin minus distance to another class's neighbour; the diagonal is not used.
    """

    intra: Tensor
    inter: Tensor

    @classmethod
    def of(cls, z: Tensor, p: Tensor, intra: Tensor, inter: Tensor) -> Hinges:
        """The hinges of features and margins that are given as to `expansion_losses`."""
        import torch

        # ||a - b||^2 = 2 - 2 a.b for unit vectors, but that loses digits if a is close to b, and these decide a hinge.
        squared = (z[:, :, None, None] - p[:, None]).square().sum(-1)  # [replicas, C, C, N]
        distances = squared.clamp_min(SMALLEST).sqrt()
        own = torch.arange(p.shape[1], device=z.device)
        return cls(distances[:, own, own] - intra, inter - distances)

    def losses(self) -> tuple[Tensor, Tensor]:
        """L_intra and L_inter ``[replicas]``; with a single class L_inter is 0."""
        return self._means(self.intra.relu(), self.inter.relu())

    def active(self) -> tuple[Tensor, Tensor]:
        """The shares of active intra and inter hinges in percent ``[replicas]``; without inter hinges that is 0."""
        intra, inter = self._means(*((100.0 * (hinge > 0)).to(hinge) for hinge in (self.intra, self.inter)))
        return intra, inter

    def _means(self, intra: Tensor, inter: Tensor) -> tuple[Tensor, Tensor]:
        """Means over each replica's hinges ``[replicas]``."""
        import torch

        size, count = intra.shape[1:]
        of_intra = intra.mean((1, 2))
        if size == 1:
            return of_intra, torch.zeros_like(of_intra)
        others = ~torch.eye(size, dtype=torch.bool, device=inter.device)
        return of_intra, (inter * others[:, :, None]).sum((1, 2, 3)) / (size * (size - 1) * count)


def expansion_losses(z: Tensor, p: Tensor, intra: Tensor, inter: Tensor) -> tuple[Tensor, Tensor]:
    """L_intra and L_inter of each replica.

    Args:
        z: Unit-norm class features ``[replicas, C, dim]``.
        p: Unit-norm neighbour features ``[replicas, C, N, dim]``.
        intra: Margins ``[C, N]`` to a class's own neighbours.
        inter: Margins ``[C, C, N]``; the diagonal is not used.

    Returns:
        Two tensors ``[replicas]``. With a single class L_inter is 0.
    """
    return Hinges.of(z, p, intra, inter).losses()


@dataclass(frozen=True)
class SemanticExpansion:
    """SEPT's part of a training: the additional texts to encode, the margins, and the weight.

    Attributes:
        bank: The C classes first, then their neighbours, class by class.
        intra: ``[C, N]``.
        inter: ``[C, C, N]``.
        weight: lambda.
    """

    bank: PromptBank
    intra: Tensor
    inter: Tensor
    weight: float

    @classmethod
    def of(
        cls,
        tower: TextTower,
        classes: Sequence[str],
        neighbors: Neighbors,
        templates: Sequence[str],
        hyper: Mapping[str, Value],
    ) -> SemanticExpansion:
        """Constants of SEPT for training on ``classes``, with ``SEPT_HYPER``'s and the baseline's hyper-parameters.

        Only the neighbours of these classes are used. The other classes that their writer knew are in
        `Neighbors.known`.

        Raises:
            InputError: A class has fewer neighbours than asked for, there are fewer templates, or two of the names have
                the same tokens.
        """
        terms = neighbors.first(classes, int(hyper["n_neighbors"]))
        if len(templates) < int(hyper["n_templates"]):
            raise InputError(
                f"{hyper['n_templates']} templates requested, there are {len(templates)}", where="n_templates"
            )
        intra, inter = margins(
            str(hyper["margin_mode"]),
            margin_intra=float(hyper["margin_intra"]),
            margin_inter=float(hyper["margin_inter"]),
            tower=tower,
            classes=classes,
            neighbors=terms,
            templates=templates[: int(hyper["n_templates"])],
        )
        bank = Wording.of(hyper).bank(tower, [*classes, *(term for own in terms for term in own)])
        return cls(bank, intra, inter, float(hyper["lambda_se"]))

    def hinges(self, features: Tensor) -> Hinges:
        """Both hinges from the bank's un-normalised features ``[replicas, C + C*N, dim]``."""
        from torch.nn import functional as F

        size, count = self.intra.shape
        unit = F.normalize(features, dim=-1)
        p = unit[:, size:].unflatten(1, (size, count))
        return Hinges.of(unit[:, :size], p, self.intra, self.inter)
