r"""Encodes many names after one learned context without repeated work.

A prompt is ``[V][tokens of the name and its ending]``. Both ways are exact and differentiable in V:

- Causal towers share the prefix: V (after a start token, if the tower has one) comes before every name, so its keys and
  values are the same for all names. They are computed once, and the names' tokens, packed without padding, attend to
  them. This takes ``n_ctx + sum of name lengths`` tokens per step instead of ``prompts x (n_ctx + longest)``. In the
  last block only the pooled tokens are computed, since nothing else of it is read.
- Other towers encode every prompt on its own, padded to the longest prompt. Published code pads to a fixed length, such
  as 77, which gives the same features (``tests/plain_prompts.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sept_core.encoders.base import CausalTextTower, TextTower, Tokens
from sept_core.errors import InputError

__all__ = ["PromptBank", "encode_prompts", "token_budget", "tokenize_names"]

TOKEN_BUDGET = {"cpu": 4096, "cuda": 16_384}
"""Text tokens whose activations are in memory at a time, by kind of device. GPT-2 small and BERT base take 0.8 to 1.2
MB for
each, forward and backward (tests/benchmarks/bench_memory.py): a step stays within 5 GB on a CPU, whatever the study,
and by that measure within 20 GB on a GPU, which has not been measured yet (docs/gpu.md). On a CPU larger steps are no
faster."""


def token_budget(device: torch.device) -> int:
    """Text tokens of one pass on ``device`` (``TOKEN_BUDGET``)."""
    return TOKEN_BUDGET.get(device.type, TOKEN_BUDGET["cuda"])


def tokenize_names(tower: TextTower, names: Sequence[str], end: str = "") -> Tokens:
    """Tokens of names that follow a context, each with ``end`` appended.

    Raises:
        InputError: One leaves no token, or two have the same tokens, so that their prompts would be equal: with
            GPT-2 as msclap uses it, ``dog`` and ``dog!``.
    """
    # After a context a name is not the start of a text: GPT-2 and RoBERTa have different tokens for ' dog' and 'dog'.
    tokens = tower.tokenize([f" {name.lstrip()}{end}" for name in names])
    # A name that the tokenizer removes completely, such as msclap's '!', leaves only the ending.
    alone = tower.tokenize([f" {end}"]) if end else None
    nothing = tuple(alone.ids[0, : int(alone.lengths[0])].tolist()) if alone is not None else ()
    seen: dict[tuple[int, ...], str] = {}
    for name, row, length in zip(names, tokens.ids.tolist(), tokens.lengths.tolist(), strict=True):
        key = tuple(row[:length])
        if not key or key == nothing:
            raise InputError(f"the name {name!r} leaves no token", fix="give it a letter or a digit")
        if key in seen:
            same = f"'{name}' twice" if seen[key] == name else f"'{seen[key]}' and '{name}'"
            raise InputError(
                f"{same}: the same tokens for the text tower, so their prompts would be equal",
                fix="rename one of them, or leave it out",
            )
        seen[key] = name
    return tokens


@dataclass(frozen=True)
class PromptBank:
    """Tokenised names as the constants that encoding needs.

    Attributes:
        names: The names, in order, without the ending of the prompt.
        embeddings: Token embeddings ``[names, longest, token_dim]``, padded on the right.
        lengths: Real tokens of each name ``[names]``.
        packed: Token embeddings of all names one after another ``[tokens, token_dim]``.
        offsets: Position of each packed token within its name ``[tokens]``.
        padding: ``[names, longest]``: index into the packed tokens; padded positions point to a name's last token.
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
    def of(cls, tower: TextTower, names: Sequence[str], end: str = "") -> PromptBank:
        """Tokenise ``names``, each with ``end`` appended, for ``tower``, on the tower's device.

        Raises:
            InputError: No names, one that leaves no token, or two with the same tokens.
        """
        if not names:
            raise InputError("no names to encode")
        tokens = tokenize_names(tower, names, end)
        device = next(tower.parameters()).device
        lengths = tokens.lengths.to(device)
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


def encode_prompts(tower: TextTower, context: Tensor, bank: PromptBank, budget: int | None = None) -> Tensor:
    """Features of every name after every context.

    Work that exceeds the budget is done in parts, whose activations are computed again in the backward pass: this
    bounds the memory at the price of one more forward pass. Names that share the prefix of one context are never split.

    Args:
        tower: The frozen text tower.
        context: Learned contexts ``[..., n_ctx, token_dim]``; ``n_ctx`` may be 0.
        bank: The names.
        budget: Text tokens of one pass; None for the ``token_budget`` of the device.

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
            fix="use a smaller n_ctx or a shorter name",
        )
    lead = context.shape[:-2]
    flat = context.reshape(math.prod(lead), n_ctx, context.shape[-1])  # [contexts, n_ctx, token_dim]
    budget = budget or token_budget(flat.device)
    if isinstance(tower, CausalTextTower):
        chunks = flat.split(max(1, budget // (n_ctx + bank.tokens)))
        parts = [partial(_shared, tower, part, bank) for part in chunks]
        features = torch.cat(_passes(parts))
    else:
        features = _plain(tower, flat, bank, max(1, budget // (n_ctx + bank.longest)))
    return features.reshape(*lead, len(bank), features.shape[-1])


def _passes(parts: Sequence[Callable[[], Tensor]]) -> list[Tensor]:
    """The result of every part; if there are several, the activations of only one are in memory at a time."""
    if len(parts) == 1:
        return [parts[0]()]
    return [checkpoint(part, use_reentrant=False, preserve_rng_state=False) for part in parts]


def _plain(tower: TextTower, context: Tensor, bank: PromptBank, at_once: int) -> Tensor:
    """``at_once`` prompts in one pass: all names of several contexts, or a part of the names of one."""
    count = len(bank)
    names = [slice(start, start + at_once) for start in range(0, count, at_once)]
    chunks = context.split(max(1, at_once // count))
    parts = [partial(_prompts, tower, part, bank, some) for part in chunks for some in names]
    done = _passes(parts)
    rows = [torch.cat(done[start : start + len(names)], dim=1) for start in range(0, len(done), len(names))]
    return torch.cat(rows)


def _prompts(tower: TextTower, context: Tensor, bank: PromptBank, names: slice) -> Tensor:
    contexts, n_ctx, width = context.shape
    tokens = bank.embeddings[names]
    prompts = torch.cat(
        [context[:, None].expand(contexts, len(tokens), n_ctx, width), tokens[None].expand(contexts, *tokens.shape)],
        dim=2,
    )
    lengths = (n_ctx + bank.lengths[names]).repeat(contexts)
    features: Tensor = tower(prompts.flatten(0, 1), lengths)
    return features.unflatten(0, (contexts, len(tokens)))


def _shared(tower: CausalTextTower, context: Tensor, bank: PromptBank) -> Tensor:
    if tower.start is not None:
        context = torch.cat([tower.start.expand(len(context), -1, -1), context], dim=1)
    contexts, n_ctx, _ = context.shape
    device = context.device
    causal = torch.ones(n_ctx, n_ctx, dtype=torch.bool, device=device).tril()
    places = torch.arange(bank.longest, device=device)
    own = places[None] <= places[:, None]  # [query, key] within one name
    own_last = places[None] < bank.lengths[:, None]  # [names, key] for the pooled token
    x = tower.place(context, torch.arange(n_ctx, device=device).expand(contexts, n_ctx))  # [contexts, n_ctx, width]
    # The first block's input for the names does not depend on the context: one row serves all contexts until then.
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
        k: The context's keys ``[contexts, heads, n_ctx, head]``; the shape of ``v`` is the same.
        v: The context's values.
        kn: The names' own keys ``[contexts or 1, heads, names, longest, head]``; the shape of ``vn`` is the same.
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
