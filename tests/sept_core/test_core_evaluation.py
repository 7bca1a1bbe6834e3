from __future__ import annotations

import pytest
import torch

from sept_core.encoders.prefix import PromptBank
from sept_core.evaluation import Group, GroupScores, evaluate, harmonic_mean, summarise
from sept_core.learners import CoCoOp, CoOp, Init


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
