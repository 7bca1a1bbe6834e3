"""The linear probe against logistic regression with its gradient written out."""

from __future__ import annotations

import torch
from slow_training import LABELS, NAMES, ROWS, SCALE, assert_trains_as, clips, cross_entropy, learner_of, training_of

from sept_core.encoders.prefix import PromptBank


def probe_logits(own, x):
    return SCALE * torch.stack([torch.dot(w, x) + b for w, b in zip(own["weight"], own["bias"], strict=True)])


def test_it_trains_as_its_formula_does(causal_tower):
    def loss(own, x, label, known):
        return cross_entropy(probe_logits(own, x), label)

    trained = assert_trains_as(causal_tower, "linear-probe", loss, lr=0.02)
    learner, audio = learner_of(causal_tower, "linear-probe"), clips(causal_tower)[None].expand(2, -1, -1)
    text = learner.features(trained.params, None, PromptBank.of(causal_tower, NAMES))
    logits = learner.logits(trained.params, audio, text, NAMES, base=True)
    for replica in range(2):
        own = {name: value[replica] for name, value in trained.params.items()}
        for clip, x in enumerate(audio[replica]):
            torch.testing.assert_close(logits[replica, clip], probe_logits(own, x))


def test_it_ends_at_the_minimum_of_the_penalised_loss(causal_tower):
    """Where the gradient s (softmax - one-hot) x^T, mean over clips, plus the penalty's is zero."""
    run = training_of(causal_tower, "linear-probe", lr=0.02, schedule="constant", weight_decay=0.5)
    run._schedule = type(run._schedule)(4, 9, 0.02, cosine=False, weight_decay=0.5)  # all clips in a batch
    for _ in range(400):
        run.train_epoch()
    for replica, rows in enumerate(ROWS):
        x, y = clips(causal_tower)[list(rows)], torch.tensor([LABELS[row] for row in rows])
        weight, bias = run.params["weight"][replica], run.params["bias"][replica]
        wrong = (SCALE * (x @ weight.T + bias)).softmax(-1) - torch.nn.functional.one_hot(y, 3)
        torch.testing.assert_close(SCALE * wrong.T @ x / len(rows), -0.5 * weight, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(SCALE * wrong.mean(0), -0.5 * bias, rtol=1e-6, atol=1e-8)


def test_it_starts_from_zero_and_knows_nothing(causal_tower):
    run = training_of(causal_tower, "linear-probe")
    assert all(not value.any() for value in run.params.values())
