"""ZEBRA against its formula, on every baseline that it can be added to."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from trial_made import config, finish, suited

from sept_core.encoders.prefix import PromptBank
from sept_core.errors import InputError
from sept_core.hyper import complete
from sept_core.learners import LEARNERS, Init, Learner, TrainingClips, get_learner
from sept_core.methods import hyper_by_part, known_methods
from sept_core.semantic import load_neighbors
from sept_core.trial import TrialInputs, TrialRun

NAMES = ["rain", "dog bark", "sea waves"]
OTHERS = ["rooster", "a helicopter engine"]
FALLBACK = {"logit_scale": 10.0, "template": "This is a sound of {}.", "texts": "events"}
METHODS = [method for method in known_methods() if method.endswith("+zebra")]
SETTINGS = {"zebra_weight": 0.3, "zebra_entropy": 0.2}


@pytest.fixture
def problem(causal_tower):
    def make(method, **given):
        hyper = complete(get_learner(method).hyper, suited(method, {"n_ctx": 3}) | given, "test", FALLBACK)
        learner, plain = (get_learner(name)(causal_tower, hyper, NAMES) for name in (method, method.split("+")[0]))
        torch.manual_seed(5)
        clips = F.normalize(torch.randn(2, 6, causal_tower.dim, dtype=torch.float64), dim=-1)
        clips = TrainingClips(clips, torch.tensor([[0, 1, 2, 0, 1, 2]] * 2))
        params = learner.init(Init(["a", "b"], torch.device("cpu"), torch.float64, clips))
        params = {key: (value + 0.1 * torch.randn_like(value)).requires_grad_() for key, value in params.items()}
        audio = F.normalize(torch.randn(2, 4, causal_tower.dim, dtype=torch.float64), dim=-1)
        return learner, plain, params, audio, torch.tensor([[0, 1, 2, 1], [2, 2, 0, 1]])

    return make


def fused(tower, plain, params, audio, names, base):
    """The baseline's logits, and those of the hand-written prompts, clip by clip and name by name."""
    text = plain.features(params, audio if plain.conditional else None, PromptBank.of(tower, names))
    learned = plain.logits(params, audio, text, names, base=base)
    hand = [tower.encode([f"This is a sound of {name}."])[0] for name in names]
    rows = [
        torch.stack([torch.stack([10.0 * clip.dot(z) / z.norm() for z in hand]) for clip in clips]) for clips in audio
    ]
    return text, 0.7 * learned + 0.3 * torch.stack(rows)


@pytest.mark.parametrize("method", METHODS)
def test_logits_are_fused_for_training_classes_and_for_others(problem, causal_tower, method):
    learner, plain, params, audio, _ = problem(method, **SETTINGS)
    for names, base in ((NAMES, True), (OTHERS, False)):
        text, expected = fused(causal_tower, plain, params, audio, names, base)
        torch.testing.assert_close(learner.logits(params, audio, text, names, base=base), expected)


@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradient_are_cross_entropy_and_entropy_of_the_fused_logits(problem, causal_tower, method):
    learner, plain, params, audio, labels = problem(method, **SETTINGS)
    text, logits = fused(causal_tower, plain, params, audio, NAMES, True)
    found = learner.loss(params, audio, labels, text) + learner.penalty(params, text)[:, None]
    expected = []
    for r in range(2):
        for b in range(4):
            chances = logits[r, b].softmax(0)
            loss = -chances[labels[r, b]].log()
            if type(plain).loss is not Learner.loss:  # as DePT's, which is not the cross-entropy of its logits
                loss = plain.loss(params, audio, labels, text)[r, b]
            expected.append(loss - 0.2 * -sum(chance * chance.log() for chance in chances))
    expected = torch.stack(expected).view(2, 4) + plain.penalty(params, text)[:, None]
    torch.testing.assert_close(found, expected)
    values = list(params.values())
    gradients = (
        torch.autograd.grad(of.sum(), values, allow_unused=True, retain_graph=True) for of in (found, expected)
    )
    for mine, slow in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, slow, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_without_fusion_and_entropy_it_is_the_baseline(problem, causal_tower, method):
    learner, plain, params, audio, labels = problem(method, zebra_weight=0.0, zebra_entropy=0.0)
    text = plain.features(params, audio if plain.conditional else None, PromptBank.of(causal_tower, NAMES))
    for call in ("loss", "offset"):
        given = (params, audio, labels, text) if call == "loss" else (params, audio, text)
        mine, theirs = (getattr(one, call)(*given) for one in (learner, plain))
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_training_classes_have_the_total_probability_of_the_fused_similarity_among_all_names(problem, causal_tower):
    learner, plain, params, audio, _ = problem("dept+zebra", **SETTINGS)
    text, as_others = fused(causal_tower, plain, params, audio, NAMES, False)
    known = learner.logits(params, audio, text, NAMES, base=True) + learner.offset(params, audio, text)[..., None]
    torch.testing.assert_close(known.logsumexp(-1), as_others.logsumexp(-1))


@pytest.mark.parametrize(
    ("baseline", "sept"),
    [(method, sept) for method in METHODS for sept in (False, True) if get_learner(method).learns_text or not sept],
)
def test_replicas_train_as_if_alone_with_and_without_sept(encoder, make_table, baseline, sept):
    inputs = TrialInputs(encoder, make_table("FSDD", (3, 9, 4, 6, 5)), load_neighbors("FSDD"))
    fused_run = TrialRun(config(inputs, baseline, sept, shots=4), inputs)
    finish(fused_run)
    for place, fold in enumerate(("theo", "lucas")):
        alone = TrialRun(config(inputs, baseline, sept, shots=4, folds=(fold,), seeds=(1,)), inputs)
        finish(alone)
        at = [(one["fold"], one["seed"]) for one in fused_run.result().replicas].index((fold, 1))
        assert place == at // 2
        for name, value in fused_run.training.params.items():
            torch.testing.assert_close(value[at], alone.training.params[name][0], rtol=1e-8, atol=1e-10)


def test_its_entropy_reads_training_clips_even_if_the_baseline_reads_none():
    assert not get_learner("audio-free").reads_clips
    assert get_learner("audio-free+zebra").reads_clips


def test_sept_acts_on_the_features_of_the_baseline(problem, causal_tower):
    learner, plain, params, audio, _ = problem("coop+zebra")
    bank = PromptBank.of(causal_tower, [*NAMES, *OTHERS])
    assert torch.equal(learner.features(params, audio, bank), plain.features(params, audio, bank))


def test_its_hyper_parameters_are_a_part_of_their_own(encoder, make_table):
    parts = hyper_by_part("kgcoop+zebra+sept")
    assert list(parts) == ["kgcoop", "zebra", "sept"]
    assert parts["kgcoop"].keys() == {one.name for one in LEARNERS["kgcoop"].hyper}
    assert parts["zebra"].keys() >= SETTINGS.keys()
    inputs = TrialInputs(encoder, make_table("FSDD"), load_neighbors("FSDD"))
    with pytest.raises(InputError, match="zebra_weight: 1.5"):
        config(inputs, "coop+zebra", False, hyper={"zebra_weight": 1.5})
