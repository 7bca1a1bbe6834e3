"""The TREFF adapter against its formula, clip by clip."""

from __future__ import annotations

import torch
from slow_training import (
    LABELS,
    NAMES,
    OTHERS,
    ROWS,
    assert_trains_as,
    clips,
    cross_entropy,
    learner_of,
    training_of,
    zero_shot_logits,
)

from sept_core.encoders.prefix import PromptBank

ALPHA, BETA = 1.5, 4.0
GIVEN = {"cache_alpha": ALPHA, "cache_beta": BETA}


def treff_logits(tower, weight, x, keys, labels):
    votes = [torch.zeros((), dtype=torch.float64) for _ in NAMES]
    for key, label in zip(keys, labels, strict=True):
        attention = torch.dot(weight @ x, weight @ key)
        votes[label] = votes[label] + torch.exp(-BETA + BETA * attention)
    return zero_shot_logits(tower, x) + ALPHA * torch.stack(votes)


def test_it_trains_as_its_formula_does(causal_tower):
    def loss(own, x, label, known):
        return cross_entropy(treff_logits(causal_tower, own["weight"], x, *known), label)

    trained = assert_trains_as(causal_tower, "treff", loss, lr=0.002, **GIVEN)
    learner, audio = learner_of(causal_tower, "treff", **GIVEN), clips(causal_tower)
    names = (*OTHERS, NAMES[1])
    text = learner.features(trained.params, None, PromptBank.of(causal_tower, names))
    logits = learner.logits(trained.params, audio[None].expand(2, -1, -1), text, names, base=False)
    for replica, rows in enumerate(ROWS):
        labels = [LABELS[row] for row in rows]
        for clip, x in enumerate(audio):
            known = treff_logits(causal_tower, trained.params["weight"][replica], x, audio[list(rows)], labels)
            others = zero_shot_logits(causal_tower, x, OTHERS)
            torch.testing.assert_close(logits[replica, clip], torch.cat([others, known[1:2]]))


def test_before_training_it_is_tip_adapter(causal_tower):
    audio, bank = clips(causal_tower)[None].expand(2, -1, -1), PromptBank.of(causal_tower, NAMES)

    def logits(name):
        learner, params = learner_of(causal_tower, name, **GIVEN), training_of(causal_tower, name, **GIVEN).params
        return learner.logits(params, audio, learner.features(params, None, bank), NAMES, base=True)

    torch.testing.assert_close(logits("treff"), logits("tip-adapter"))
