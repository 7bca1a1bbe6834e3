from __future__ import annotations

import pytest
import torch

from sept_core.encoders.prefix import PromptBank
from sept_core.evaluation import Scores, harmonic_mean, score
from sept_core.learners import CoOp, Init


def test_harmonic_mean():
    assert harmonic_mean(50.0, 50.0) == 50.0
    assert harmonic_mean(80.0, 40.0) == pytest.approx(53.3333333)
    assert harmonic_mean(0.0, 0.0) == 0.0
    assert harmonic_mean(0.0, 90.0) == 0.0


def test_the_headline_is_the_mean_of_replicas_harmonic_means_and_not_that_of_means():
    summary = Scores((100.0, 50.0), (20.0, 50.0), [], []).summary()
    assert summary["h"] == pytest.approx((100 / 3 + 50) / 2)
    assert summary["h_of_means"] == pytest.approx(2 * 75 * 35 / 110)
    assert summary["base_std"] == pytest.approx(50 / 2**0.5)
    assert Scores((100.0,), (20.0,), [], []).summary()["h_std"] == 0.0


def test_clips_are_classified_among_their_own_half_only(causal_tower):
    """Every clip is put exactly on a class of its half; a rival of the other half that is as near must not matter."""
    learner = CoOp(causal_tower, {"n_ctx": 2, "logit_scale": 10.0}, ["rain", "dog bark", "one"])
    params = learner.init(Init(["a", "b"], torch.device("cpu"), torch.float64))
    base_bank = PromptBank.of(causal_tower, ["rain", "dog bark", "one"])
    new_bank = PromptBank.of(causal_tower, ["rain", "sea waves"])  # 'rain' is a name of both halves
    with torch.no_grad():
        base, new = (learner.features(params, None, bank)[0] for bank in (base_bank, new_bank))
    embeddings = torch.nn.functional.normalize(torch.cat([base, new]), dim=-1)
    labels = torch.tensor([0, 1, 0, 3, 4])  # the third clip lies on class 2 and is labelled 0: one error
    scores = score(
        learner, params, embeddings, labels,
        base_rows=[[0, 1, 2], [0]], new_rows=[[3, 4], [4]], base_bank=base_bank, new_bank=new_bank,
    )  # fmt: skip
    assert scores.base[0] == pytest.approx(200 / 3)
    assert scores.new[0] == 100.0
    assert scores.confusion_base[0][2] == 1
    assert sum(map(sum, scores.confusion_base)) == 4
    assert sum(map(sum, scores.confusion_new)) == 3
