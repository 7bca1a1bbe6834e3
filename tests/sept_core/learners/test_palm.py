"""PALM against its formula, class by class."""

from __future__ import annotations

import pytest
import torch
from slow_training import NAMES, OTHERS, SCALE, assert_trains_as, clips, cross_entropy, learner_of, training_of

from sept_core.encoders.prefix import PromptBank
from sept_core.errors import InputError
from sept_core.hyper import complete
from sept_core.learners import LEARNERS
from sept_core.methods import check_method
from sept_core.prediction import Predictor
from sept_core.prompt import Prompt
from sept_core.training import train_epochs


def palm_logits(tower, own, x):
    logits = []
    for row, name in enumerate(NAMES):
        plain = tower.encode([name])[0]
        gate = 1.0 / (1.0 + (-own["gates"][row]).exp())
        mixed = (1.0 - gate) * plain / plain.norm() + gate * own["vectors"][row]
        logits.append(SCALE * torch.dot(x, mixed) / mixed.norm())
    return torch.stack(logits)


def test_it_trains_as_its_formula_does(causal_tower):
    def loss(own, x, label, known):
        return cross_entropy(palm_logits(causal_tower, own, x), label)

    trained = assert_trains_as(causal_tower, "palm", loss, lr=0.5)
    learner, audio = learner_of(causal_tower, "palm"), clips(causal_tower)[None].expand(2, -1, -1)
    text = learner.features(trained.params, None, PromptBank.of(causal_tower, NAMES))
    logits = learner.logits(trained.params, audio, text, NAMES, base=True)
    for replica in range(2):
        own = {name: value[replica] for name, value in trained.params.items()}
        for clip, x in enumerate(audio[replica]):
            torch.testing.assert_close(logits[replica, clip], palm_logits(causal_tower, own, x))


def test_vectors_start_small_and_gates_between_a_half_and_their_value_at_one(causal_tower):
    start = training_of(causal_tower, "palm").params
    assert 0.01 < start["vectors"].std() < 0.04
    assert bool((start["gates"] >= 0).all() and (start["gates"] < 1).all())
    assert start["gates"].unique().numel() == start["gates"].numel()


@pytest.mark.parametrize("method", ["palm", "linear-probe"])
def test_it_names_its_training_classes_in_any_order_and_no_other(causal_tower, method):
    params = training_of(causal_tower, method).params
    learner, audio = learner_of(causal_tower, method), clips(causal_tower)[None].expand(2, -1, -1)

    def logits(names):
        text = learner.features(params, None, PromptBank.of(causal_tower, names))
        return learner.logits(params, audio, text, names, base=False)

    torch.testing.assert_close(logits([NAMES[2], NAMES[0]]), logits(NAMES)[..., [2, 0]])
    with pytest.raises(InputError, match=f"{method} cannot name 'rooster', a class that it was not trained on; give"):
        logits([NAMES[0], *OTHERS])


@pytest.mark.parametrize("method", ["palm", "linear-probe", "tip-adapter-f", "treff", "audio-free"])
def test_trials_that_share_batches_end_where_each_ends_alone(causal_tower, method):
    together, alone = (
        [training_of(causal_tower, method, lr=0.001), training_of(causal_tower, method, lr=0.002, logit_scale=20.0)]
        for _ in range(2)
    )
    for _ in range(3):
        train_epochs(together)
        for run in alone:
            run.train_epoch()
    for one, other in zip(together, alone, strict=True):
        for name, value in other.params.items():
            torch.testing.assert_close(one.params[name], value, rtol=1e-8, atol=1e-10)
    assert any(not torch.equal(value, together[1].params[name]) for name, value in together[0].params.items())


@pytest.mark.parametrize("method", ["tip-adapter-f", "treff"])
def test_trials_with_other_hand_written_prompts_share_none(causal_tower, method):
    one, other = (training_of(causal_tower, method, template=template) for template in ("A {}.", "The {}."))
    assert one.shape != other.shape


@pytest.mark.parametrize("method", ["palm", "linear-probe"])
def test_an_exported_one_ranks_its_training_classes_and_refuses_others(encoder, method):
    run = training_of(encoder.text, method, lr=0.02)
    run.train_epoch()
    hyper = complete(LEARNERS[method].hyper, {}, "test", {"logit_scale": SCALE})
    card = {
        "baseline": method,
        "classes": {"all": list(NAMES), "trained": list(NAMES)},
        "encoder": {"fingerprint": encoder.fingerprint, "name": encoder.name},
        "hyper": hyper,
        "replicas": [{}, {}],
        "study": "S",
    }
    predictor, audio = Predictor(Prompt(card, run.params), encoder), clips(encoder.text)
    learner = learner_of(encoder.text, method)
    text = learner.features(run.params, None, PromptBank.of(encoder.text, NAMES))
    logits = learner.logits(run.params, audio[None].expand(2, -1, -1), text, NAMES, base=True)
    for order in ([0, 1, 2], [2, 0, 1]):
        found = predictor.probabilities(audio, [NAMES[place] for place in order])
        torch.testing.assert_close(found, logits.softmax(-1).mean(0)[:, order])
    with pytest.raises(InputError, match=f"{method} cannot name 'rooster'"):
        predictor.probabilities(audio, [*NAMES, "rooster"])


@pytest.mark.parametrize("method", ["palm", "linear-probe"])
def test_protocols_with_new_classes_and_sept_refuse_it(method):
    for protocol in ("base-to-new", "cross-dataset"):
        with pytest.raises(InputError, match=f"'{method}' cannot name a class that it was not trained on"):
            check_method(method, protocol)
    with pytest.raises(InputError, match=f"'{method}'"):
        check_method(f"{method}+sept", "base-to-new")
