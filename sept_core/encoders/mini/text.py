"""The text tower of ``mini``: a small causal pre-norm transformer with its own byte-level BPE.

There is no end token: a text is pooled at its last token, so a name adds only its own tokens to a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from sept_core.encoders.base import CausalTextTower, Tokens, refuse_special
from sept_core.encoders.mini.weightfiles import read_weights
from sept_core.errors import InputError

__all__ = ["Block", "MiniTextConfig", "MiniTextTower"]


@dataclass(frozen=True)
class MiniTextConfig:
    """Sizes of the text tower.

    Attributes:
        vocab_size: Number of tokens of the tokenizer.
        layers: Number of blocks.
        width: Width of tokens and hidden states.
        heads: Attention heads; divides ``width``.
        max_tokens: Number of positions, context included.
        dim: Width of the joint space.
    """

    vocab_size: int
    layers: int = 4
    width: int = 192
    heads: int = 6
    max_tokens: int = 77
    dim: int = 256


class Block(nn.Module):
    """Pre-norm causal self-attention and a GELU MLP of four times the width (a ``CausalBlock``)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.in_projection = nn.Linear(width, 3 * width)
        self.out_projection = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Norm, then query, key and value ``[..., token, width]`` of ``x [..., token, width]``."""
        query, key, value = self.in_projection(self.norm_attention(x)).chunk(3, dim=-1)
        return query, key, value

    def merge(self, x: Tensor, attended: Tensor) -> Tensor:
        """Residual of the projected ``attended [..., token, width]``, then residual of the MLP."""
        x = x + self.out_projection(attended)
        return x + self.contract(F.gelu(self.expand(self.norm_mlp(x))))


class MiniTextTower(CausalTextTower):
    """Causal transformer over byte-level BPE tokens, pooled at the last token.

    Args:
        config: Sizes.
        tokenizer: Tokenizer whose ids are below ``config.vocab_size``.
    """

    def __init__(self, config: MiniTextConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        self.token_dim = config.width
        self.max_tokens = config.max_tokens
        self._tokenizer = tokenizer
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Parameter(torch.empty(config.max_tokens, config.width))
        self.layers = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.projection = nn.Linear(config.width, config.dim, bias=False)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding, std=0.02)

    @classmethod
    def from_folder(cls, folder: Path) -> MiniTextTower:
        """Load ``config.json``, ``tokenizer.json`` and ``text.safetensors`` of ``folder``, frozen, in ``eval()``.

        Raises:
            InputError: The weights are missing or do not fit the configuration.
        """
        meta = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tower = cls(MiniTextConfig(**meta["text"]), Tokenizer.from_file(str(folder / "tokenizer.json")))
        read_weights(tower, folder / "text.safetensors")
        return tower

    @property
    def blocks(self) -> Sequence[Block]:
        """The blocks, first to last."""
        return list(self.layers)  # type: ignore[arg-type]

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Token ids of ``texts``, lower-cased by the tokenizer, padded on the right with 0.

        Raises:
            InputError: A text is empty, holds a special token, or has more tokens than the tower has positions.
        """
        refuse_special(texts, [token.content for token in self._tokenizer.get_added_tokens_decoder().values()])
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        for text, ids in zip(texts, encoded, strict=True):
            if not ids:
                raise InputError(f"the text {text!r} has no tokens", fix="give every class and neighbour a name")
            if len(ids) > self.max_tokens:
                raise InputError(
                    f"the text '{text[:40]}...' has {len(ids)} tokens, the text tower of mini takes {self.max_tokens}",
                    fix="shorten it",
                )
        lengths = torch.tensor([len(ids) for ids in encoded], dtype=torch.int64)
        ids = torch.zeros(len(encoded), int(lengths.max()) if encoded else 0, dtype=torch.int64)
        for row, tokens in zip(ids, encoded, strict=True):
            row[: len(tokens)] = torch.tensor(tokens)
        return Tokens(ids, lengths)

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings ``[..., width]`` of ``ids [...]``, without positions."""
        return self.token_embedding(ids)

    def place(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        """Add the position embeddings of ``positions [..., token]`` to ``embeddings [..., token, width]``."""
        return embeddings + F.embedding(positions, self.position_embedding)

    def readout(self, hidden: Tensor) -> Tensor:
        """Final norm and projection of pooled hidden states ``[..., width]`` to ``[..., dim]``."""
        return self.projection(self.norm(hidden))
