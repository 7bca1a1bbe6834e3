from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from trial_made import TRAINED, UNSEEN, suited

from sept_core.datasets import get_dataset, halves, make_split, prompt_name
from sept_core.encoders.prefix import PromptBank
from sept_core.evaluation import Group, GroupScores, evaluate, harmonic_mean, summarise
from sept_core.hyper import complete
from sept_core.learners import CoCoOp, CoOp, DePT, Init
from sept_core.results import TrialResult
from sept_core.semantic import load_neighbors
from sept_core.trial import TrialInputs, TrialRun, make_config


def test_harmonic_mean():
    assert harmonic_mean(50.0, 50.0) == 50.0
    assert harmonic_mean(80.0, 40.0) == pytest.approx(53.3333333)
    assert harmonic_mean(0.0, 0.0) == 0.0
    assert harmonic_mean(0.0, 90.0) == 0.0


def scores(accuracy):
    return GroupScores(accuracy, tuple(value / 2 for value in accuracy), [])


def test_the_headline_is_the_mean_of_replicas_harmonic_means_and_not_that_of_means():
    summary, rows = summarise({"base": scores((100.0, 50.0)), "new": scores((20.0, 50.0))})
    assert summary["h"] == pytest.approx((100 / 3 + 50) / 2)
    assert summary["h_of_means"] == pytest.approx(2 * 75 * 35 / 110)
    assert summary["base_std"] == pytest.approx(50 / 2**0.5)
    assert summary["new_f1"] == pytest.approx(17.5)
    assert [row["h"] for row in rows] == pytest.approx([100 / 3, 50])
    assert summarise({"base": scores((100.0,)), "new": scores((20.0,))})[0]["h_std"] == 0.0


def test_cross_dataset_averages_over_targets_and_has_no_harmonic_mean():
    summary, rows = summarise({"source": scores((90.0,)), "SESA": scores((50.0,)), "ESC10": scores((70.0,))})
    assert summary["targets"] == 60.0
    assert rows[0]["source"] == 90.0
    assert "h" not in summary


@pytest.mark.parametrize("baseline", [CoOp, CoCoOp])
def test_clips_are_classified_among_the_names_of_their_group_only(causal_tower, baseline):
    """Clips are put exactly on a class of their group; a rival of another group that is as near must not matter."""
    learner = baseline(causal_tower, {"n_ctx": 2, "logit_scale": 10.0}, ["rain", "dog bark", "one"])
    params = learner.init(Init(["a", "b"], torch.device("cpu"), torch.float64))
    for name in params:  # a meta-net that says nothing, so that features are the same for every clip
        if name.startswith("meta"):
            params[name].zero_()
    base_bank = PromptBank.of(causal_tower, ["rain", "dog bark", "one"])
    new_bank = PromptBank.of(causal_tower, ["rain", "sea waves"])  # 'rain' is a name of both
    nothing = torch.zeros(2, 1, causal_tower.dim, dtype=torch.float64)
    with torch.no_grad():
        base, new = (learner.features(params, nothing, bank)[0] for bank in (base_bank, new_bank))
    embeddings = torch.nn.functional.normalize(torch.cat([base.reshape(3, -1), new.reshape(2, -1)]), dim=-1)
    groups = {  # the third clip lies on class 2 and is labelled 0: one error
        "base": Group(base_bank, embeddings, torch.tensor([0, 1, 0, -1, -1]), [[0, 1, 2], [0]], trained=True),
        "new": Group(new_bank, embeddings, torch.tensor([-1, -1, -1, 0, 1]), [[3, 4], [4]], trained=False),
    }
    found = evaluate(learner, params, groups)
    assert found["base"].accuracy[0] == pytest.approx(200 / 3)
    assert found["new"].accuracy[0] == 100.0
    assert found["base"].confusion[0][2] == 1
    assert sum(map(sum, found["base"].confusion)) == 4
    assert sum(map(sum, found["new"].confusion)) == 3
    # F1 by hand: class 0: tp 1, fn 1 -> 2/3; class 1: 1; class 2: fp 1 -> 0
    assert found["base"].macro_f1[0] == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)


METHODS = [*UNSEEN, *(f"{name}+sept" for name in TRAINED)]


def subspace_feature(learner, basis, name, base):
    """SubT's feature of a name, with the basis as it is in the paper."""
    plain, known = (
        F.normalize(learner.tower.encode([learner.template.format(text) for text in texts]), dim=-1)
        for texts in ([name], base)
    )
    left, _, start = torch.linalg.svd(known, full_matrices=False)
    inside = plain[0] @ start.T
    return plain[0] + inside.norm().clamp(0, 1) * F.normalize(inside @ left.T @ basis, dim=0)


def probabilities(learner, params, clip, base, new):
    """Of every name for one clip, written out name by name; a name's prompt goes through the tower by itself."""
    tower = learner.tower

    def feature(name):
        if learner.name == "subt":
            return subspace_feature(learner, params["basis"], name, base)
        if "ctx" not in params:
            return tower.encode([learner.template.format(name)])[0]
        context = params["ctx"]
        if learner.name == "cocoop":
            hidden = (params["meta1.weight"] @ clip + params["meta1.bias"]).clamp_min(0)
            context = context + params["meta2.weight"] @ hidden + params["meta2.bias"]
        prompt = torch.cat([context, tower.embed(tower.tokenize([f" {name}."]).ids[0])])
        return tower(prompt[None], torch.tensor([len(prompt)]))[0] + params.get("bias", 0.0)

    cosines = torch.stack([F.cosine_similarity(clip, feature(name), dim=0) for name in (*base, *new)])
    similarities = learner.logit_scale * cosines
    if "keys" in params:
        weight = params.get("weight", torch.eye(len(clip), dtype=clip.dtype))
        for key, value in zip(params["keys"], params["values"], strict=True):
            vote = (learner.beta * (torch.dot(weight @ clip, weight @ key) - 1.0)).exp()
            similarities[: len(base)] += learner.alpha * vote * value
    by_similarity = similarities.softmax(0)
    if learner.name != "dept":
        return by_similarity
    head = params["head.weight"] @ (params["film_audio.scale"] * clip + params["film_audio.bias"]) + params["head.bias"]
    mixed = 0.3 * learner.logit_scale * cosines[: len(base)] + 0.7 * head
    share = by_similarity[: len(base)].sum()
    return torch.cat([share * mixed.softmax(0), by_similarity[len(base) :]])


@pytest.mark.parametrize("method", METHODS)
def test_all_is_a_brute_force_argmax_over_all_names(encoder, make_table, method):
    table, (base, new) = make_table("FSDD", 3), halves(get_dataset("FSDD").classnames)
    # One new class has no clips to test on; its name is among those that are ranked all the same.
    rows = [row for row in range(len(table)) if (table.folds[row], table.classnames[row]) != ("theo", new[1])]
    columns = ("clip_ids", "classnames", "folds", "groups", "sha256", "sounds")
    table = dataclasses.replace(
        table,
        embeddings=table.embeddings[rows],
        **{name: tuple(getattr(table, name)[row] for row in rows) for name in columns},
    )
    inputs = TrialInputs(encoder, table, load_neighbors("FSDD"))
    hyper = suited(method, {"n_ctx": 2, "lr": 0.1, "n_neighbors": 2})
    config = make_config(
        inputs, method, hyper, shots=2, folds=("theo", "lucas"), seeds=(0,), epochs=3, report_every=3, batch_size=4
    )
    run = TrialRun(config, inputs)
    run.advance()
    result = run.result()
    names = [*base, *new]
    spoken = [[prompt_name(name) for name in half] for half in (base, new)]
    for replica, fold in enumerate(config.folds):
        split = make_split(table, table.info, fold, 0, 2, ("george",))
        params = {name: value[replica] for name, value in run._trainings[0].params.items()}
        found = []
        for row in (*split.test_base, *split.test_new):
            given = probabilities(run._learners[0], params, table.embeddings[row].double(), *spoken)
            found.append((table.classnames[row], names[int(given.argmax())]))
        share = {
            "all": 100 * sum(a == b for a, b in found) / len(found),
            "all_base": 100 * sum(a == b for a, b in found if a in base) / len(split.test_base),
            "all_new": 100 * sum(a == b for a, b in found if a in new) / len(split.test_new),
        }
        share["all_h"] = harmonic_mean(share["all_base"], share["all_new"])
        f1 = [
            2 * found.count((name, name)) / max(1, sum((name == a) + (name == b) for a, b in found)) for name in names
        ]
        share["all_f1"] = 100 * sum(f1) / len(names)
        stored = {name: result.replicas[replica][f"test_{name}"] for name in share}
        assert stored == pytest.approx(share)
        assert result.replicas[replica]["test_all_base"] <= result.replicas[replica]["test_base"]
    assert result.test["all"] == pytest.approx(sum(row["test_all"] for row in result.replicas) / 2)
    assert {"all_std", "all_h_std", "all_base_std", "all_new_std", "all_f1"} <= set(result.test)
    # Nothing is chosen by it, so that it is not measured on the clips that choose.
    assert not any(name.startswith(("all", "val/all")) for name in (*result.validation, *result.curve[0].metrics))
    old = result.to_json()
    old["test"] = {name: value for name, value in old["test"].items() if not name.startswith("all")}
    assert TrialResult.from_json(old).test["h"] == result.test["h"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    clips=st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=2, max_size=12),
    seed=st.integers(0, 10**6),
    baseline=st.sampled_from([CoOp, CoCoOp, DePT]),
    coarse=st.booleans(),
)
def test_all_is_never_above_the_mean_of_base_and_new_weighted_by_clips(
    causal_tower, sizes, clips, seed, baseline, coarse
):
    words = ["rain", "dog", "sea", "crow", "one", "two", "three", "four"]
    banks = [PromptBank.of(causal_tower, some) for some in (words[: sizes[0]], words[4 : 4 + sizes[1]])]
    learner = baseline(
        causal_tower, complete(baseline.hyper, {"n_ctx": 2}, "", {"logit_scale": 5.0}), words[: sizes[0]]
    )
    torch.manual_seed(seed)
    params = learner.init(Init(["a"], torch.device("cpu"), torch.float64))
    params = {name: value + torch.randn_like(value) for name, value in params.items()}
    embeddings = torch.randn(len(clips), causal_tower.dim, dtype=torch.float64)
    # Clips that are exactly alike, and some without any direction, tie.
    embeddings = F.normalize(embeddings.round() if coarse else embeddings, dim=-1)
    halves_of = [[row for row, (is_base, _) in enumerate(clips) if is_base is half] or [0] for half in (True, False)]
    labels = [torch.tensor([label % size for _, label in clips]) for size in sizes]
    groups = {
        name: Group(banks[half], embeddings, labels[half], [halves_of[half]], trained=not half)
        for half, name in enumerate(("base", "new"))
    }
    plain, both = evaluate(learner, params, groups), evaluate(learner, params, groups, among_all=True)
    _, (row,) = summarise(both)
    for name in ("base", "new"):
        assert (plain[name].accuracy, plain[name].confusion) == (both[name].accuracy, both[name].confusion)
        assert row[f"all_{name}"] <= row[name] + 1e-9
    weights = [len(rows) for rows in halves_of]
    mean = (weights[0] * row["base"] + weights[1] * row["new"]) / sum(weights)
    assert row["all"] <= mean + 1e-9
    assert row["all_h"] <= row["h"] + 1e-9


def test_names_are_encoded_once_for_their_group_and_for_all(causal_tower, monkeypatch):
    learner = CoOp(causal_tower, {"n_ctx": 2, "logit_scale": 10.0}, ["rain", "dog bark"])
    params = learner.init(Init(["a", "b"], torch.device("cpu"), torch.float64))
    embeddings = F.normalize(torch.randn(4, causal_tower.dim, dtype=torch.float64), dim=-1)
    groups = {
        name: Group(PromptBank.of(causal_tower, names), embeddings, torch.tensor([0, 1, 0, 1]), [[0, 1], [2, 3]], base)
        for name, names, base in (("base", ["rain", "dog bark"], True), ("new", ["one", "two"], False))
    }
    encoded = []
    features = CoOp.features
    monkeypatch.setattr(
        CoOp, "features", lambda self, params, audio, bank: encoded.append(bank) or features(self, params, audio, bank)
    )
    evaluate(learner, params, groups, among_all=True)
    assert encoded == [groups["base"].bank, groups["new"].bank]
