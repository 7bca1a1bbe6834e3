"""CoCoOp (Zhou et al., CVPR 2022, eq. 2-3): a context that a small net shifts for every clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sept_core.learners.base import Init, Params
from sept_core.learners.coop import CoOp

if TYPE_CHECKING:
    from torch import Tensor

    from sept_core.encoders.prefix import PromptBank

__all__ = ["CoCoOp"]

BOTTLENECK = 16
"""The meta-net's hidden layer is this many times narrower than the joint space, as in the authors' code."""


class CoCoOp(CoOp):
    """Prompt = [V + pi(x)][name], pi = Linear(d, d/16)-ReLU-Linear(d/16, d_tok) on the unit-norm audio feature x.

    Parameters: ``ctx [replicas, n_ctx, token_dim]``, ``meta1.*`` and ``meta2.*`` (weight and bias of the two layers).
    """

    name = "cocoop"
    conditional = True

    def init(self, init: Init) -> dict[str, Tensor]:
        """Context as CoOp's, the net as torch.nn.Linear starts."""
        hidden = max(1, self.tower.dim // BOTTLENECK)
        return {
            **super().init(init),
            **init.linear("meta1", self.tower.dim, hidden),
            **init.linear("meta2", hidden, self.tower.token_dim),
        }

    def features(self, params: Params, audio: Tensor | None, bank: PromptBank) -> Tensor:
        """One set of features per clip ``[replicas, clips, names, dim]``."""
        from sept_core.encoders.prefix import encode_prompts

        if audio is None:
            raise ValueError("CoCoOp's context depends on the clip")
        hidden = _linear(params, "meta1", audio).relu()
        shift = _linear(params, "meta2", hidden)  # [replicas, clips, token_dim]
        context = params["ctx"][:, None] + shift[:, :, None]  # [replicas, clips, n_ctx, token_dim]
        return encode_prompts(self.tower, context, bank)


def _linear(params: Params, name: str, x: Tensor) -> Tensor:
    """One linear layer per replica: ``x [replicas, clips, inputs]`` to ``[replicas, clips, outputs]``."""
    import torch

    return torch.baddbmm(params[f"{name}.bias"][:, None], x, params[f"{name}.weight"].transpose(1, 2))
