"""The driver: whatever happens in whatever order, the store ends the same, and observers hear it all."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import yaml
from played_sweep import Heard, Play
from tiny_inputs import provide
from tiny_sweep import SWEEP, make_spec, outcome_of, run_inline

from pipeline.search.driver import SweepDriver
from pipeline.spec import StudyInputs, SweepSpec, parse_sweep
from pipeline.store import LocalFiles, TrialStore
from sept_core.datasets.sources import source_id
from sept_core.errors import InputError
from sept_core.semantic import Neighbors
from sept_core.trial import TrialInputs


def test_a_sweep_runs_every_study_to_its_budget_and_prunes(tmp_path: Path) -> None:
    heard = Play(tmp_path).run(0)
    assert [plan.budget for plan in heard.plans] == [1, 7, 7]
    assert heard.state == "finished"
    assert {decision.state for decision, _ in heard.ends.values()} == {"finished", "pruned"}
    assert len(heard.ends) == len(outcome_of(tmp_path)["verdicts"]) == 15


@pytest.mark.parametrize("seed", range(4))
def test_order_losses_and_crashes_change_neither_proposals_nor_decisions_nor_results(tmp_path: Path, seed: int) -> None:
    calm = Play(tmp_path / "calm", workers=1)
    calm.run(0)
    rough = Play(tmp_path / "rough", workers=1 + seed % 4, losses=15, crashes=10)
    rough.run(seed)
    assert outcome_of(tmp_path / "rough") == outcome_of(tmp_path / "calm")


WIDER = {
    "spaces.coop.n_ctx": {"fixed": 2},
    "spaces.sept.n_neighbors": {"low": 1, "high": 2},
    "methods": ["zero-shot", "coop", "coop+sept", "kgcoop"],
    "budgets": {"coop": 9},
    "trials": 8,
}


@pytest.mark.parametrize("seed", range(2))
def test_a_sweep_goes_on_with_narrower_spaces_larger_budgets_and_more_methods(tmp_path: Path, seed: int) -> None:
    outcomes = []
    for name, mishaps in (("calm", {}), ("rough", {"losses": 15, "crashes": 10})):
        play = Play(tmp_path / name)
        play.run(0)
        before = outcome_of(tmp_path / name)
        Play(tmp_path / name, make_spec(WIDER), play.trials, workers=1 + seed, **mishaps).run(seed)
        outcomes.append(outcome_of(tmp_path / name))
        for part, kept in before.items():
            assert outcomes[-1][part].items() >= kept.items()
    assert outcomes[0] == outcomes[1]
    budgets = Counter(study.rpartition(".")[2] for study, _ in outcomes[0]["members"])
    assert budgets == {"zero-shot": 1, "coop": 9, "coop+sept": 8, "kgcoop": 8}
    assert all(
        params["n_neighbors"] <= 2 and "n_ctx" not in params
        for (study, number), (_, params) in outcomes[0]["members"].items()
        if study.endswith("coop+sept") and number >= 7
    )


def test_studies_that_fit_the_free_worker_are_served_first_but_not_before_a_higher_priority(tmp_path: Path) -> None:
    spec = make_spec(methods=["coop", "coop+sept", "zero-shot"], priorities={"zero-shot": 1}, parallel=2)
    driver = Play(tmp_path, spec=spec).driver(Heard())
    keys = [study.key for study in spec.studies()]
    # Two of a study at a time: then another one is served, whether it fits or not.
    served = [driver.ask(fitting=[keys[1]]) for _ in range(5)]
    assert [proposal and proposal.study for proposal in served] == [keys[2], keys[1], keys[1], keys[0], keys[0]]


def test_studies_of_a_higher_priority_are_served_first_and_no_worker_waits_for_them(tmp_path: Path) -> None:
    play = Play(tmp_path, make_spec(priorities={"coop+sept": 2, "coop": 1}))
    driver = play.driver(Heard())
    asked = [driver.ask() for _ in range(5)]
    # Two of a study at a time: then the next priority is served.
    methods = [proposal.config.method for proposal in asked if proposal is not None]
    assert methods == ["coop+sept", "coop+sept", "coop", "coop", "zero-shot"]


def test_no_report_is_trained_twice_without_a_loss(tmp_path: Path) -> None:
    play = Play(tmp_path, crashes=20)
    play.run(1)
    assert len(set(play.trials.trained)) == len(play.trials.trained)


def test_results_of_another_sweep_cost_nothing_and_change_nothing(tmp_path: Path) -> None:
    Play(tmp_path / "alone").run(0)
    other = Play(tmp_path / "shared", make_spec({"name": "other", "pruner": {"name": "none"}}))
    other.run(0)
    assert {decision.state for decision in other.store.decisions("other")} == {"finished"}
    before = len(other.trials.trained)
    second = Play(tmp_path / "shared", trials=other.trials)
    heard = second.run(3)
    alone, shared = outcome_of(tmp_path / "alone"), outcome_of(tmp_path / "shared")
    assert shared["members"] == alone["members"]
    assert shared["verdicts"] == alone["verdicts"]
    # Both searches begin alike; what the other one has trained is not trained again.
    assert len(other.trials.trained) - before < len(alone["members"]) * 4 / 2
    assert all(result is None for decision, result in heard.ends.values() if decision.state == "pruned")


def test_observers_hear_each_point_of_a_curve_once_and_in_order(tmp_path: Path) -> None:
    heard = Play(tmp_path, losses=10).run(2)
    assert heard.curves
    for key, reports in heard.curves.items():
        assert reports == list(heard.ends[key][0].curve)


def test_a_resumed_proposal_is_announced_with_its_epoch_and_its_earlier_points(tmp_path: Path) -> None:
    play = Play(tmp_path)
    first = play.driver(Heard())
    while (proposal := first.ask()) is not None and proposal.config.epochs == 0:
        continue
    assert proposal is not None
    assert first.begun(proposal, ())
    assert first.reported(proposal, play.trials.step(proposal))
    heard = Heard()
    second = play.driver(heard)
    while second.ask() != proposal:
        continue
    second.begun(proposal, play.trials.checkpoints[proposal.signature])
    assert heard.resumed == [1]
    assert [report.epoch for report in heard.curves[proposal.study, proposal.number]] == [1]


def test_replaying_a_finished_sweep_tells_observers_all_and_asks_for_nothing(tmp_path: Path) -> None:
    play = Play(tmp_path)
    told = play.run(0).ends
    trained = len(play.trials.trained)
    heard = Heard()

    def nothing(*_: object) -> TrialInputs:
        raise AssertionError("a finished sweep needs no inputs")

    driver = SweepDriver(play.spec, play.store, [heard], nothing)
    driver.replay()
    assert driver.ask() is None
    assert driver.finished
    assert heard.ends == told
    assert len(play.trials.trained) == trained


def test_more_trials_may_be_asked_for_later_and_are_the_same_as_at_once(tmp_path: Path) -> None:
    Play(tmp_path / "twice", make_spec(trials=4)).run(0)
    Play(tmp_path / "twice", make_spec(trials=7)).run(1)
    Play(tmp_path / "once", make_spec(trials=7)).run(2)
    assert outcome_of(tmp_path / "twice") == outcome_of(tmp_path / "once")


def test_test_metrics_change_no_proposal_and_no_decision(tmp_path: Path) -> None:
    Play(tmp_path / "a").run(0)
    other = Play(tmp_path / "b")
    other.trials.test_metric = 99.0
    other.run(0)
    a, b = outcome_of(tmp_path / "a"), outcome_of(tmp_path / "b")
    assert (a["members"], a["verdicts"]) == (b["members"], b["verdicts"])
    assert a["results"] != b["results"]


def test_going_on_with_other_embeddings_is_refused_with_what_changed(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.driver(Heard()).ask()

    def others(wanted: StudyInputs) -> TrialInputs:
        inputs = provide("", wanted)
        return replace(inputs, table=replace(inputs.table, manifest_digest="fedcba9876543210"))

    with pytest.raises(InputError, match="manifest_digest was 0123456789abcdef.*fedcba9876543210.*another name"):
        SweepDriver(play.spec, play.store, [], others).replay()


def test_a_space_that_asks_for_more_neighbours_than_there_are_is_refused_at_once(tmp_path: Path) -> None:
    def few(wanted: StudyInputs) -> TrialInputs:
        inputs = provide("", wanted)
        if inputs.neighbors is None:
            return inputs
        short = {name: terms[:2] for name, terms in inputs.neighbors.by_class.items()}
        return replace(inputs, neighbors=Neighbors(wanted.dataset, short))

    with pytest.raises(InputError, match="has 2 neighbours, 3 were requested"):
        SweepDriver(make_spec(), TrialStore(LocalFiles(tmp_path)), [], few).replay()


def test_nothing_is_decided_once_the_guard_refuses(tmp_path: Path) -> None:
    def refuse() -> None:
        raise RuntimeError("lease lost")

    store = TrialStore(LocalFiles(tmp_path))
    driver = SweepDriver(make_spec(), store, [], partial(provide, str(tmp_path)), refuse)
    driver.replay()
    with pytest.raises(RuntimeError, match="lease lost"):
        driver.ask()
    assert store.proposals("tiny") == []


def _cross(**changes: object) -> SweepSpec:
    document = {name: value for name, value in SWEEP.items() if name != "datasets"}
    document |= {"protocol": "cross-dataset", "sources": ["FSDD"], "targets": ["ESC10"], "trials": 2, **changes}
    return parse_sweep(yaml.safe_dump(document), "tiny.yaml")


def test_a_cross_dataset_sweep_trains_on_the_source_and_tests_on_its_targets(tmp_path: Path) -> None:
    run_inline(_cross(), tmp_path)
    store = TrialStore(LocalFiles(tmp_path))
    finished = [decision for decision in store.decisions("tiny") if decision.state == "finished"]
    assert {decision.study for decision in finished} >= {"FSDD.mini.cross-dataset.coop+sept"}
    for decision in finished:
        result = store.read_result(decision.study, decision.signature)
        assert result is not None
        assert {"source", "ESC10", "targets"} <= result.test.keys()
        assert decision.objective == result.validation["source"]


def test_a_cross_dataset_space_needs_neighbours_of_all_classes_of_the_source(tmp_path: Path) -> None:
    def few(wanted: StudyInputs) -> TrialInputs:
        inputs = provide("", wanted)
        if inputs.neighbors is None:
            return inputs
        last = max(inputs.neighbors.by_class)  # a class of the half that base-to-new would not train on
        return replace(inputs, neighbors=Neighbors("FSDD", {**inputs.neighbors.by_class, last: ("one",)}))

    SweepDriver(make_spec(), TrialStore(LocalFiles(tmp_path)), [], few).replay()
    with pytest.raises(InputError, match="has 1 neighbours, 3 were requested"):
        SweepDriver(_cross(name="other"), TrialStore(LocalFiles(tmp_path)), [], few).replay()


@pytest.mark.parametrize("selection", ["nested", "paper"])
def test_a_sweep_runs_with_every_way_to_select(tmp_path: Path, selection: str) -> None:
    # Nested selection splits the five base classes of FSDD again.
    run_inline(make_spec(selection=selection, trials=2), tmp_path)
    store = TrialStore(LocalFiles(tmp_path))
    results = [store.read_result(decision.study, decision.signature) for decision in store.decisions("tiny")]
    done = [result for result in results if result is not None]
    assert {result.config.selection for result in done} == {selection}
    for result in done:
        assert (result.validation["h"] == result.test["h"]) == (selection == "paper")


def test_clips_that_are_left_out_since_the_sweep_began_are_one_plain_line_with_a_way_out(tmp_path: Path) -> None:
    play = Play(tmp_path, make_spec())
    play.driver(Heard()).ask()

    def later(wanted: StudyInputs) -> TrialInputs:
        inputs = provide("", wanted)
        row = inputs.table.folds.index("theo")
        groups = tuple("another" if at == row else group for at, group in enumerate(inputs.table.groups))
        table = replace(inputs.table, groups=groups)
        pretraining = replace(inputs.encoder.pretraining, sources=frozenset([source_id("FSDD", "another")]))
        return replace(inputs, table=table, encoder=replace(inputs.encoder, pretraining=pretraining))

    with pytest.raises(InputError) as refused:
        SweepDriver(play.spec, play.store, [], later).replay()
    line = str(refused.value)
    dataset = play.spec.datasets[0]
    assert f"clips of {dataset} left out of training and test: none when the sweep started, 1 clips, " in line
    assert line.endswith(
        f" now; embed {dataset} with --force as it was then, or give the sweep another name, with --fork NAME"
    )
    assert "{" not in line


def test_studies_of_one_sweep_must_all_read_the_same_encoder_and_neighbours(tmp_path: Path) -> None:
    methods = ["zero-shot", "coop+sept", "kgcoop+sept"]
    spec = make_spec(methods=methods, trials=1)
    play = Play(tmp_path, spec)
    driver = play.driver(Heard())
    while (proposal := driver.ask()) is not None and proposal.config.method != "coop+sept":
        pass

    def others(wanted: StudyInputs) -> TrialInputs:
        inputs = provide("", wanted)
        if wanted.sept and inputs.neighbors is not None:
            changed = {name: (*terms[1:], terms[0]) for name, terms in inputs.neighbors.by_class.items()}
            return replace(inputs, neighbors=Neighbors("FSDD", changed))
        return inputs

    # Of kgcoop+sept nothing is there yet.
    assert {proposal.config.method for proposal in play.store.proposals("tiny")} == {"zero-shot", "coop+sept"}
    with pytest.raises(InputError, match="neighbors_digest was .* when the sweep started and is"):
        SweepDriver(replace_methods(spec), play.store, [], others).replay()


def replace_methods(spec: SweepSpec) -> SweepSpec:
    """The sweep without the study that has a trial with neighbours of its own."""
    return spec.model_copy(update={"methods": ("kgcoop+sept",)})
