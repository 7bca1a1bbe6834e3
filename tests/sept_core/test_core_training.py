from __future__ import annotations

import pytest
import torch
from trial_made import flat

from sept_core.datasets import get_dataset, halves, make_split, prompt_name
from sept_core.encoders.mini import load_mini
from sept_core.encoders.prefix import TOKEN_BUDGET
from sept_core.hyper import complete
from sept_core.learners import LEARNERS, Learner
from sept_core.prompt_form import Wording
from sept_core.semantic import SEPT_HYPER, SemanticExpansion, load_neighbors, load_templates
from sept_core.training import FusedTraining, NonFiniteError, Schedule, TrainState

FALLBACK = {"logit_scale": 10.0, "template": "This is a sound of {}.", "texts": "speech"}
TRAINED = [name for name, learner in LEARNERS.items() if learner.trainable]
PLUGGED = [name for name in TRAINED if LEARNERS[name].learns_text]
SEPT = {"n_neighbors": 2, "lambda_se": 3.0, "n_templates": 2}
MOST = [(name, SEPT if name in PLUGGED else None) for name in TRAINED]
RATES = {"treff": 0.001}  # its similarity is not bounded, and grows without end at the rate of the others
EVERY = [*((name, None) for name in PLUGGED), *MOST]


def training(
    tower, table, splits, baseline="coop", sept=None, lr=0.05, budget=None, order=None, precision="float32", **options
):
    """A tiny training; ``sept`` holds SEPT's hyper-parameters, ``order`` permutes the base classes."""
    info = get_dataset(table.dataset)
    base, new = halves(info.classnames)
    base = [base[index] for index in order] if order else list(base)
    known = {parameter.name for parameter in LEARNERS[baseline].hyper}
    given = {
        name: value for name, value in {"n_ctx": 3, "lr": RATES.get(baseline, lr)}.items() if name in known
    } | options
    hyper = complete(LEARNERS[baseline].hyper, given, "test", FALLBACK)
    names = [prompt_name(name) for name in base]
    semantic = None
    if sept is not None:
        hyper_sept = complete(SEPT_HYPER, sept, "test")
        semantic = SemanticExpansion.of(
            tower, names, load_neighbors(info.name), load_templates(info.kind), hyper | hyper_sept
        )
    return FusedTraining(
        learner=LEARNERS[baseline](tower, hyper, names),
        classes=Wording.of(hyper).bank(tower, names),
        semantic=semantic,
        embeddings=table.embeddings,
        labels=torch.tensor([[*base, *new].index(name) for name in table.classnames]),
        rows=[split.train for split in splits],
        keys=[f"{info.name}/{split.fold}/{split.seed}" for split in splits],
        schedule=Schedule.of(4, 8, hyper),
        budget=budget,
        precision=precision,
    )


@pytest.fixture
def splits(make_table):
    def make(per_class, shots=3, dim=12):
        table = make_table("FSDD", per_class, dim)
        info = get_dataset("FSDD")
        return table, [
            make_split(table, info, fold, seed, shots, ("george",)) for fold in ("theo", "lucas") for seed in (0, 1)
        ]

    return make


@pytest.mark.parametrize(("baseline", "sept"), EVERY)
@pytest.mark.parametrize("per_class", [4, (1, 6, 2, 5, 3)])
def test_fused_training_equals_separate_trainings(causal_tower, splits, baseline, sept, per_class):
    table, replicas = splits(per_class, shots=7)
    # An unequal few-shot draw, so that replicas differ in the number of steps too.
    replicas[1] = make_split(table, get_dataset("FSDD"), "theo", 1, 2, ("george",))
    fused = training(causal_tower, table, replicas, baseline, sept)
    for _ in range(3):
        fused.train_epoch()
    for index, split in enumerate(replicas):
        alone = training(causal_tower, table, [split], baseline, sept)
        start = alone.state().params
        for _ in range(3):
            alone.train_epoch()
        assert any(not torch.equal(alone.params[name], value) for name, value in start.items())
        for name, value in alone.params.items():
            # A cache has as many places as the replica with the most clips needs.
            mine = fused.params[name][index, : value.shape[1]]
            torch.testing.assert_close(mine, value[0], rtol=1e-8, atol=1e-10)
            assert not fused.params[name][index, value.shape[1] :].any()


@pytest.mark.parametrize(("baseline", "sept"), MOST)
def test_chunks_of_replicas_give_what_one_pass_gives(causal_tower, splits, baseline, sept):
    table, replicas = splits(4)
    whole, chunked = (training(causal_tower, table, replicas, baseline, sept, budget=budget) for budget in (10**9, 1))
    losses = [(whole.train_epoch(), chunked.train_epoch()) for _ in range(2)]
    for name, value in whole.params.items():
        torch.testing.assert_close(chunked.params[name], value, rtol=1e-8, atol=1e-10)
    for one, other in losses:
        assert one == pytest.approx(other, rel=1e-9)


@pytest.mark.parametrize("tower", ["causal_tower", "bidirectional_tower"])
@pytest.mark.parametrize(("baseline", "sept"), MOST)
def test_a_replica_that_alone_exceeds_the_budget_is_trained_in_parts_to_the_same_end(
    request, splits, baseline, sept, tower, monkeypatch
):
    tower = request.getfixturevalue(tower)
    table, replicas = splits(4)
    whole, parts = (training(tower, table, replicas, baseline, sept) for _ in range(2))
    expected = [whole.train_epoch() for _ in range(2)]
    monkeypatch.setitem(TOKEN_BUDGET, "cpu", 1)
    assert [parts.train_epoch() for _ in range(2)] == [pytest.approx(losses, rel=1e-9) for losses in expected]
    for name, value in whole.params.items():
        torch.testing.assert_close(parts.params[name], value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("baseline", PLUGGED)
def test_bfloat16_trains_near_float32_and_keeps_parameters_and_momentum_in_float32(splits, baseline):
    tower = load_mini().text
    table, replicas = splits(4, dim=tower.dim)
    exact, rounded = (
        training(tower, table, replicas, baseline, SEPT, lr=0.01, precision=name) for name in ("float32", "bfloat16")
    )
    start = flat(exact.params)
    for _ in range(2):
        expected, found = exact.train_epoch(), rounded.train_epoch()
        assert found["base"] == pytest.approx(expected["base"], rel=0.05)
    assert {value.dtype for part in (rounded.state().params, rounded.state().momentum) for value in part.values()} == {
        torch.float32
    }
    moved, other = (flat(run.params) - start for run in (exact, rounded))
    # SubT's training does not use the text tower, the only part that runs in bfloat16.
    assert torch.equal(moved, other) == (baseline == "subt")
    assert torch.nn.functional.cosine_similarity(moved.flatten(), other.flatten(), dim=0) > 0.95


@pytest.mark.parametrize("baseline", PLUGGED)
def test_lambda_zero_equals_the_baseline(causal_tower, splits, baseline):
    table, replicas = splits(4)
    plain = training(causal_tower, table, replicas, baseline)
    zero = training(causal_tower, table, replicas, baseline, SEPT | {"lambda_se": 0.0})
    for _ in range(3):
        expected, found = plain.train_epoch(), zero.train_epoch()
        assert found["base"] == pytest.approx(expected["base"], rel=1e-9)
        assert found["intra"] > 0
    torch.testing.assert_close(flat(zero.params), flat(plain.params), rtol=1e-8, atol=1e-10)


def test_sept_changes_the_training_and_keeps_neighbours_within_their_margins(causal_tower, splits):
    table, replicas = splits(4)
    plain = training(causal_tower, table, replicas)
    strong = training(causal_tower, table, replicas, sept=SEPT | {"lambda_se": 30.0, "margin_intra": 0.5}, lr=0.02)
    first, *_, last = [strong.train_epoch() for _ in range(4)]
    plain.train_epoch()
    assert last["intra"] + last["inter"] < first["intra"] + first["inter"]
    assert not torch.allclose(flat(strong.params), flat(plain.params))


def test_permuting_the_classes_permutes_nothing_else(causal_tower, splits):
    table, replicas = splits(4)
    plain = training(causal_tower, table, replicas, sept=SEPT)
    permuted = training(causal_tower, table, replicas, sept=SEPT, order=[3, 0, 4, 2, 1])
    for _ in range(2):
        assert permuted.train_epoch() == pytest.approx(plain.train_epoch(), rel=1e-9)
    torch.testing.assert_close(flat(permuted.params), flat(plain.params), rtol=1e-8, atol=1e-10)


def test_a_resumed_training_is_bit_equal_to_an_undisturbed_one(causal_tower, splits):
    table, replicas = splits(4)
    straight = training(causal_tower, table, replicas, sept=SEPT)
    for _ in range(4):
        straight.train_epoch()
    for stop in (1, 3):
        first = training(causal_tower, table, replicas, sept=SEPT)
        for _ in range(stop):
            first.train_epoch()
        second = training(causal_tower, table, replicas, sept=SEPT)
        second.load_state(first.state())
        for _ in range(4 - stop):
            second.train_epoch()
        assert torch.equal(flat(second.params), flat(straight.params))


PUBLISHED = {"warmup_epochs": 1, "weight_decay": 0.05, "last_batch": "drop"}


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
# ProGrad changes gradients: tests/sept_core/learners/test_prograd.py.
@pytest.mark.parametrize("baseline", [name for name in TRAINED if LEARNERS[name].guide is Learner.guide])
def test_with_the_published_optimisers_options_it_is_torchs_sgd_with_its_schedulers(
    causal_tower, splits, baseline, schedule
):
    table, replicas = splits(4)
    run = training(causal_tower, table, replicas[:1], baseline, schedule=schedule, **PUBLISHED)
    start = {name: value.clone() for name, value in run.params.items()}
    params = start | {name: start[name].requires_grad_() for name in run.state().params}
    factors = run._learner.lr_factors
    groups = [
        {"params": [value], "lr": run._schedule.lr * factors.get(name, 1.0)}
        for name, value in params.items()
        if value.requires_grad
    ]
    sgd = torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=0.05)
    # As Dassl.pytorch has it: 1e-5 for all in the warm-up, behind which the whole cosine begins.
    after = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 4) if schedule == "cosine" else None
    full_rates = [group["lr"] for group in sgd.param_groups]
    for epoch in range(4):
        (order,) = run._batches()[0]
        assert (len(order), len(run._rows[0])) == (8, 15)  # without the incomplete last batch
        for group, rate in zip(sgd.param_groups, full_rates, strict=True):
            if epoch < 2:
                group["lr"] = rate if epoch else 1e-5
        audio, labels = run._audio[order][None], run._labels[order][None]
        text = run._learner.features(params, audio, run._classes)
        loss = run._learner.loss(params, audio, labels, text).mean() + run._learner.penalty(params, text).sum()
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        if after is not None and epoch:
            after.step()
        run.train_epoch()
        for name, value in run.params.items():
            torch.testing.assert_close(value, params[name].detach(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("sept", [None, SEPT])
def test_with_them_replicas_train_as_if_alone_and_a_resumed_training_is_bit_equal(causal_tower, splits, sept):
    table, replicas = splits((1, 6, 2, 5, 3), shots=7)
    replicas[1] = make_split(table, get_dataset("FSDD"), "theo", 1, 1, ("george",))  # less than a batch: it is kept
    fused = training(causal_tower, table, replicas, sept=sept, **PUBLISHED)
    stopped = training(causal_tower, table, replicas, sept=sept, **PUBLISHED)
    for epoch in range(4):
        if epoch == 2:
            again = training(causal_tower, table, replicas, sept=sept, **PUBLISHED)
            again.load_state(stopped.state())
            stopped = again
        fused.train_epoch()
        stopped.train_epoch()
    assert torch.equal(flat(stopped.params), flat(fused.params))
    for index, split in enumerate(replicas):
        alone = training(causal_tower, table, [split], sept=sept, **PUBLISHED)
        start = flat(alone.params)
        for _ in range(4):
            alone.train_epoch()
        assert not torch.equal(flat(alone.params), start)
        torch.testing.assert_close(flat(fused.params)[index], flat(alone.params)[0], rtol=1e-8, atol=1e-10)


def test_a_baseline_and_its_sept_twin_start_from_the_same_context(causal_tower, splits):
    table, replicas = splits(4)
    plain, sept = training(causal_tower, table, replicas), training(causal_tower, table, replicas, sept=SEPT)
    assert torch.equal(flat(plain.params), flat(sept.params))
    assert flat(plain.params).unique(dim=0).shape[0] == len(replicas)  # and every replica from its own


def test_a_loss_that_is_not_finite_is_an_error_that_says_so(causal_tower, splits):
    table, replicas = splits(4)
    wild = training(causal_tower, table, replicas)
    wild.params["ctx"][:] = float("nan")
    with pytest.raises(NonFiniteError, match="not finite at epoch 1.*learning rate"):
        wild.train_epoch()


def test_a_state_of_other_shapes_is_refused(causal_tower, splits):
    table, replicas = splits(4)
    run = training(causal_tower, table, replicas)
    state = run.state()
    with pytest.raises(ValueError, match="shapes"):
        run.load_state(TrainState(1, {"ctx": state.params["ctx"][:, :1]}, state.momentum))


def test_the_learning_rate_follows_a_cosine_from_lr_towards_zero():
    schedule = Schedule(epochs=10, batch_size=1, lr=0.5)
    rates = [schedule.lr_at(epoch) for epoch in range(10)]
    assert rates[0] == 0.5
    assert rates[5] == pytest.approx(0.25)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.02


def test_behind_a_warm_up_the_whole_schedule_follows_and_only_incomplete_batches_are_dropped():
    schedule = Schedule(epochs=10, batch_size=8, lr=0.5, warmup_epochs=2, drop_last=True)
    plain = Schedule(epochs=10, batch_size=8, lr=0.5)
    assert [schedule.lr_at(epoch, 6.5) for epoch in (0, 1)] == [1e-5, 1e-5]
    assert [schedule.lr_at(epoch, 6.5) for epoch in range(2, 10)] == [plain.lr_at(epoch, 6.5) for epoch in range(8)]
    assert {Schedule(epochs=10, batch_size=8, lr=0.5, cosine=False).lr_at(epoch) for epoch in range(10)} == {0.5}
    assert [schedule.batches(clips) for clips in (7, 8, 15, 16)] == [1, 1, 1, 2]
    assert [plain.batches(clips) for clips in (7, 8, 15, 16)] == [1, 1, 2, 2]
