"""Tip-Adapter and Tip-Adapter-F against their formula, clip by clip, and what a cache means to everything around it."""

from __future__ import annotations

import dataclasses

import pytest
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

from sept_core.encoders import load_encoder
from sept_core.encoders.prefix import PromptBank
from sept_core.errors import InputError
from sept_core.methods import check_method
from sept_core.prediction import Predictor
from sept_core.prompt import Prompt
from sept_core.trial import TrialInputs, TrialRun, make_config

GIVEN = {"cache_alpha": 2.0, "cache_beta": 3.0}


def cached_logits(tower, x, keys, labels, names=NAMES):
    votes = dict.fromkeys(names, 0.0)
    for key, label in zip(keys, labels, strict=True):
        if NAMES[label] in votes:
            votes[NAMES[label]] = votes[NAMES[label]] + torch.exp(-3.0 * (1.0 - torch.dot(x, key)))
    return zero_shot_logits(tower, x, names) + 2.0 * torch.stack([torch.as_tensor(votes[name]) for name in names])


@pytest.mark.parametrize("names", [NAMES, OTHERS, (NAMES[2], OTHERS[0], NAMES[0])])
def test_names_with_clips_have_their_votes_and_others_zero_shots_logit(causal_tower, names):
    params, audio = training_of(causal_tower, "tip-adapter", **GIVEN).params, clips(causal_tower)
    learner = learner_of(causal_tower, "tip-adapter", **GIVEN)
    text = learner.features(params, None, PromptBank.of(causal_tower, names))
    logits = learner.logits(params, audio[None].expand(2, -1, -1), text, names, base=names == NAMES)
    for replica, rows in enumerate(ROWS):
        labels = [LABELS[row] for row in rows]
        for clip, x in enumerate(audio):
            expected = cached_logits(causal_tower, x, audio[list(rows)], labels, names)
            torch.testing.assert_close(logits[replica, clip], expected)
            if names == OTHERS:
                torch.testing.assert_close(logits[replica, clip], zero_shot_logits(causal_tower, x, names))


def test_tip_adapter_f_trains_its_keys_as_its_formula_does(causal_tower):
    def loss(own, x, label, known):
        places = known[1].tolist()
        return cross_entropy(cached_logits(causal_tower, x, own["keys"][: len(places)], places), label)

    trained = assert_trains_as(causal_tower, "tip-adapter-f", loss, lr=0.1, **GIVEN)
    assert not trained.params["keys"][1, len(ROWS[1]) :].any()  # an empty place stays empty


@pytest.fixture
def inputs(encoder, make_table):
    return TrialInputs(encoder, make_table("FSDD", 4))


def finished(inputs, method, hyper=None, **options):
    settings = {"shots": 2, "folds": ("theo", "lucas"), "epochs": 2, "report_every": 1} | options
    run = TrialRun(make_config(inputs, method, hyper or {}, **settings), inputs)
    while not run.finished:
        run.advance()
    return run


@pytest.mark.parametrize("method", ["tip-adapter", "tip-adapter-f", "treff"])
@pytest.mark.parametrize("selection", ["heldout", "nested"])
def test_new_classes_have_zero_shots_accuracy(inputs, method, selection):
    hyper = {"cache_alpha": 20.0} | ({} if method == "tip-adapter" else {"lr": 0.001})
    ours = finished(inputs, method, hyper, selection=selection).result()
    zero_shot = finished(inputs, "zero-shot", selection=selection).result()
    assert ours.test["new"] == zero_shot.test["new"]
    assert ours.test["base"] > zero_shot.test["base"]
    # With the names of base classes before it, a new class has less often the highest logit.
    assert ours.test["all_new"] <= ours.test["new"]


def test_without_training_there_are_no_epochs_and_the_hyper_parameters_make_the_trial(inputs):
    one, other = (finished(inputs, "tip-adapter", {"cache_alpha": alpha}) for alpha in (0.0, 20.0))
    assert one.config.epochs == 0
    assert one.config.signature != other.config.signature
    assert one.result().test["base"] == finished(inputs, "zero-shot").result().test["base"]


@pytest.mark.parametrize("method", ["tip-adapter", "tip-adapter-f"])
def test_a_checkpoint_has_nothing_that_the_clips_give_again(inputs, method):
    run = finished(inputs, method)
    again = TrialRun(run.config, inputs, run.checkpoint())
    assert again.finished
    assert again.result().test == run.result().test
    assert {name for name, value in again.learned.items() if torch.equal(value, run.learned[name])} == {
        "keys",
        "values",
    }
    assert set(run.training.state().params) == ({"keys"} if method == "tip-adapter-f" else set())


@pytest.mark.parametrize("method", ["tip-adapter-f", "treff"])
def test_a_resumed_training_is_bit_equal_and_no_option_of_the_optimiser_moves_what_is_fixed(causal_tower, method):
    given = {"lr": 0.002, "warmup_epochs": 1, "weight_decay": 0.1}
    straight, stopped, again = (training_of(causal_tower, method, **given) for _ in range(3))
    start = {name: value.clone() for name, value in straight.params.items()}
    for epoch in range(4):
        straight.train_epoch()
        if epoch == 2:
            again.load_state(stopped.state())
        (again if epoch >= 2 else stopped).train_epoch()
    for name, value in straight.params.items():
        assert torch.equal(again.params[name], value)
        assert torch.equal(value, start[name]) == (name in straight._learner.fixed)


@pytest.mark.parametrize("method", ["tip-adapter", "treff"])
def test_an_exported_cache_names_any_classes(inputs, method):
    run = finished(inputs, method, {"cache_alpha": 20.0})
    prompt = exported(run, inputs)
    predictor, audio = Predictor(prompt, inputs.encoder), inputs.table.embeddings[:3]
    names = ["rooster", "zero", "one"]
    found = predictor.probabilities(audio, names)
    bank = PromptBank.of(inputs.encoder.text, names)
    learner, like = run._learners[-1], next(inputs.encoder.text.parameters())
    clips = audio.to(like)[None].expand(2, -1, -1)
    logits = learner.logits(run.learned, clips, learner.features(run.learned, None, bank), names, base=False)
    torch.testing.assert_close(found, logits.softmax(-1).mean(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda params: params.pop("keys"), "its parameters lack 'keys'"),
        (lambda params: params.update(keys=params["keys"][:, :-1]), "its parameter 'values' has shape"),
        (lambda params: params.update(keys=params["keys"][..., :-1]), "its parameter 'keys' has shape"),
        (lambda params: params.update(keys=params["keys"][..., 0]), "its parameter 'keys' has shape"),
    ],
)
def test_a_damaged_cache_is_refused_in_one_line(inputs, change, message):
    prompt = exported(finished(inputs, "tip-adapter"), inputs)
    params = dict(prompt.params)
    change(params)
    with pytest.raises(InputError, match=message):
        Predictor(dataclasses.replace(prompt, params=params), inputs.encoder)


def test_a_training_in_bfloat16_leaves_hand_written_prompts_in_full_precision(make_table):
    encoder = load_encoder("mini")
    table = dataclasses.replace(make_table("FSDD", 4, encoder.text.dim), encoder_fingerprint=encoder.fingerprint)
    inputs = TrialInputs(encoder, table)
    encoder.text.forget()
    folds = {"folds": ("theo", "nicolas")}
    exact = finished(inputs, "zero-shot", **folds).result()
    encoder.text.forget()
    finished(inputs, "tip-adapter-f", {"lr": 0.01}, precision="bfloat16", **folds)
    assert finished(inputs, "zero-shot", **folds).result().confusion == exact.confusion
    names = [f"A {name}." for name in NAMES]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = encoder.text.encode(names)
    encoder.text.forget()
    assert torch.equal(rounded, encoder.text.encode(names))


@pytest.mark.parametrize("method", ["tip-adapter", "tip-adapter-f", "treff"])
def test_sept_has_nothing_to_act_on(method):
    check_method(method, "base-to-new")
    with pytest.raises(InputError, match=f"'{method}' .*so SEPT has nothing to act on; use '{method}' alone"):
        check_method(f"{method}+sept", "base-to-new")


def exported(run, inputs):
    config = run.config
    card = {
        "baseline": config.baseline,
        "classes": {"all": list(inputs.table.info.classnames), "trained": list(run.tested.classes)},
        "encoder": {"fingerprint": inputs.encoder.fingerprint, "name": inputs.encoder.name},
        "hyper": config.hyper,
        "replicas": [{}, {}],
        "study": config.study_key,
    }
    return Prompt(card, run.learned)
