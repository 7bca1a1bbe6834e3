"""Audio-free prompt tuning against its formula, text by text."""

from __future__ import annotations

import pytest
import torch
from slow_training import NAMES, OTHERS, SCALE, assert_trains_as, clips, cross_entropy, learner_of, training_of

from sept_core.encoders.prefix import PromptBank
from sept_core.errors import InputError
from sept_core.methods import check_method
from sept_core.semantic import load_templates
from sept_core.trial import TrialInputs, TrialRun, make_config

TEXTS = 3
GIVEN = {"n_ctx": 2, "n_texts": TEXTS}


def prompt_feature(tower, context, name):
    """f_t([V][name] and a full stop) by the tower's own forward."""
    embedded = torch.cat([context, tower.embed(tower.tokenize([f" {name}."]).ids[0])])
    return tower(embedded[None], torch.tensor([len(embedded)]))[0]


def logits_of(tower, context, x, names):
    learned = [prompt_feature(tower, context, name) for name in names]
    return torch.stack([SCALE * torch.dot(x, z) / z.norm() for z in learned])


def test_it_trains_as_its_formula_does_on_texts_alone(causal_tower):
    def loss(own, x, label, known):
        losses = []
        for place, name in enumerate(NAMES):
            for template in load_templates("events")[:TEXTS]:
                text = causal_tower.encode([template.replace("{}", name)])[0]
                losses.append(cross_entropy(logits_of(causal_tower, own["ctx"], text / text.norm(), NAMES), place))
        return sum(losses) / len(losses)

    trained = assert_trains_as(causal_tower, "audio-free", loss, lr=0.05, **GIVEN)
    learner, audio = learner_of(causal_tower, "audio-free", **GIVEN), clips(causal_tower)
    bank = PromptBank.of(causal_tower, OTHERS, end=".")
    text = learner.features(trained.params, None, bank)
    logits = learner.logits(trained.params, audio[None].expand(2, -1, -1), text, OTHERS, base=False)
    for replica in range(2):
        for clip, x in enumerate(audio):
            expected = logits_of(causal_tower, trained.params["ctx"][replica], x, OTHERS)
            torch.testing.assert_close(logits[replica, clip], expected)


def test_other_clips_teach_the_same(causal_tower):
    one, other = (
        training_of(causal_tower, "audio-free", audio=audio, lr=0.05, **GIVEN)
        for audio in (None, clips(causal_tower).flip(0))
    )
    for _ in range(2):
        one.train_epoch()
        other.train_epoch()
    assert torch.equal(one.params["ctx"], other.params["ctx"])


@pytest.fixture
def inputs(encoder, make_table):
    return TrialInputs(encoder, make_table("FSDD", 4))


def test_the_texts_are_those_of_the_data_sets_kind_and_part_of_the_signature(inputs, monkeypatch):
    options = {"shots": 2, "folds": ("theo",), "epochs": 1, "report_every": 1}
    own, named, other = (
        make_config(inputs, "audio-free", given, **options) for given in ({}, {"texts": "speech"}, {"texts": "events"})
    )
    assert own.hyper["texts"] == "speech"
    assert own.signature == named.signature != other.signature
    assert make_config(inputs, "coop", {}, **options).templates_digest is None
    TrialRun(own, inputs)
    # Another release has other templates: a trial of this one does not go on there.
    monkeypatch.setattr("sept_core.trial_inputs.templates_digest", lambda kind: "0123456789abcdef")
    with pytest.raises(InputError, match="the trial was made for templates_digest"):
        TrialRun(own, inputs)


def test_it_takes_sept_and_no_unknown_kind(inputs):
    check_method("audio-free+sept", "base-to-new")
    with pytest.raises(InputError, match="'muzak' is not one of events, instruments"):
        make_config(inputs, "audio-free", {"texts": "muzak"}, shots=2)
