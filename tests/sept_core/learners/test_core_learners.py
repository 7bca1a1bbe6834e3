"""Each baseline against its formula, written out for one replica and one clip."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn import functional as F

from sept_core.encoders.prefix import PromptBank
from sept_core.errors import InputError
from sept_core.hyper import complete
from sept_core.learners import LEARNERS, Init, TrainingClips, get_learner
from sept_core.methods import check_method
from sept_core.training import FusedTraining, Schedule

PAGE = Path(__file__).parents[3] / "docs" / "baseline.md"
NAMES = ["rain", "dog bark", "sea waves"]
OTHERS = ["rooster", "a helicopter engine"]
FALLBACK = {"logit_scale": 10.0, "template": "This is a sound of {}.", "texts": "events"}


@pytest.fixture
def problem(causal_tower):
    def make(name, **given):
        learner = LEARNERS[name](causal_tower, complete(LEARNERS[name].hyper, given, "test", FALLBACK), NAMES)
        params = learner.init(Init(["a", "b"], torch.device("cpu"), torch.float64))
        torch.manual_seed(5)
        params = {key: value + 0.1 * torch.randn_like(value) for key, value in params.items()}
        audio = F.normalize(torch.randn(2, 4, causal_tower.dim, dtype=torch.float64), dim=-1)
        labels = torch.tensor([[0, 1, 2, 1], [2, 2, 0, 1]])
        bank = PromptBank.of(causal_tower, NAMES)
        return learner, params, audio, labels, bank, PromptBank.of(causal_tower, OTHERS)

    return make


def prompt_feature(tower, context, name):
    """f_t([V][name]) by the tower's own forward."""
    tokens = tower.tokenize([name])
    embedded = torch.cat([context, tower.embed(tokens.ids[0])])
    return tower(embedded[None], torch.tensor([len(embedded)]))[0]


def cosines(audio, features):
    return torch.stack([torch.dot(audio, f / f.norm()) for f in features])


def test_coop_is_scaled_cosine_and_cross_entropy(problem, causal_tower):
    learner, params, audio, labels, bank, _ = problem("coop", n_ctx=3)
    text = learner.features(params, audio, bank)
    logits = learner.logits(params, audio, text, NAMES, base=True)
    loss = learner.loss(params, audio, labels, text)
    for r in range(2):
        z = [prompt_feature(causal_tower, params["ctx"][r], name) for name in NAMES]
        for b in range(4):
            expected = 10.0 * cosines(audio[r, b], z)
            torch.testing.assert_close(logits[r, b], expected)
            torch.testing.assert_close(loss[r, b], -expected.log_softmax(0)[labels[r, b]])


def test_cocoop_shifts_every_context_token_by_the_meta_nets_output_for_the_clip(problem, causal_tower):
    learner, params, audio, _, bank, _ = problem("cocoop", n_ctx=3)
    text = learner.features(params, audio, bank)
    logits = learner.logits(params, audio, text, NAMES, base=True)
    assert text.shape == (2, 4, 3, causal_tower.dim)
    for r in range(2):
        for b in range(4):
            hidden = (params["meta1.weight"][r] @ audio[r, b] + params["meta1.bias"][r]).clamp_min(0)
            shift = params["meta2.weight"][r] @ hidden + params["meta2.bias"][r]
            z = [prompt_feature(causal_tower, params["ctx"][r] + shift, name) for name in NAMES]
            torch.testing.assert_close(text[r, b], torch.stack(z))
            torch.testing.assert_close(logits[r, b], 10.0 * cosines(audio[r, b], z))


def test_kgcoop_adds_the_distance_to_the_hand_crafted_prompts(problem, causal_tower):
    learner, params, audio, _, bank, _ = problem("kgcoop", n_ctx=3, kg_weight=4.0)
    penalty = learner.penalty(params, learner.features(params, audio, bank))
    for r in range(2):
        z = [prompt_feature(causal_tower, params["ctx"][r], name) for name in NAMES]
        hand = causal_tower.encode([f"This is a sound of {name}." for name in NAMES])
        mean = sum(F.cosine_similarity(a, b, dim=0) for a, b in zip(z, hand, strict=True)) / 3
        torch.testing.assert_close(penalty[r], 4.0 * (1 - mean))


def test_dept_mixes_similarity_and_head_for_training_classes_and_uses_similarity_alone_for_others(problem):
    learner, params, audio, labels, bank, others = problem("dept", n_ctx=3, dept_weight=0.7)
    text = learner.features(params, audio, bank)
    unit = F.normalize(text, dim=-1)
    similarity = 10.0 * torch.einsum("rbd,rcd->rbc", audio, unit)

    def head(r, side, x):
        filmed = params[f"film_{side}.scale"][r] * x + params[f"film_{side}.bias"][r]
        return params["head.weight"][r] @ filmed + params["head.bias"][r]

    logits = learner.logits(params, audio, text, NAMES, base=True)
    loss = learner.loss(params, audio, labels, text)
    for r in range(2):
        for b in range(4):
            label = labels[r, b]
            by_audio = head(r, "audio", audio[r, b])
            torch.testing.assert_close(logits[r, b], 0.3 * similarity[r, b] + 0.7 * by_audio)
            entropies = [-x.log_softmax(0)[label] for x in (by_audio, head(r, "text", unit[r, label]))]
            expected = -0.3 * similarity[r, b].log_softmax(0)[label] + 0.7 * sum(entropies) / 2
            torch.testing.assert_close(loss[r, b], expected)
    unseen = learner.features(params, audio, others)
    by_similarity = 10.0 * torch.einsum("rbd,rcd->rbc", audio, F.normalize(unseen, dim=-1))
    torch.testing.assert_close(learner.logits(params, audio, unseen, OTHERS, base=False), by_similarity)


def test_depts_rank_among_all_names_does_not_hang_on_a_constant_that_its_loss_does_not_see(problem):
    learner, params, audio, labels, bank, others = problem("dept", n_ctx=3)
    moved = params | {"head.bias": params["head.bias"] + 7.0}

    def ranked(given):
        base, new = (learner.features(given, audio, names) for names in (bank, others))
        known = learner.logits(given, audio, base, NAMES, base=True) + learner.offset(given, audio, base)[..., None]
        loss = learner.loss(given, audio, labels, base)
        return loss, torch.cat([known, learner.logits(given, audio, new, OTHERS, base=False)], dim=-1)

    for mine, theirs in zip(ranked(params), ranked(moved), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_dept_teaches_film_and_head_faster_than_the_context(problem):
    learner, params, *_ = problem("dept", n_ctx=3)
    assert {name: learner.lr_factors.get(name, 1.0) for name in params} == {
        name: 1.0 if name == "ctx" else 6.5 for name in params
    }


@pytest.mark.parametrize("name", list(LEARNERS))
def test_a_replica_starts_the_same_whatever_it_is_trained_with(causal_tower, name):
    learner = LEARNERS[name](causal_tower, complete(LEARNERS[name].hyper, {}, "test", FALLBACK), NAMES)
    clips = F.normalize(torch.randn(6, causal_tower.dim, dtype=torch.float64), dim=-1)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    alone, together = (
        learner.init(Init(keys, torch.device("cpu"), torch.float64, TrainingClips.of(clips, labels, rows)))
        for keys, rows in ((["b"], [[0, 1, 2]]), (["a", "b"], [[3, 4, 5], [0, 1, 2]]))
    )
    for key in alone:
        assert torch.equal(alone[key][0], together[key][1])


def test_zero_shot_fills_its_template(problem, causal_tower):
    learner, params, audio, _, bank, _ = problem("zero-shot", template="the noise of {}")
    text = learner.features(params, audio, bank)
    torch.testing.assert_close(text[1], causal_tower.encode([f"the noise of {name}" for name in NAMES]))


def test_the_documented_example_trains_fused_and_takes_sept(causal_tower, monkeypatch):
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    module = {"__name__": "sept_core.learners.shift"}
    exec(compile(code, str(PAGE), "exec"), module)
    shift = module["Shift"]
    monkeypatch.setitem(LEARNERS, shift.name, shift)
    [space] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert set(yaml.safe_load(space)["space"]) <= {parameter.name for parameter in shift.hyper}
    bank = PromptBank.of(causal_tower, NAMES)
    embeddings = F.normalize(torch.randn(6, causal_tower.dim, dtype=torch.float64), dim=-1)
    labels, rows = torch.tensor([0, 1, 2, 0, 1, 2]), [[0, 1, 2, 3], [2, 3, 4, 5]]

    def train(chosen):
        training = FusedTraining(
            learner=shift(causal_tower, {"logit_scale": 10.0}, NAMES),
            classes=bank,
            semantic=None,
            embeddings=embeddings,
            labels=labels,
            rows=[rows[index] for index in chosen],
            keys=[str(index) for index in chosen],
            schedule=Schedule(epochs=20, batch_size=4, lr=0.1),
        )
        return training, [training.train_epoch()["total"] for _ in range(20)]

    fused, losses = train([0, 1])
    assert losses[-1] < losses[0]
    torch.testing.assert_close(fused.params["shift"][1], train([1])[0].params["shift"][0], rtol=1e-8, atol=1e-10)
    for protocol in ("base-to-new", "cross-dataset"):
        check_method("shift", protocol)
        check_method("shift+sept", protocol)


def test_an_unknown_baseline_is_refused_with_a_hint():
    with pytest.raises(InputError, match="unknown baseline 'kgcop'; did you mean 'kgcoop'"):
        get_learner("kgcop")
