"""ProGrad against its formula: one replica's gradients, products and steps written out, with PyTorch's own SGD."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from sept_core.encoders.prefix import PromptBank
from sept_core.hyper import complete
from sept_core.learners import CoOp, get_learner
from sept_core.semantic import SEPT_HYPER, SemanticExpansion, load_neighbors, load_templates
from sept_core.training import FusedTraining, Schedule, train_epochs

NAMES = ["one", "two", "three"]
OTHERS = ["rooster", "a helicopter engine"]
FALLBACK = {"logit_scale": 10.0, "template": "This is a sound of {}."}
SEPT = {"n_neighbors": 2, "lambda_se": 3.0, "n_templates": 2}


def training(tower, method="prograd", sept=False, replicas=(0, 1), **options):
    learner = get_learner(method)
    fixed = {"n_ctx": 3, "lr": 0.05, "schedule": "constant", "prompt_end": "none"}
    hyper = complete(learner.hyper, fixed | options, "test", FALLBACK)
    semantic = None
    if sept:
        lists = load_neighbors("FSDD", protocol="cross-dataset")
        hyper_sept = complete(SEPT_HYPER, SEPT, "test")
        semantic = SemanticExpansion.of(tower, NAMES, lists, load_templates("speech"), hyper | hyper_sept)
    generator = torch.Generator().manual_seed(3)
    clips = F.normalize(torch.randn(24, tower.dim, dtype=torch.float64, generator=generator), dim=-1)
    return FusedTraining(
        learner=learner(tower, hyper, NAMES),
        classes=PromptBank.of(tower, NAMES),
        semantic=semantic,
        embeddings=clips,
        labels=torch.arange(24) % 3,
        rows=[list(range(9)) if replica == 0 else list(range(9, 24)) for replica in replicas],
        keys=[str(replica) for replica in replicas],
        schedule=Schedule.of(4, 4, hyper),
    )


def feature(tower, context, name):
    tokens = tower.tokenize([name])
    embedded = torch.cat([context, tower.embed(tokens.ids[0])])
    return tower(embedded[None], torch.tensor([len(embedded)]))[0]


def logits(audio, features):
    return torch.stack([10.0 * torch.stack([clip.dot(z / z.norm()) for z in features]) for clip in audio])


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("sept", [False, True])
def test_its_steps_are_those_of_the_published_formula(causal_tower, sept, strength):
    run = training(causal_tower, sept=sept, prograd_lambda=strength)
    contexts = [run.params["ctx"][replica].clone().requires_grad_() for replica in range(2)]
    optimisers = [torch.optim.SGD([context], lr=0.05, momentum=0.9) for context in contexts]
    hand = [causal_tower.encode([f"This is a sound of {name}."])[0] for name in NAMES]
    opposed = []
    for _ in range(3):
        orders = run._batches()
        run.train_epoch()
        for replica, batches in enumerate(orders):
            context = contexts[replica]
            for batch in batches:
                audio, labels = run._audio[batch], run._labels[batch]
                predicted = logits(audio, [feature(causal_tower, context, name) for name in NAMES]).log_softmax(-1)
                expected = logits(audio, hand).softmax(-1)
                domain = -torch.stack([row[label] for row, label in zip(predicted, labels, strict=True)]).mean()
                divergence = (expected * (expected.log() - predicted)).sum(-1).mean()
                (g_d,) = torch.autograd.grad(domain, context, retain_graph=True)
                (g_g,) = torch.autograd.grad(divergence, context, retain_graph=True)
                product = (g_d * g_g).sum()
                opposed.append(bool(product < 0))
                step = g_d - strength * product / (g_g * g_g).sum() * g_g if product < 0 else g_d
                if sept:
                    semantic = run._semantic
                    texts = torch.stack([feature(causal_tower, context, name) for name in semantic.bank.names])
                    added = semantic.weight * sum(part.sum() for part in semantic.hinges(texts[None]).losses())
                    step = step + torch.autograd.grad(added, context)[0]
                context.grad = step
                optimisers[replica].step()
    assert True in opposed
    assert False in opposed
    for replica, context in enumerate(contexts):
        torch.testing.assert_close(run.params["ctx"][replica], context.detach(), rtol=1e-7, atol=1e-9)


def test_it_predicts_as_coop_does(causal_tower):
    run = training(causal_tower)
    coop = CoOp(causal_tower, complete(CoOp.hyper, {"n_ctx": 3}, "test", FALLBACK), NAMES)
    audio = run._audio.expand(2, *run._audio.shape)
    for names, base in ((NAMES, True), (OTHERS, False)):
        bank = PromptBank.of(causal_tower, names)
        mine, other = (
            one.logits(run.params, audio, one.features(run.params, None, bank), names, base=base)
            for one in (run._learner, coop)
        )
        assert torch.equal(mine, other)


@pytest.mark.parametrize("sept", [False, True])
def test_a_lambda_of_zero_is_coop(causal_tower, sept):
    plain, coop = training(causal_tower, sept=sept, prograd_lambda=0.0), training(causal_tower, "coop", sept=sept)
    for _ in range(2):
        assert plain.train_epoch() == coop.train_epoch()
    torch.testing.assert_close(plain.params["ctx"], coop.params["ctx"], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", ["prograd", "prograd+zebra"])
@pytest.mark.parametrize("sept", [False, True])
def test_replicas_and_configurations_that_share_a_batch_end_where_each_ends_alone(causal_tower, method, sept):
    options = [{"prograd_lambda": 1.0}, {"prograd_lambda": 0.3, "lr": 0.1, "logit_scale": 20.0}]
    together = [training(causal_tower, method, sept, **own) for own in options]
    for epoch in range(3):
        train_epochs(together, [1] if epoch == 1 else [])
    for own, run in zip(options, together, strict=True):
        for replica in range(2):
            alone = training(causal_tower, method, sept, replicas=[replica], **own)
            for _ in range(3):
                alone.train_epoch()
            torch.testing.assert_close(run.params["ctx"][replica], alone.params["ctx"][0], rtol=1e-8, atol=1e-10)
    assert all(not torch.allclose(a.params["ctx"], b.params["ctx"]) for a, b in itertools.pairwise(together))


def test_a_context_that_predicts_what_the_hand_written_prompt_does_is_trained_as_coop(causal_tower):
    # The guide has no gradient there, so there is nothing to oppose, and no division by its length.
    run = training(causal_tower)
    run._learner.anchors = F.normalize(run._learner.features(run.params, None, run._classes), dim=-1)[0].detach()
    run.params["ctx"][1] = run.params["ctx"][0]
    run.train_epoch()
    assert run.params["ctx"].isfinite().all()
