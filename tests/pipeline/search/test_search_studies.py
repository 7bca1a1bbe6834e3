"""The search is a pure function: of the study's spec and the outcomes that it may see, and of nothing else."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_inputs import provide
from tiny_sweep import make_spec

from pipeline.search.studies import Params, Past, propose, pruned_at, visible
from pipeline.search.study_state import Idle, StudyState
from pipeline.spec import StudySpec
from pipeline.store.records import Decision, Proposal
from sept_core.results import Report
from sept_core.trial import make_config
from sept_core.trial_config import TrialConfig

EPOCHS = 4
"""Of the trials below; each reports at every epoch."""


def curve_of(params: Params, noise: float = 0.0) -> tuple[Report, ...]:
    """A made-up training: better for a learning rate near 0.3, and rising."""
    height = 60 - 10 * abs(float(params["lr"]) - 0.3) + noise
    return tuple(Report(epoch, {"val/h": height + 2 * epoch}, float(epoch), epoch) for epoch in range(1, EPOCHS + 1))


def finished(number: int, params: Params, noise: float = 0.0) -> Past:
    curve = curve_of(params, noise)
    decision = Decision("s", number, "x", "finished", EPOCHS, curve[-1].objective, curve, 0)
    return Past(params, decision)


@pytest.fixture
def study() -> StudySpec:
    return make_spec(trials=30).studies()[2]


def grown(study: StudySpec, size: int) -> list[Past]:
    """A study that has come to ``size`` trials, all finished."""
    history: list[Past] = []
    for number in range(size):
        history.append(finished(number, propose(study, history)))
    return history


def test_proposals_are_inside_the_space_and_have_its_types(study: StudySpec) -> None:
    for past in grown(study, 12):
        assert sorted(past.params) == ["lambda_se", "lr", "margin_inter", "margin_intra", "n_ctx", "n_neighbors"]
        assert past.params["n_ctx"] in (1, 2)
        assert type(past.params["n_neighbors"]) is int
        assert 1 <= past.params["n_neighbors"] <= 3
        assert 0.01 <= past.params["lr"] <= 5.0


def test_a_proposal_is_the_same_whenever_it_is_asked_for(study: StudySpec) -> None:
    history = grown(study, 10)
    assert propose(study, history) == propose(study, history)
    assert [past.params for past in grown(study, 10)] == [past.params for past in history]


def test_a_proposal_looks_past_outcomes_that_came_in_early(study: StudySpec) -> None:
    history = grown(study, 10)
    early = [*history[:-1], Past(history[-1].params, None)]
    assert propose(study, early) == propose(study, history)
    better = [*history[:-1], finished(9, history[-1].params, noise=30.0)]
    assert propose(study, better) == propose(study, history)


def test_a_proposal_depends_on_the_outcomes_before(study: StudySpec) -> None:
    history = grown(study, 10)
    changed = [finished(number, past.params, noise=7.0 * (number % 3)) for number, past in enumerate(history)]
    assert propose(study, changed) != propose(study, history)


def test_a_proposal_depends_on_the_parameters_in_flight(study: StudySpec) -> None:
    wide = dataclasses.replace(study, parallel=4)
    history = grown(wide, 16)

    def crowded(size: int) -> bool:
        """Whether three trials in flight right where the next proposal would go drive it elsewhere."""
        known, flying = history[: size - 3], history[size - 3 : size]
        wanted = propose(wide, [*known, *flying])
        crowd = [Past(wanted | {"lr": float(wanted["lr"]) * (1 + index / 1000)}, None) for index in (1, 2, 3)]
        return propose(wide, [*known, *crowd]) != wanted

    assert any(crowded(size) for size in range(8, 17))


def test_asking_too_early_is_refused_rather_than_answered_differently(study: StudySpec) -> None:
    history = grown(study, 5)
    history[2] = Past(history[2].params, None)
    with pytest.raises(ValueError, match="has not ended"):
        propose(study, history)


def test_studies_and_seeds_search_differently(study: StudySpec) -> None:
    other = dataclasses.replace(study, key="another")
    reseeded = dataclasses.replace(study, sampler=study.sampler.model_copy(update={"seed": 4}))
    assert len({str(propose(each, [])) for each in (study, other, reseeded)}) == 3


def test_no_configuration_is_proposed_twice_while_there_are_others() -> None:
    changes = {"spaces.coop.lr": {"choices": [0.1, 0.2]}, "sampler": {"name": "random"}, "trials": 5}
    study = make_spec(changes).studies()[1]
    params = [str(past.params) for past in grown(study, 5)]
    assert len(set(params[:4])) == 4
    assert params[4] in params[:4]


def test_the_best_region_is_found_more_often_than_at_random() -> None:
    def near(sampler: dict[str, object]) -> int:
        study = make_spec(sampler=sampler).studies()[1]
        return sum(0.1 < float(past.params["lr"]) < 0.9 for past in grown(study, 40))

    assert near({"name": "tpe", "n_startup_trials": 5}) > near({"name": "random"})


def test_a_proposal_below_the_median_is_pruned_and_one_above_is_not(study: StudySpec) -> None:
    history = [finished(number, {"lr": 0.3 + number / 10, "n_ctx": 1}) for number in range(6)]
    history = [Past(_complete(study, past.params), past.decision) for past in history]
    history.append(Past(history[0].params, None))
    assert pruned_at(study, 6, history, curve_of({"lr": 3.0}), EPOCHS) == 1
    assert pruned_at(study, 6, history, curve_of({"lr": 0.3}), EPOCHS) is None


def test_nothing_is_pruned_during_the_warm_up_or_at_the_last_report(study: StudySpec) -> None:
    late = dataclasses.replace(study, pruner=study.pruner.model_copy(update={"n_warmup_epochs": 3}))
    history = [*grown(late, 6), Past(_complete(late, {"lr": 3.0}), None)]
    bad = curve_of({"lr": 3.0})
    assert pruned_at(late, 6, history, bad, EPOCHS) == 3
    assert pruned_at(late, 6, history, bad[:2], EPOCHS) is None
    never = dataclasses.replace(late, pruner=late.pruner.model_copy(update={"n_warmup_epochs": EPOCHS}))
    assert pruned_at(never, 6, history, bad, EPOCHS) is None


def test_pruning_looks_past_outcomes_that_came_in_early(study: StudySpec) -> None:
    history = [*grown(study, 6), Past(_complete(study, {"lr": 0.5}), None)]
    curve = curve_of({"lr": 0.5})
    lifted = [*history[:5], finished(5, history[5].params, noise=50.0), history[6]]
    unknown = [*history[:5], Past(history[5].params, None), history[6]]
    assert (
        pruned_at(study, 6, history, curve, EPOCHS)
        == pruned_at(study, 6, lifted, curve, EPOCHS)
        == pruned_at(study, 6, unknown, curve, EPOCHS)
    )


def test_missed_reports_give_the_decision_that_live_ones_would_have_given(study: StudySpec) -> None:
    history = [*grown(study, 8), Past(_complete(study, {"lr": 2.0}), None)]
    curve = curve_of({"lr": 2.0})
    live = next(
        (count for count in range(1, EPOCHS + 1) if pruned_at(study, 8, history, curve[:count], EPOCHS) is not None),
        None,
    )
    assert pruned_at(study, 8, history, curve, EPOCHS) == live


def test_visible_proposals_are_those_that_cannot_be_in_flight(study: StudySpec) -> None:
    wide = dataclasses.replace(study, parallel=3)
    assert [visible(wide, number) for number in range(5)] == [0, 0, 0, 1, 2]


NARROW = {"spaces.coop.n_ctx": {"fixed": 2}, "spaces.coop.lr": {"low": 0.1, "high": 1.0, "log": True}}


@pytest.fixture
def narrowed() -> StudySpec:
    """The study after its space was narrowed between two launches."""
    return make_spec(NARROW, trials=30).studies()[2]


def test_proposals_after_a_space_was_narrowed_lie_in_the_narrower_one(study: StudySpec, narrowed: StudySpec) -> None:
    history = grown(study, 8)
    for number in range(8, 14):
        params = propose(narrowed, history)
        assert "n_ctx" not in params
        assert 0.1 <= float(params["lr"]) <= 1.0
        history.append(finished(number, params))


def test_what_lies_outside_a_narrowed_space_is_not_looked_at(study: StudySpec, narrowed: StudySpec) -> None:
    history = grown(study, 12)
    outside = [
        number for number, past in enumerate(history) if past.params["n_ctx"] == 1 or not 0.1 <= past.params["lr"] <= 1
    ]
    assert 0 < len(outside) < 12
    other = [finished(n, past.params, 40.0 if n in outside else 0.0) for n, past in enumerate(history)]
    assert propose(narrowed, other) == propose(narrowed, history)
    inside = [finished(n, past.params, 0.0 if n in outside else 9.0 * (n % 3)) for n, past in enumerate(history)]
    assert propose(narrowed, inside) != propose(narrowed, history)


def test_a_proposal_outside_a_narrowed_space_is_still_judged_by_all_others(
    study: StudySpec, narrowed: StudySpec
) -> None:
    history = [*grown(study, 8), Past(_complete(study, {"lr": 4.0, "n_ctx": 1}), None)]
    bad = curve_of({"lr": 4.0})
    assert pruned_at(narrowed, 8, history, bad, EPOCHS) == pruned_at(study, 8, history, bad, EPOCHS) == 1


def _complete(study: StudySpec, params: Params) -> Params:
    return propose(study, []) | params


# The state


def _state(study: StudySpec, proposals: list[Proposal] = [], decisions: list[Decision] = []) -> StudyState:  # noqa: B006
    return StudyState(study, proposals, decisions, _admit)


def _admit(study: StudySpec, number: int, params: Params) -> Proposal:
    config = _config(study, params)
    return Proposal(study.key, number, config.signature, config, params, 0)


def _config(study: StudySpec, params: Params) -> TrialConfig:
    return make_config(
        provide("", study.inputs),
        study.method,
        study.constants | params,
        shots=2,
        folds=["theo"],
        epochs=EPOCHS,
        report_every=1,
    )


def _end(state: StudyState, proposal: Proposal) -> None:
    curve = curve_of(proposal.params)
    decision = state.judge(proposal, curve)
    if decision is None:
        objective = curve[-1].objective
        decision = Decision(
            proposal.study, proposal.number, proposal.signature, "finished", EPOCHS, objective, curve, 0
        )
    state.end(proposal, decision)


def _play(study: StudySpec, order: random.Random, state: StudyState | None = None, events: int = 10_000) -> StudyState:
    """Run a study with trials ending in random order."""
    state = state or _state(study)
    flying: list[Proposal] = []
    for _ in range(events):
        while isinstance(proposal := state.next(), Proposal):
            flying.append(proposal)
        assert len(flying) <= study.parallel
        if not flying:
            assert proposal is Idle.DONE
            break
        _end(state, flying.pop(order.randrange(len(flying))))
    return state


def _story(state: StudyState) -> list[object]:
    def told(proposal: Proposal) -> object:
        decision = state.decision(proposal)
        return decision and (decision.state, decision.epoch, decision.objective)

    return [(proposal.number, proposal.signature, told(proposal)) for proposal in state.proposals]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), parallel=st.integers(1, 4))
def test_a_study_is_the_same_whatever_order_its_proposals_end_in(seed: int, parallel: int) -> None:
    study = dataclasses.replace(make_spec(trials=10).studies()[1], parallel=parallel)
    assert _story(_play(study, random.Random(seed))) == _story(_play(study, random.Random(0)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 9))
def test_a_study_cut_off_anywhere_and_read_back_ends_the_same(seed: int, cut: int) -> None:
    study = make_spec(trials=10).studies()[2]
    cut_off = _play(study, random.Random(seed), events=cut)
    decisions = [decision for proposal in cut_off.proposals if (decision := cut_off.decision(proposal))]
    resumed = _play(study, random.Random(seed + 1), _state(study, cut_off.proposals, decisions))
    assert _story(resumed) == _story(_play(study, random.Random(0)))


def test_some_proposals_of_the_played_study_are_pruned() -> None:
    states = {entry[2][0] for entry in _story(_play(make_spec(trials=10).studies()[1], random.Random(0)))}  # type: ignore[index]
    assert states == {"finished", "pruned"}


def test_a_lost_proposal_is_asked_for_again_as_it_was() -> None:
    study = make_spec(trials=10).studies()[1]
    whole = _play(study, random.Random(0))
    decisions = [decision for proposal in whole.proposals if (decision := whole.decision(proposal))]
    without = [proposal for proposal in whole.proposals if proposal.number != 4]
    state = _play(study, random.Random(0), _state(study, without, decisions))
    assert _story(state) == _story(whole)


def test_raising_the_budget_continues_the_same_search() -> None:
    short = _play(make_spec(trials=6).studies()[1], random.Random(0))
    decisions = [decision for proposal in short.proposals if (decision := short.decision(proposal))]
    longer = make_spec(trials=10).studies()[1]
    raised = _play(longer, random.Random(0), _state(longer, short.proposals, decisions))
    assert _story(raised) == _story(_play(longer, random.Random(0)))


def test_proposals_that_were_in_flight_come_first_and_in_order() -> None:
    study = dataclasses.replace(make_spec().studies()[1], parallel=3)
    before = _state(study)
    flying = [before.next(), before.next(), before.next()]
    after = _state(study, [proposal for proposal in flying if isinstance(proposal, Proposal)])
    assert [after.next(), after.next(), after.next()] == flying
    assert after.next() is Idle.WAIT


def test_a_configuration_in_flight_is_not_run_twice_at_once() -> None:
    space = {"spaces.coop": {"n_ctx": {"choices": [1, 2]}, "lr": {"fixed": 0.1}}}
    study = dataclasses.replace(make_spec(space).studies()[1], trials=3, parallel=3)
    state = _state(study)
    first, second = state.next(), state.next()
    assert isinstance(first, Proposal)
    assert isinstance(second, Proposal)
    assert state.next() is Idle.WAIT  # the third repeats one of the two
    repeated = state.proposals[2]
    twin = first if first.signature == repeated.signature else second
    state.end(twin, Decision(twin.study, twin.number, twin.signature, "failed", 0, None, (), 0))
    assert state.next() == repeated
