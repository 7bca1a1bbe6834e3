"""GPT-2 as a causal text tower: msclap-2023's, opened up so that a learned context is computed once for all names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from sept_core.encoders.base import CausalTextTower, Tokens, refuse_special
from sept_core.encoders.tokenization import pad_tokens
from sept_core.errors import InputError

if TYPE_CHECKING:
    from transformers import GPT2Model, GPT2TokenizerFast
    from transformers.models.gpt2.modeling_gpt2 import GPT2Block

__all__ = ["Gpt2Block", "Gpt2TextTower"]

_END = "<|endoftext|>"


class Gpt2Block:
    """A block of transformers' GPT-2, split into the two halves that the shared prefix needs (a ``CausalBlock``).

    Args:
        block: The block; its weights are not copied.
        heads: Attention heads; divides the width.
    """

    def __init__(self, block: GPT2Block, heads: int) -> None:
        self.block = block
        self.heads = heads

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Norm, then query, key and value ``[..., token, width]`` of ``x [..., token, width]``."""
        query, key, value = self.block.attn.c_attn(self.block.ln_1(x)).chunk(3, dim=-1)
        return query, key, value

    def merge(self, x: Tensor, attended: Tensor) -> Tensor:
        """Residual of the projected ``attended [..., token, width]``, then residual of the MLP."""
        x = x + self.block.attn.c_proj(attended)
        return x + self.block.mlp(self.block.ln_2(x))


class Gpt2TextTower(CausalTextTower):
    """msclap-2023's text tower: GPT-2 over ``text + ' <|endoftext|>'``, pooled at the end token, projected.

    msclap pads with ``'!'``, which is id 0, and pools at the last id that is not 0. So an exclamation mark inside a
    text would move the pooling; it is removed from texts. There is no start token: a context takes positions
    ``0..n_ctx-1``.

    Byte-pair tokens differ at the start of a text and after a space. ``tokenize`` keeps a leading space, so a name
    that follows a context gets the tokens that it has inside a sentence when it is given as ``' dog bark'``.

    Args:
        base: The transformer.
        projection: Pooled hidden state ``[..., width]`` to ``[..., dim]``.
        tokenizer: Its tokenizer.
        dim: Width of the joint space.
        max_tokens: Longest sequence, context and end token included.

    Raises:
        InputError: The transformer's attention is not the plain one, or the tokenizer is not GPT-2's.
    """

    def __init__(
        self, base: GPT2Model, projection: nn.Module, tokenizer: GPT2TokenizerFast, dim: int, max_tokens: int
    ) -> None:
        super().__init__()
        config = base.config
        if not config.scale_attn_weights or config.scale_attn_by_inverse_layer_idx or config.add_cross_attention:
            raise InputError("this variant of GPT-2's attention is not msclap's", fix="use the config.json of gpt2")
        if tokenizer.convert_tokens_to_ids("!") != 0:
            raise InputError(
                "the tokenizer is not GPT-2's: '!', which msclap pads with, is not its id 0",
                fix="give the tokenizer files of gpt2",
            )
        self.base = base
        self.projection = projection
        self.dim = dim
        self.token_dim = config.n_embd
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._blocks = tuple(Gpt2Block(cast("GPT2Block", block), config.n_head) for block in base.h)

    @property
    def blocks(self) -> Sequence[Gpt2Block]:
        """The blocks, first to last."""
        return self._blocks

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Ids of ``texts`` without exclamation marks, end token included, padded on the right with 0.

        Raises:
            InputError: A text is empty, holds the end token, or has more than ``max_tokens`` tokens.
        """
        # A tokenizer saved by msclap lists its padding '!' among them; it is removed.
        refuse_special(texts, {*self._tokenizer.all_special_tokens} - {"!"})
        plain = [text.replace("!", "") for text in texts]
        for text, stripped in zip(texts, plain, strict=True):
            if not stripped.strip():
                raise InputError(f"the text {text!r} has no tokens", fix="give every class and neighbour a name")
        ids = self._tokenizer([f"{text} {_END}" for text in plain])["input_ids"] if plain else []
        return pad_tokens(texts, ids, self.max_tokens, "msclap-2023")

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings ``[..., width]`` of ``ids [...]``, without positions."""
        return self.base.wte(ids)

    def place(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        """Add the position embeddings of ``positions [..., token]`` to ``embeddings [..., token, width]``."""
        return embeddings + self.base.wpe(positions)

    def readout(self, hidden: Tensor) -> Tensor:
        """Final norm and projection of pooled hidden states ``[..., width]`` to ``[..., dim]``."""
        return self.projection(self.base.ln_f(hidden))

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Un-normalised features ``[texts, dim]`` of ``embeddings [texts, length, width]``, pooled at the last token.

        Raises:
            InputError: ``length`` exceeds ``max_tokens``.
        """
        texts, length, _ = embeddings.shape
        if length > self.max_tokens:
            raise InputError(
                f"{length} tokens, context included, but the text tower of msclap-2023 takes {self.max_tokens}",
                fix="lower n_ctx or shorten the names",
            )
        hidden = self.base(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        return self.projection(hidden[torch.arange(texts, device=hidden.device), lengths - 1])
