"""Prompts encoded one by one and padded, as published code does it: what the faster ways must equal."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from sept_core.encoders import TextTower
from sept_core.encoders.prefix import PromptBank


def plain_prompts(tower: TextTower, context: Tensor, bank: PromptBank, tokens: int) -> Tensor:
    """Features ``[..., names, dim]`` behind contexts ``[..., n_ctx, token_dim]``, padded to ``tokens``."""
    n_ctx = context.shape[-2]
    features = []
    for one in context.reshape(math.prod(context.shape[:-2]), *context.shape[-2:]):
        prompts = torch.cat([one.expand(len(bank), *one.shape), bank.embeddings], dim=1)
        features.append(tower(F.pad(prompts, (0, 0, 0, tokens - prompts.shape[1])), n_ctx + bank.lengths))
    return torch.stack(features).reshape(*context.shape[:-2], len(bank), -1)
