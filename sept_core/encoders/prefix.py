r"""Encoding many names behind one learned context, without doing anything twice.

A prompt is ``[V][tokens of the name]``. Three ways, all exact and differentiable in V:

- ``padded``: every prompt on its own, padded to a fixed length. What published code does; kept for comparison.
- ``cropped``: every prompt on its own, padded to the longest one only. Works for every tower.
- ``shared``: causal towers only. V comes before every name, so its keys and values are the same for all of them: they
  are computed once, and the names' tokens, packed without padding, attend to them. Tokens a step:
  ``n_ctx + sum of name lengths`` instead of ``prompts x (n_ctx + longest)``. In the last block only the pooled tokens
  are computed, since nothing else of it is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sept_core.encoders.base import CausalTextTower, TextTower
from sept_core.errors import InputError

__all__ = ["PromptBank", "encode_prompts"]

Way = Literal["auto", "shared", "cropped", "padded"]


@dataclass(frozen=True)
class PromptBank:
    """Names, tokenised once, as the constants that encoding needs.

    Attributes:
        names: The names, in order.
        embeddings: Token embeddings ``[names, longest, token_dim]``, padded on the right.
        lengths: Real tokens of each name ``[names]``.
        packed: Token embeddings of all names one after another ``[tokens, token_dim]``.
        offsets: Position of each packed token within its name ``[tokens]``.
        padding: ``[names, longest]``: index into the packed tokens; padded places point at a name's last token.
        unpadding: ``[tokens]``: index of each packed token in the flattened padded layout.
        last: ``[names]``: index of each name's last token in the packed layout.
    """

    names: tuple[str, ...]
    embeddings: Tensor
    lengths: Tensor
    packed: Tensor
    offsets: Tensor
    padding: Tensor
    unpadding: Tensor
    last: Tensor

    @classmethod
    def of(cls, tower: TextTower, names: Sequence[str]) -> PromptBank:
        """Tokenise ``names`` for ``tower``, on the tower's device.

        Raises:
            InputError: No names, or one that leaves no token.
        """
        if not names:
            raise InputError("no names to encode")
        # Behind a context a name is not the start of a text: GPT-2's and RoBERTa's tokens tell ' dog' from 'dog'.
        tokens = tower.tokenize([f" {name.lstrip()}" for name in names])
        device = next(tower.parameters()).device
        lengths = tokens.lengths.to(device)
        if int(lengths.min()) < 1:
            empty = names[int(lengths.argmin())]
            raise InputError(f"the name {empty!r} leaves no token", mend="give it a letter or a digit")
        longest = int(lengths.max())
        with torch.no_grad():
            embeddings = tower.embed(tokens.ids[:, :longest].to(device)).detach()
        real = torch.arange(longest, device=device) < lengths[:, None]  # [names, longest]
        starts = torch.cumsum(lengths, 0) - lengths
        inside = torch.minimum(torch.arange(longest, device=device)[None], lengths[:, None] - 1)
        return cls(
            names=tuple(names),
            embeddings=embeddings,
            lengths=lengths,
            packed=embeddings[real],
            offsets=inside[real],
            padding=starts[:, None] + inside,
            unpadding=real.flatten().nonzero().squeeze(1),
            last=starts + lengths - 1,
        )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def tokens(self) -> int:
        """Real tokens of all names together."""
        return int(self.packed.shape[0])

    @property
    def longest(self) -> int:
        """Tokens of the longest name."""
        return int(self.embeddings.shape[1])


def encode_prompts(
    tower: TextTower, context: Tensor, bank: PromptBank, way: Way = "auto", pad_to: int | None = None
) -> Tensor:
    """Features of every name behind every context.

    Args:
        tower: The frozen text tower.
        context: Learned contexts ``[..., n_ctx, token_dim]``; ``n_ctx`` may be 0.
        bank: The names.
        way: See the module; ``auto`` is ``shared`` for causal towers, else ``cropped``.
        pad_to: Tokens per prompt for ``padded``; the tower's longest sequence where None.

    Returns:
        Un-normalised features ``[..., names, dim]``; gradients flow to ``context`` only.

    Raises:
        InputError: Context and longest name together exceed the tower's positions.
    """
    n_ctx = context.shape[-2]
    if n_ctx + bank.longest > tower.max_tokens:
        name = bank.names[int(bank.lengths.argmax())]
        raise InputError(
            f"a context of {n_ctx} and the {bank.longest} tokens of '{name}' exceed the tower's {tower.max_tokens}",
            mend="use a smaller n_ctx or a shorter name",
        )
    lead = context.shape[:-2]
    flat = context.reshape(math.prod(lead), n_ctx, context.shape[-1])  # [contexts, n_ctx, token_dim]
    if way == "auto":
        way = "shared" if isinstance(tower, CausalTextTower) else "cropped"
    if way == "shared":
        if not isinstance(tower, CausalTextTower):
            raise InputError("only a causal text tower can share a prefix", mend="use way='cropped'")
        features = _shared(tower, flat, bank)
    else:
        longest = n_ctx + bank.longest if way == "cropped" else (pad_to or tower.max_tokens)
        features = _plain(tower, flat, bank, longest)
    return features.reshape(*lead, len(bank), features.shape[-1])


def _plain(tower: TextTower, context: Tensor, bank: PromptBank, longest: int) -> Tensor:
    contexts, n_ctx, width = context.shape
    names = len(bank)
    padding = bank.embeddings.new_zeros(contexts, names, longest - n_ctx - bank.longest, width)
    prompts = torch.cat(
        [
            context[:, None].expand(contexts, names, n_ctx, width),
            bank.embeddings[None].expand(contexts, *bank.embeddings.shape),
            padding,
        ],
        dim=2,
    )
    lengths = (n_ctx + bank.lengths).repeat(contexts)
    return tower(prompts.flatten(0, 1), lengths).unflatten(0, (contexts, names))


def _shared(tower: CausalTextTower, context: Tensor, bank: PromptBank) -> Tensor:
    contexts, n_ctx, _ = context.shape
    device = context.device
    causal = torch.ones(n_ctx, n_ctx, dtype=torch.bool, device=device).tril()
    places = torch.arange(bank.longest, device=device)
    own = places[None] <= places[:, None]  # [query, key] within one name
    own_last = places[None] < bank.lengths[:, None]  # [names, key] for the pooled token
    x = tower.place(context, torch.arange(n_ctx, device=device).expand(contexts, n_ctx))  # [contexts, n_ctx, width]
    # The first block's input for the names does not depend on the context: one row serves all contexts until it does.
    y = tower.place(bank.packed[None], n_ctx + bank.offsets[None])  # [1, tokens, width]
    final = len(tower.blocks) - 1
    for depth, block in enumerate(tower.blocks):
        heads = block.heads
        q, k, v = (_split(part, heads) for part in block.qkv(x))  # [contexts, heads, n_ctx, head]
        if depth < final and n_ctx:
            x = block.merge(x, _join(_attend(q, k, v, causal)))
        qn, kn, vn = (_split(part, heads) for part in block.qkv(y))  # [contexts or 1, heads, tokens, head]
        kn, vn = kn[:, :, bank.padding], vn[:, :, bank.padding]  # [.., heads, names, longest, head]
        if depth < final:
            padded = _attend_with_prefix(qn[:, :, bank.padding], k, v, kn, vn, own)
            attended = padded.flatten(2, 3)[:, :, bank.unpadding]
            y = block.merge(y, _join(attended))
        else:
            pooled = _attend_with_prefix(qn[:, :, bank.last, None], k, v, kn, vn, own_last[:, None])
            y = block.merge(y[:, bank.last], _join(pooled.flatten(2, 3)))
    return tower.readout(y)


def _split(x: Tensor, heads: int) -> Tensor:
    """``[batch, token, width]`` to ``[batch, heads, token, head]``."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _join(x: Tensor) -> Tensor:
    """``[batch, heads, token, head]`` to ``[batch, token, width]``."""
    return x.transpose(1, 2).flatten(2)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v


def _attend_with_prefix(q: Tensor, k: Tensor, v: Tensor, kn: Tensor, vn: Tensor, mask: Tensor) -> Tensor:
    """Attention of names' tokens to the context's keys and to their own name's.

    Args:
        q: ``[contexts or 1, heads, names, queries, head]``.
        k: The context's keys ``[contexts, heads, n_ctx, head]``; ``v`` likewise.
        v: The context's values.
        kn: The names' own keys ``[contexts or 1, heads, names, longest, head]``; ``vn`` likewise.
        vn: The names' own values.
        mask: Which of a name's own keys a query sees, ``[queries, longest]`` or ``[names, queries, longest]``.

    Returns:
        ``[contexts, heads, names, queries, head]``.
    """
    contexts, n_ctx = k.shape[0], k.shape[2]
    q = q * q.shape[-1] ** -0.5
    _, heads, names, queries, _ = q.shape
    # One matrix product per context over all names' queries, rather than one small product per name.
    to_prefix = (q.flatten(2, 3) @ k.transpose(-1, -2)).unflatten(2, (names, queries))
    to_own = (q @ kn.transpose(-1, -2)).masked_fill(~mask, float("-inf"))
    scores = torch.cat([to_prefix, to_own.expand(contexts, heads, names, queries, -1)], dim=-1).softmax(-1)
    from_prefix = (scores[..., :n_ctx].flatten(2, 3) @ v).unflatten(2, (names, queries))
    return from_prefix + scores[..., n_ctx:] @ vn
