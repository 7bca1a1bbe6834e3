"""What a trial occupies: as the spec says, or by the size of its study."""

from __future__ import annotations

from functools import partial

import pytest
from tiny_inputs import provide
from tiny_sweep import make_spec

from pipeline.search.sizing import few_replicas, gpu_share, largest, middle, step_tokens, trial_config, trial_needs
from pipeline.search.tune import gpu_count, worker_count
from pipeline.spec import Resources, StudyInputs
from sept_core.encoders.prefix import TOKEN_BUDGET
from sept_core.errors import InputError
from sept_core.trial import TrialInputs, TrialRun

LOAD = partial(provide, "")


def never(_: StudyInputs) -> TrialInputs:
    raise AssertionError("inputs were loaded")


def test_the_largest_trial_has_the_longest_context_and_the_most_neighbours() -> None:
    study = make_spec().studies()[2]
    assert largest(study) == {
        "lambda_se": 100.0, "lr": 5.0, "margin_inter": 1.5, "margin_intra": 1.5, "n_ctx": 2, "n_neighbors": 3
    }  # fmt: skip


def test_the_middle_trial_lies_in_the_middle_of_each_scale() -> None:
    space = {
        "coop": {"n_ctx": {"choices": [2, 4, 8, 16]}, "lr": {"low": 0.01, "high": 1.0, "log": True}},
        "sept": {
            "n_neighbors": {"low": 1, "high": 3},
            "margin_mode": {"choices": ["handcrafted", "none"]},
            "margin_intra": {"low": 0.0, "high": 1.0, "step": 0.4},
            "lambda_se": {"fixed": 1.0},
            "margin_inter": {"low": 0.0, "high": 3.0},
        },
    }
    study = make_spec(spaces=space).studies()[2]
    assert middle(study) == {
        "lr": pytest.approx(0.1), "margin_inter": 1.5, "margin_intra": pytest.approx(0.4), "margin_mode": "handcrafted",
        "n_ctx": 8, "n_neighbors": 2,
    }  # fmt: skip


def test_a_few_replicas_are_folds_first_and_never_more_than_asked_for() -> None:
    study = make_spec().studies()[2]
    config = trial_config(make_spec(), study, LOAD(study.inputs), largest(study))
    config = config.model_copy(update={"folds": ("a", "b"), "seeds": (0, 1, 2)})
    few = [few_replicas(config, count) for count in range(1, 8)]
    assert [(len(one.folds), len(one.seeds)) for one in few] == [(1, 1), (2, 1), (2, 1), (2, 2), (2, 2), (2, 3), (2, 3)]
    assert {one.hyper["margin_mode"] for one in few} == {"constant"}


def test_a_trial_that_fills_a_pass_has_a_gpu_to_itself_and_four_small_ones_share_one() -> None:
    budget = TOKEN_BUDGET["cuda"]
    assert [gpu_share(tokens) for tokens in (1, budget // 4, budget // 4 + 1, budget // 2, budget, 10 * budget)] == [
        0.25, 0.25, 0.5, 0.5, 1.0, 1.0
    ]  # fmt: skip


def test_auto_is_no_gpu_where_there_is_none_and_a_share_by_size_where_there_is_one() -> None:
    spec = make_spec(resources={"gpus_per_trial": "auto", "cpus_per_trial": 2})
    assert set(trial_needs(spec, 0, never).values()) == {(2.0, 0.0)}
    assert set(trial_needs(spec, 1, LOAD).values()) == {(2.0, 0.25)}


def test_what_the_spec_says_is_taken_without_looking_at_anything() -> None:
    own = {"coop": {"gpus_per_trial": "1/2"}, "coop+sept": {"cpus_per_trial": 3}}
    needs = trial_needs(make_spec(resources={"gpus_per_trial": 1, "by_method": own}), 4, never)
    assert list(needs.values()) == [(1, 1), (1, 0.5), (3, 0.5)]


@pytest.mark.parametrize(("index", "banks"), [(1, 1), (2, 4)])
def test_step_tokens_grow_with_replicas_and_neighbours(index: int, banks: int) -> None:
    spec = make_spec()
    study = spec.studies()[index]
    inputs = LOAD(study.inputs)
    one = TrialRun(trial_config(spec, study, inputs, largest(study)), inputs).step_tokens
    wider = trial_config(make_spec(seeds=[0, 1, 2]), study, inputs, largest(study))
    assert TrialRun(wider, inputs).step_tokens == step_tokens(wider, inputs) == 3 * one
    # Five base classes, each with as many neighbours as asked for; a name has at least a token.
    assert one >= 2 + 5 * banks


class TestRoom:
    """What a cluster holds, or is trusted to grow to."""

    def room(self, monkeypatch: pytest.MonkeyPatch, cpus: float, gpus: float) -> None:
        monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": cpus, "GPU": gpus})

    def test_as_many_as_fit_unless_fewer_are_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room(monkeypatch, 8, 2)
        needs = {"small": (1.0, 0.25), "large": (4.0, 1.0)}
        assert worker_count(needs, Resources(), "auto") == 8
        assert worker_count(needs, Resources(workers=3), "local") == 3
        assert worker_count({"large": (4.0, 1.0)}, Resources(), "auto") == 2

    def test_a_cluster_that_has_no_gpu_yet_is_given_its_word(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room(monkeypatch, 0, 0)
        needs = {"large": (4.0, 1.0)}
        assert gpu_count(Resources(gpus=4), "auto") == 4
        # Whoever says how many GPUs come need not say how many CPUs come with them.
        assert worker_count(needs, Resources(gpus=4), "auto") == 4
        assert worker_count(needs, Resources(workers=2, gpus=4), "auto") == 2
        assert worker_count(needs, Resources(cpus=8, gpus=4), "auto") == 2
        with pytest.raises(InputError, match="it needs 4 CPUs and 1 GPUs, the cluster has 0 and 0; lower .*--gpus N"):
            worker_count(needs, Resources(workers=16), "auto")
        with pytest.raises(InputError, match="it needs 4 CPUs and 0 GPUs, the cluster has 0 and 4"):
            worker_count({"large": (4.0, 0.0)}, Resources(gpus=4), "auto")

    def test_what_has_to_wait_is_said(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        self.room(monkeypatch, 4, 0)
        needs = {"fits": (1.0, 0.0), "waits": (1.0, 1.0)}
        worker_count(needs, Resources(gpus=2), "auto")
        assert "trials of waits wait until the cluster has grown: it now has 4 CPUs and 0 GPUs" in caplog.text

    def test_a_private_one_does_not_grow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room(monkeypatch, 2, 0)
        with pytest.raises(InputError, match="it needs 4 CPUs"):
            worker_count({"large": (4.0, 0.0)}, Resources(workers=2), "local")
        assert gpu_count(Resources(gpus=4), "local") == 0
