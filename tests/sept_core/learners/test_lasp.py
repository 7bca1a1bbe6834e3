"""LASP against its formula, written out name by name and template by template."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from sept_core.encoders.prefix import PromptBank
from sept_core.hyper import complete
from sept_core.learners import Init
from sept_core.learners.lasp import LASP, TEXTS

NAMES = ["rain", "dog bark", "sea waves"]
OTHERS = ["rooster", "a helicopter engine"]
FALLBACK = {"logit_scale": 10.0, "template": "This is a sound of {}."}


@pytest.fixture
def problem(causal_tower):
    def make(**given):
        learner = LASP(causal_tower, complete(LASP.hyper, {"n_ctx": 3} | given, "test", FALLBACK), NAMES)
        params = learner.init(Init(["a", "b"], torch.device("cpu"), torch.float64))
        torch.manual_seed(5)
        params = {key: (value + 0.1 * torch.randn_like(value)).requires_grad_() for key, value in params.items()}
        audio = F.normalize(torch.randn(2, 4, causal_tower.dim, dtype=torch.float64), dim=-1)
        return learner, params, audio, torch.tensor([[0, 1, 2, 1], [2, 2, 0, 1]])

    return make


def feature(tower, params, replica, name):
    tokens = tower.tokenize([name])
    embedded = torch.cat([params["ctx"][replica], tower.embed(tokens.ids[0])])
    return tower(embedded[None], torch.tensor([len(embedded)]))[0] + params["bias"][replica]


def cosines(one, others):
    return torch.stack([one.dot(other) / (one.norm() * other.norm()) for other in others])


def test_loss_gradient_and_logits_are_those_of_the_published_formula(problem, causal_tower):
    learner, params, audio, labels = problem(lasp_weight=4.0)
    text = learner.features(params, None, PromptBank.of(causal_tower, NAMES))
    found = learner.loss(params, audio, labels, text).mean(1) + learner.penalty(params, text)
    assert "This is a sound of {}." not in TEXTS
    templates = ["This is a sound of {}.", *TEXTS]
    expected = []
    for r in range(2):
        z = [feature(causal_tower, params, r, name) for name in NAMES]
        clips = [-(10 * cosines(audio[r, b], z)).log_softmax(0)[labels[r, b]] for b in range(4)]
        texts = []
        for template in templates:
            hand = [causal_tower.encode([template.format(name)])[0] for name in NAMES]
            texts += [-(10 * cosines(z[c], hand)).log_softmax(0)[c] for c in range(3)]
        expected.append(sum(clips) / 4 + 4.0 * sum(texts) / len(texts))
    torch.testing.assert_close(found, torch.stack(expected))
    values = list(params.values())
    for mine, slow in zip(
        torch.autograd.grad(found.sum(), values), torch.autograd.grad(sum(expected), values), strict=True
    ):
        torch.testing.assert_close(mine, slow, rtol=1e-8, atol=1e-10)
    for names, base in ((NAMES, True), (OTHERS, False)):
        text = learner.features(params, None, PromptBank.of(causal_tower, names))
        logits = learner.logits(params, audio, text, names, base=base)
        for r in range(2):
            z = [feature(causal_tower, params, r, name) for name in names]
            for b in range(4):
                torch.testing.assert_close(logits[r, b], 10 * cosines(audio[r, b], z))


def test_it_starts_as_coop_with_no_bias(causal_tower):
    learner = LASP(causal_tower, complete(LASP.hyper, {"n_ctx": 3}, "test", FALLBACK), NAMES)
    params = learner.init(Init(["a"], torch.device("cpu"), torch.float64))
    assert torch.equal(params["bias"], torch.zeros(1, causal_tower.dim, dtype=torch.float64))


def test_a_template_that_is_among_the_general_ones_counts_once(causal_tower):
    hyper = complete(LASP.hyper, {"n_ctx": 3, "template": TEXTS[1]}, "test", FALLBACK)
    assert len(LASP(causal_tower, hyper, NAMES).anchors) == len(TEXTS)
