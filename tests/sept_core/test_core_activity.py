"""What a report says about how much SEPT acts: measured on the steps themselves, which it does not change."""

from __future__ import annotations

import itertools

import pytest
import torch
from trial_made import TRAINED, config, finish, numbers

from sept_core.clip_batch import ClipBatch
from sept_core.encoders.mini import load_mini
from sept_core.encoders.prefix import TOKEN_BUDGET
from sept_core.semantic import load_neighbors
from sept_core.semantic.activity import gradient_share
from sept_core.trial import TrialInputs, TrialRun

NAMES = ("sept/active_intra", "sept/active_inter", "sept/gradient")


@pytest.fixture
def inputs(encoder, make_table):
    return TrialInputs(encoder, make_table("FSDD", (3, 9, 4, 6, 5)), load_neighbors("FSDD"))


def shares(report):
    return [report.metrics[name] for name in NAMES]


def gradients(loss, params):
    found = torch.autograd.grad(loss, [*params.values()], retain_graph=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in found])


def by_hand(training):
    """The share of the gradients of the next epoch's first step, every replica on its own; the mean."""
    semantic, rates = training._semantic, []
    batches = [own[0] for own in training._batches()]
    clips = ClipBatch.of(training._audio, training._labels, batches, max(map(len, batches)))
    for replica in range(len(batches)):
        one = slice(replica, replica + 1)
        params = {name: value[one].clone().requires_grad_() for name, value in training.params.items()}
        audio, weights = clips.audio[one], clips.weights[one]
        text, both = training._text(params, audio, weights)
        loss = training._learner.loss(params, audio, clips.labels[one], text)
        base = (loss * weights).sum() + training._learner.penalty(params, text).sum()
        added = semantic.weight * sum(part.sum() for part in semantic.hinges(both).losses())
        of_sept, of_base = gradients(added, params), gradients(base, params)
        guide = training._learner.guide(params, audio, text)
        if guide is not None:
            # ProGrad: of the base loss, what takes part in the step.
            against = gradients((guide * weights).sum(), params)
            of_base = of_base - min(0.0, float(of_base @ against)) / float(against @ against) * against
        norms = [float(part.norm()) for part in (of_sept, of_base)]
        rates.append(100 * norms[0] / sum(norms))
    return sum(rates) / len(rates)


@pytest.mark.parametrize("baseline", TRAINED)
@pytest.mark.parametrize("at_once", [None, 3, 1])
def test_the_gradient_is_that_of_each_part_alone(inputs, baseline, at_once, monkeypatch):
    trial = config(inputs, baseline, shots=4)
    if at_once:  # chunks of one and a half replicas' tokens: one replica at a time; or even less, in parts
        monkeypatch.setitem(TOKEN_BUDGET, "cpu", at_once * TrialRun(trial, inputs).step_tokens // 8)
    run = TrialRun(trial, inputs)
    run.training.train_epoch()
    expected = by_hand(run.training)
    found = run.training.train_epoch(reported=True)
    assert 0 < expected < 100
    assert found["gradient"] == pytest.approx(expected, rel=1e-9)


def test_the_hinges_of_every_step_and_replica_count(inputs):
    run = TrialRun(config(inputs, shots=1, batch_size=64), inputs)  # one step an epoch
    features = run.training._text(run.training.params, torch.zeros(4, 0, 12), torch.zeros(4, 0))[1]
    hinges = run.training._semantic.hinges(features)
    intra = [float(value > 0) for value in hinges.intra.flatten()]
    own = {(at, at) for at in range(hinges.inter.shape[1])}
    pairs = [pair for pair in itertools.product(range(hinges.inter.shape[1]), repeat=2) if pair not in own]
    inter = [float(value > 0) for i, j in pairs for value in hinges.inter[:, i, j].flatten()]
    found = run.training.train_epoch(reported=True)
    assert found["active_intra"] == pytest.approx(100 * sum(intra) / len(intra))
    assert found["active_inter"] == pytest.approx(100 * sum(inter) / len(inter))
    assert sum(inter) > 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("baseline", TRAINED)
def test_measuring_changes_no_bit_of_the_training(inputs, make_table, baseline, precision):
    text = load_mini().text
    encoder = type(inputs.encoder)(**(vars(inputs.encoder) | {"text": text}))
    inputs = TrialInputs(encoder, make_table("FSDD", (3, 9, 4, 6, 5), text.dim), inputs.neighbors)
    trial = config(inputs, baseline, precision=precision, shots=4)
    with_it, without = (TrialRun(trial, inputs).training for _ in range(2))
    for _ in range(2):
        found, expected = with_it.train_epoch(reported=True), without.train_epoch()
        assert {name: found[name] for name in expected} == expected
        assert {f"sept/{name}" for name in found.keys() - expected.keys()} == set(NAMES)
    for name, value in without.params.items():
        assert torch.equal(with_it.params[name], value)
        assert torch.equal(with_it._momentum[name], without._momentum[name])


def test_every_report_of_a_trial_with_sept_has_the_three_and_none_without(inputs):
    assert all(set(NAMES) <= set(report.metrics) for report in finish(TrialRun(config(inputs), inputs)).curve)
    plain = finish(TrialRun(config(inputs, sept=False), inputs))
    assert not any(name.startswith("sept/") for report in plain.curve for name in report.metrics)


def test_a_resumed_trial_reports_the_same(inputs):
    trial = config(inputs, epochs=6)
    whole = finish(TrialRun(trial, inputs))
    run = TrialRun(trial, inputs)
    run.advance()
    assert numbers(finish(TrialRun(trial, inputs, run.checkpoint()))) == numbers(whole)


def test_lambda_zero_has_active_hinges_but_no_gradient(inputs):
    hyper = {"n_ctx": 3, "lr": 0.05, "n_neighbors": 2, "lambda_se": 0.0, "margin_mode": "none"}
    for report in finish(TrialRun(config(inputs, hyper=hyper), inputs)).curve:
        assert shares(report) == [100.0, 100.0, 0.0]


def test_margins_that_are_never_violated_leave_nothing(inputs):
    hyper = {"n_ctx": 3, "lr": 0.05, "n_neighbors": 2, "lambda_se": 94.0, "margin_mode": "constant",
             "margin_intra": 2.0, "margin_inter": 0.0}  # fmt: skip
    for report in finish(TrialRun(config(inputs, hyper=hyper), inputs)).curve:
        assert shares(report) == [0.0, 0.0, 0.0]
        assert report.metrics["loss/intra"] == report.metrics["loss/inter"] == 0.0


def test_the_share_of_gradients_without_a_norm_or_too_large_for_a_square():
    nothing, large = torch.zeros(1, 3), torch.full((1, 3), 1e30)
    assert gradient_share([nothing], [nothing]).tolist() == [0.0]
    assert gradient_share([large], [large]).tolist() == [100.0]
    assert gradient_share([large], [2 * large]).tolist() == [pytest.approx(50.0)]
