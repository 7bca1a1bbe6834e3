"""Configurations that train in common batches end where each ends alone."""

from __future__ import annotations

import itertools

import pytest
import torch
from trial_made import suited

from sept_core.batched_trials import advance_together
from sept_core.encoders.prefix import TOKEN_BUDGET
from sept_core.learners import LEARNERS
from sept_core.semantic import load_neighbors
from sept_core.training import NonFiniteError, train_epochs
from sept_core.trial import TrialInputs, TrialRun, make_config

METHODS = [
    name + sept
    for name, learner in LEARNERS.items()
    for sept in ("", "+sept")
    if learner.trainable and learner.unseen and (learner.learns_text or not sept)
]
# In float64, as everywhere in these tests: another order of a sum, nothing else.
TOLERANCE = {"rtol": 1e-8, "atol": 1e-10}
GRID = (
    {"lr": 0.05},
    {"lr": 0.01, "lambda_se": 5.0, "margin_intra": 0.5, "margin_inter": 1.5, "logit_scale": 20.0},
    {"lr": 0.03, "margin_mode": "constant", "weight_decay": 0.01, "warmup_epochs": 1, "last_batch": "drop"},
    {"lr": 0.02, "kg_weight": 2.0, "template": "A {}.", "dept_weight": 0.2, "n_templates": 1, "schedule": "constant"},
)


@pytest.fixture
def inputs(encoder, make_table):
    # Batches of unequal size: one configuration drops the last.
    return TrialInputs(encoder, make_table("FSDD", (3, 9, 4, 6, 5)), load_neighbors("FSDD"))


def runs_of(inputs, method="coop+sept", grid=GRID, **changes):
    common = {"n_ctx": 3, "n_neighbors": 2}
    options = {"shots": 4, "folds": ("theo", "lucas"), "epochs": 3, "report_every": 2, "batch_size": 8} | changes
    configs = [make_config(inputs, method, suited(method, common | own), **options) for own in grid]
    return [TrialRun(config, inputs) for config in configs]


def alone(run):
    while not run.finished:
        run.advance()
    return run


def together(runs):
    while going := [run for run in runs if not run.finished]:
        advance_together(going)
    return runs


def assert_same(run, expected):
    assert run.config.signature == expected.config.signature
    for name, value in expected.training.params.items():
        torch.testing.assert_close(run.training.params[name], value, **TOLERANCE)
    assert [report.epoch for report in run.curve] == [report.epoch for report in expected.curve]
    for report, other in zip(run.curve, expected.curve, strict=True):
        assert report.metrics == pytest.approx(other.metrics, rel=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_each_configuration_ends_where_it_ends_alone(inputs, method):
    expected = [alone(run) for run in runs_of(inputs, method)]
    found = together(runs_of(inputs, method))
    learned = [torch.cat([value.flatten() for value in run.training.state().params.values()]) for run in expected]
    assert all(not torch.allclose(one, other) for one, other in itertools.pairwise(learned))
    for run, other in zip(found, expected, strict=True):
        assert_same(run, other)


@pytest.mark.parametrize("tower", ["causal_tower", "bidirectional_tower"])
def test_a_budget_cuts_through_configurations(request, inputs, tower, monkeypatch):
    encoder = inputs.encoder
    inputs = TrialInputs(type(encoder)(**(vars(encoder) | {"text": request.getfixturevalue(tower)})), inputs.table,
                         inputs.neighbors)  # fmt: skip
    expected = [alone(run) for run in runs_of(inputs)]
    for replicas in (1, 3):  # of 8: chunks end in the middle of a configuration
        monkeypatch.setitem(TOKEN_BUDGET, "cpu", replicas * expected[0].step_tokens // 2)
        found = runs_of(inputs)
        for run, other in zip(together(found), expected, strict=True):
            assert_same(run, other)


def test_shapes_lengths_and_reports_may_differ(inputs):
    def grid():
        return [
            *runs_of(inputs, grid=GRID[:2]),
            *runs_of(inputs, grid=GRID[:2], epochs=5, report_every=3),
            *runs_of(inputs, grid=[{"n_ctx": 2}, {"n_ctx": 2, "lr": 0.01}]),
            *runs_of(inputs, "kgcoop", grid=GRID[:1], seeds=(0, 1)),
            *runs_of(inputs, "zero-shot", grid=[{}]),
        ]

    for run, other in zip(together(grid()), [alone(run) for run in grid()], strict=True):
        assert_same(run, other)


def test_a_nested_selection_trains_twice(inputs):
    grid = {"selection": "nested", "grid": GRID[:3]}
    for run, other in zip(
        together(runs_of(inputs, **grid)), [alone(run) for run in runs_of(inputs, **grid)], strict=True
    ):
        assert_same(run, other)
        assert run.result().test == other.result().test


def test_one_that_diverges_ends_and_leaves_the_others_as_they_are(inputs):
    runs, expected = runs_of(inputs, grid=GRID[:3]), runs_of(inputs, grid=GRID[:3])
    runs[1].training.params["ctx"][1] = float("nan")
    outcomes = advance_together(runs)
    assert isinstance(outcomes[1], NonFiniteError)
    assert "not finite at epoch 1" in str(outcomes[1])
    together([runs[0], runs[2]])
    for index in (0, 2):
        assert_same(runs[index], alone(expected[index]))


def test_one_run_is_bit_equal_to_advance_and_seconds_are_shared(inputs):
    (one,), (other,) = runs_of(inputs, grid=GRID[:1]), runs_of(inputs, grid=GRID[:1])
    (found,) = advance_together([one])
    assert found == other.advance()
    assert torch.equal(one.training.params["ctx"], other.training.params["ctx"])
    assert found.time_s > 0


def test_trainings_of_different_shapes_are_refused(inputs):
    runs = runs_of(inputs, grid=[{"n_ctx": 2}, {"n_ctx": 3}])
    with pytest.raises(ValueError, match="different shapes"):
        train_epochs([run.training for run in runs])
