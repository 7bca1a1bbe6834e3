"""What every encoder promises (docs/encoder.md), whatever its architecture."""

from __future__ import annotations

import copy
import pickle
import re
from functools import partial

import pytest
import torch
from plain_prompts import plain_prompts
from torch import nn

from sept_core.encoders import Encoder, TextTower
from sept_core.encoders.prefix import PromptBank, encode_prompts
from sept_core.errors import InputError

CONTEXT, NAMES = "this is a sound of", ["dog bark", "rain", "sea waves crashing"]


def check_encoder(encoder: Encoder) -> None:
    """Name, scale and fingerprint."""
    assert re.fullmatch(r"[0-9a-f]{16}", encoder.fingerprint)
    assert encoder.logit_scale > 0
    check_frozen(encoder.text)


def check_frozen(tower: nn.Module) -> None:
    """In eval(), in float32, without gradients."""
    assert not any(module.training for module in tower.modules())
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    assert {parameter.dtype for parameter in tower.parameters()} == {torch.float32}


def check_text(tower: TextTower) -> None:
    """Tokens, features, padding, and a context in front of names."""
    texts = [f"{CONTEXT} {NAMES[0]}", *NAMES]
    tokens = tower.tokenize(texts)
    embeddings = tower.embed(tokens.ids)
    assert embeddings.shape == (*tokens.ids.shape, tower.token_dim)
    together = tower(embeddings, tokens.lengths)
    assert together.shape == (len(texts), tower.dim)
    for row, text in enumerate(texts):  # company and padding do not matter, nor what the padding contains
        torch.testing.assert_close(tower.encode([text])[0], together[row], rtol=1e-4, atol=1e-5)
        embeddings[row, tokens.lengths[row] :] = 10.0
    torch.testing.assert_close(tower(embeddings, tokens.lengths), together, rtol=1e-4, atol=1e-5)
    for refused in ("", " ".join(["rain"] * (tower.max_tokens + 1))):
        with pytest.raises(InputError, match="has no tokens|takes"):
            tower.tokenize([refused])
    too_long = torch.zeros(1, tower.max_tokens + 1, tower.token_dim)
    with pytest.raises(InputError, match="lower n_ctx"):
        tower(too_long, torch.tensor([3]))
    _check_context(tower)


def _check_context(tower: TextTower) -> None:
    for end in ("", "."):
        injected = encode_prompts(tower, tower.embed(tower.words(CONTEXT)), PromptBank.of(tower, NAMES, end=end))
        plain = tower.encode([f"{CONTEXT} {name}{end}" for name in NAMES])
        torch.testing.assert_close(injected, plain, rtol=1e-4, atol=1e-5)
    precise = copy.deepcopy(tower).double()
    bank = PromptBank.of(precise, NAMES)
    torch.manual_seed(2)
    for n_ctx in (0, 3):
        context = 0.1 * torch.randn(2, n_ctx, tower.token_dim, dtype=torch.float64)
        weights = torch.randn(2, len(NAMES), tower.dim, dtype=torch.float64)
        outcomes = []
        for encode in (encode_prompts, partial(plain_prompts, tokens=min(20, tower.max_tokens))):
            learned = context.clone().requires_grad_()
            features = encode(precise, learned, bank)
            gradient = torch.autograd.grad((features * weights).sum(), learned)[0] if n_ctx else learned
            outcomes.append((features.detach(), gradient.detach()))
        for mine, plain in zip(*outcomes, strict=True):
            torch.testing.assert_close(mine, plain, rtol=1e-8, atol=1e-9)
        if n_ctx:
            assert outcomes[0][1].abs().amax(dim=-1).min() > 0  # every context token matters


def check_audio(encoder: Encoder) -> None:
    """Windows of clips of any length, and unit-norm features of them."""
    tower = encoder.load_audio()
    check_frozen(tower)
    assert tower.dim == encoder.text.dim
    size = round(tower.seconds * tower.sample_rate)
    prepare = pickle.loads(pickle.dumps(tower.preparation()))
    generator = torch.Generator().manual_seed(1)
    clips = [torch.randn(length, generator=generator) for length in (size // 3, size, 2 * size + 7)]
    windows = torch.stack([prepare(clip) for clip in clips])
    assert windows.shape == (len(clips), size)
    assert torch.equal(windows, torch.stack([tower.prepare(clip) for clip in clips]))
    with torch.no_grad():
        features = tower(windows)
        assert features.shape == (len(clips), tower.dim)
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(len(clips)))
        torch.testing.assert_close(tower(windows[1:2])[0], features[1], rtol=1e-4, atol=1e-5)
