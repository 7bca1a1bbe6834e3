"""CLIP's text model as a causal text tower, Pengi's: a learned context is computed once for all names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from sept_core.encoders.base import CausalTextTower, Tokens
from sept_core.encoders.tokenization import tokenize_without_start

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizerFast
    from transformers.models.clip.modeling_clip import CLIPEncoderLayer

__all__ = ["ClipBlock", "ClipTextTower"]


class ClipBlock:
    """A layer of transformers' CLIP, split into the two halves that the shared prefix needs (a ``CausalBlock``).

    Args:
        layer: The layer; its weights are not copied.
        heads: Attention heads; divides the width.
    """

    def __init__(self, layer: CLIPEncoderLayer, heads: int) -> None:
        self.layer = layer
        self.heads = heads

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Norm, then query, key and value ``[..., token, width]`` of ``x [..., token, width]``."""
        attention, x = self.layer.self_attn, self.layer.layer_norm1(x)
        return attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)

    def merge(self, x: Tensor, attended: Tensor) -> Tensor:
        """Residual of the projected ``attended [..., token, width]``, then residual of the MLP."""
        x = x + self.layer.self_attn.out_proj(attended)
        return x + self.layer.mlp(self.layer.layer_norm2(x))


class ClipTextTower(CausalTextTower):
    """Pengi's text tower: CLIP over ``[start][text][end]``, pooled at the end token, projected twice.

    With a context, a prompt is ``[start][context][tokens of the name][end]``: the start token has position 0, the
    context the positions from 1. ``tokenize`` does not return the start token (``start``). CLIP's tokens end words
    instead of beginning them, so a name has the same tokens alone and after a context; case is ignored.

    The submodules have the names that they have in Pengi's weight file.

    Args:
        model: The text model.
        projection: CLIP's text feature ``[..., config.projection_dim]`` to ``[..., dim]``.
        tokenizer: Its tokenizer.
        name: The encoder's name, for messages.
        dim: Width of the joint space.
    """

    def __init__(
        self, model: CLIPTextModel, projection: nn.Module, tokenizer: CLIPTokenizerFast, *, name: str, dim: int
    ) -> None:
        super().__init__()
        config = model.config
        self.base = model.text_model
        self.clip_text_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        self.projection = projection
        self.dim = dim
        self.token_dim = config.hidden_size
        self.max_tokens = config.max_position_embeddings - 1
        self._name = name
        self._tokenizer = tokenizer
        layers, heads = self.base.encoder.layers, config.num_attention_heads
        self._blocks = tuple(ClipBlock(cast("CLIPEncoderLayer", layer), heads) for layer in layers)

    @property
    def blocks(self) -> Sequence[ClipBlock]:
        """The layers, first to last."""
        return self._blocks

    @property
    def start(self) -> Tensor:
        """Embedding of the start token ``[1, width]``."""
        device = self.clip_text_projection.weight.device
        return self.embed(torch.tensor([self._tokenizer.bos_token_id], device=device))

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Ids of ``texts``, without the start token and with the end token, padded on the right with 0.

        Raises:
            InputError: A text is empty, holds a special token, or has more than ``max_tokens`` tokens.
        """
        return tokenize_without_start(self._tokenizer, texts, self.max_tokens, self._name)

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings ``[..., width]`` of ``ids [...]``, without positions."""
        return self.base.embeddings.token_embedding(ids)

    def place(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        """Add the position embeddings of ``positions [..., token]`` to ``embeddings [..., token, width]``."""
        return embeddings + self.base.embeddings.position_embedding(positions)

    def readout(self, hidden: Tensor) -> Tensor:
        """Final norm and both projections of pooled hidden states ``[..., width]`` to ``[..., dim]``."""
        return self.projection(self.clip_text_projection(self.base.final_layer_norm(hidden)))
