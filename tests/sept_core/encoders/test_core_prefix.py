from __future__ import annotations

from functools import partial

import pytest
import torch
from plain_prompts import plain_prompts

from sept_core.encoders.mini import load_mini
from sept_core.encoders.prefix import PromptBank, encode_prompts
from sept_core.errors import InputError

NAMES = ["rain", "dog bark", "a puppy barking", "sea waves", "x", "the engine of a helicopter one two three"]


@pytest.mark.parametrize("n_ctx", [0, 1, 5])
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_shared_prefix_equals_the_plain_forward_in_values_and_gradients(causal_tower, n_ctx, lead):
    bank = PromptBank.of(causal_tower, NAMES)
    torch.manual_seed(n_ctx)
    context = torch.randn(*lead, n_ctx, causal_tower.token_dim, dtype=torch.float64)
    weights = torch.randn(*lead, len(NAMES), causal_tower.dim, dtype=torch.float64)
    outcomes = []
    for encode in (encode_prompts, partial(plain_prompts, tokens=48)):
        learned = context.clone().requires_grad_()
        features = encode(causal_tower, learned, bank)
        assert features.shape == (*lead, len(NAMES), causal_tower.dim)
        gradient = torch.autograd.grad((features * weights).sum(), learned)[0] if n_ctx else learned
        outcomes.append((features.detach(), gradient))
    for mine, plain in zip(*outcomes, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("tower", ["causal_tower", "bidirectional_tower"])
@pytest.mark.parametrize("budget", [1, 30, 100])
def test_a_budget_changes_neither_values_nor_gradients_and_bounds_every_pass(request, tower, budget, monkeypatch):
    tower = request.getfixturevalue(tower)
    bank = PromptBank.of(tower, NAMES)
    context = torch.randn(5, 3, tower.token_dim, dtype=torch.float64)
    weights = torch.randn(5, len(NAMES), tower.dim, dtype=torch.float64)
    widest = max(3 + bank.longest, 3 + bank.tokens if tower.causal else 0, budget)
    outcomes = []
    for tokens in (10**9, budget):
        seen = []
        watched = "readout" if tower.causal else "forward"
        plain = getattr(type(tower), watched)
        monkeypatch.setattr(tower, watched, lambda x, *rest: seen.append(x.shape) or plain(tower, x, *rest))  # noqa: B023
        learned = context.clone().requires_grad_()
        features = encode_prompts(tower, learned, bank, budget=tokens)
        outcomes.append((features.detach(), torch.autograd.grad((features * weights).sum(), learned)[0]))
        if tokens == budget:
            passes = [shape[0] * (3 + bank.tokens) if tower.causal else shape[0] * shape[1] for shape in seen]
            assert len(passes) > 2
            assert max(passes) <= widest
    for whole, parts in zip(*outcomes, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-11)


def test_cropping_equals_padding_for_a_bidirectional_tower(bidirectional_tower):
    bank = PromptBank.of(bidirectional_tower, NAMES)
    context = torch.randn(2, 3, bidirectional_tower.token_dim, dtype=torch.float64)
    padded = plain_prompts(bidirectional_tower, context, bank, tokens=48)
    torch.testing.assert_close(encode_prompts(bidirectional_tower, context, bank), padded, rtol=1e-9, atol=1e-11)


def test_a_context_of_real_words_gives_the_features_of_the_plain_text():
    tower = load_mini().text
    words, name = "this is a sound of", "dog bark"
    prefix, whole = tower.tokenize([words]).ids[0], tower.tokenize([f"{words} {name}"]).ids[0]
    bank = PromptBank.of(tower, [name])
    assert torch.equal(torch.cat([prefix, tower.tokenize([name]).ids[0]]), whole)
    assert torch.equal(tower.words(words), prefix)
    injected = encode_prompts(tower, tower.embed(prefix), bank)
    torch.testing.assert_close(injected, tower.encode([f"{words} {name}"]), rtol=1e-5, atol=1e-5)
    stopped = encode_prompts(tower, tower.embed(prefix), PromptBank.of(tower, [name], end="."))
    torch.testing.assert_close(stopped, tower.encode([f"{words} {name}."]), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(stopped, injected, atol=1e-2)


def test_the_order_and_company_of_names_do_not_matter(causal_tower):
    context = torch.randn(4, causal_tower.token_dim, dtype=torch.float64)
    together = encode_prompts(causal_tower, context, PromptBank.of(causal_tower, NAMES))
    for index, name in enumerate(NAMES):
        alone = encode_prompts(causal_tower, context, PromptBank.of(causal_tower, [name]))
        torch.testing.assert_close(together[index], alone[0], rtol=1e-9, atol=1e-11)


def test_a_prompt_longer_than_the_tower_is_refused_with_its_name(causal_tower):
    bank = PromptBank.of(causal_tower, ["rain", "x" * 20])
    context = torch.zeros(40, causal_tower.token_dim, dtype=torch.float64)
    with pytest.raises(InputError, match="xxxx.*exceed the tower's 48.*smaller n_ctx"):
        encode_prompts(causal_tower, context, bank)


def test_an_empty_list_of_names_is_refused(causal_tower):
    with pytest.raises(InputError, match="no names"):
        PromptBank.of(causal_tower, [])
