"""The driver: whatever happens in whatever order, the store ends the same, and observers hear it all."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
import yaml
from tiny_inputs import provide
from tiny_sweep import SWEEP, make_spec, outcome_of, run_inline

from pipeline.search.driver import SweepDriver
from pipeline.search.observer import StudyPlan
from pipeline.spec import StudyInputs, SweepSpec, parse_sweep
from pipeline.store import Decision, LocalFiles, Proposal, TrialStore
from sept_core.datasets.sources import source_id
from sept_core.errors import InputError, SeptError
from sept_core.results import Report, TrialConfig, TrialResult
from sept_core.semantic import Neighbors
from sept_core.trial import TrialInputs, failed_result

TIMES = iter(range(1, 10**9))


@dataclass
class Trials:
    """Trials of a made-up method that 'train' at once: curves are a function of the configuration, times are not."""

    store: TrialStore
    checkpoints: dict[str, tuple[Report, ...]] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)
    failing: int = 0  # of ten
    test_metric: float = 50.0

    def step(self, proposal: Proposal) -> tuple[Report, ...]:
        """Train to the next report; the last one publishes the result."""
        curve = self.checkpoints.get(proposal.signature, ())
        number = random.Random(proposal.signature)
        height, fails = 40 + 40 * number.random(), number.randrange(10) < self.failing
        epoch = len(curve) + 1 if proposal.config.epochs else 0
        self.trained.append(f"{proposal.signature}:{epoch}")
        curve = (*curve, Report(epoch, {"val/h": height + epoch}, float(next(TIMES)), next(TIMES)))
        self.checkpoints[proposal.signature] = curve
        if fails and epoch == 2:
            self.store.write_result(failed_result(proposal.config, curve, "Traceback:\n  ...\nValueError: no luck\n"))
        elif epoch == proposal.config.epochs:
            self.store.write_result(self._result(proposal.config, curve))
        return curve

    def _result(self, config: TrialConfig, curve: tuple[Report, ...]) -> TrialResult:
        return replace(
            failed_result(config, curve, ""),
            state="finished",
            validation={"h": curve[-1].objective},
            test={"h": self.test_metric},
        )


class Heard:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.plans: Sequence[StudyPlan] = ()
        self.curves: dict[tuple[str, int], list[Report]] = {}
        self.ends: dict[tuple[str, int], tuple[Decision, TrialResult | None]] = {}
        self.resumed: list[int] = []
        self.state = ""

    def sweep_started(self, sweep: str, studies: Sequence[StudyPlan]) -> None:
        self.plans = studies

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None:
        self.curves[proposal.study, proposal.number] = []
        self.resumed.append(resumed_epoch)

    def reported(self, proposal: Proposal, report: Report) -> None:
        self.curves[proposal.study, proposal.number].append(report)

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        self.ends[proposal.study, proposal.number] = (decision, result)

    def sweep_ended(self, state: str) -> None:
        self.state = state


@dataclass
class Play:
    """A sweep run by a made-up cluster in a random order, with mishaps."""

    root: Path
    spec: SweepSpec = field(default_factory=make_spec)
    trials: Trials = None  # type: ignore[assignment]
    workers: int = 3
    losses: int = 0  # of a hundred steps
    crashes: int = 0  # of a hundred steps, of the driver

    def __post_init__(self) -> None:
        self.store = TrialStore(LocalFiles(self.root))
        self.trials = self.trials or Trials(self.store)

    def driver(self, heard: Heard) -> SweepDriver:
        driver = SweepDriver(self.spec, self.store, [heard], partial(provide, str(self.root)))
        driver.replay()
        return driver

    def run(self, seed: int) -> Heard:
        chance = random.Random(seed)
        while True:
            heard = Heard()
            driver = self.driver(heard)
            if self._to_the_end(driver, chance):
                driver.close()
                return heard

    def _to_the_end(self, driver: SweepDriver, chance: random.Random) -> bool:
        flying: list[tuple[Proposal, bool]] = []
        while True:
            while len(flying) < self.workers and (proposal := driver.ask()) is not None:
                flying.append((proposal, False))
            if not flying:
                assert driver.finished
                return True
            assert not driver.finished
            if chance.randrange(100) < self.crashes:
                return False
            index = chance.randrange(len(flying))
            proposal, begun = flying.pop(index)
            if chance.randrange(100) < self.losses:
                driver.lost(proposal, "as arranged")
            elif not begun:
                if driver.begun(proposal, self.trials.checkpoints.get(proposal.signature, ())):
                    flying.append((proposal, True))
            else:
                curve = self.trials.step(proposal)
                if self.store.read_result(proposal.study, proposal.signature) is not None:
                    driver.concluded(proposal)
                elif driver.reported(proposal, curve):
                    flying.append((proposal, True))


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


def test_a_failed_trial_is_a_decision_and_the_sweep_goes_on(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.trials.failing = 5
    heard = play.run(0)
    failed = [(decision, result) for decision, result in heard.ends.values() if decision.state == "failed"]
    assert failed
    assert all(decision.error == "ValueError: no luck" for decision, _ in failed)
    assert all(result is not None and result.state == "failed" for _, result in failed)
    assert heard.state == "finished"


def test_failed_trials_are_run_once_more_when_asked_for_and_nothing_else_is(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.trials.failing = 5
    play.run(0)
    before = outcome_of(tmp_path)
    failed = {key for key, decision in before["verdicts"].items() if decision[1] == "failed"}
    assert play.store.forget_failures("tiny", lambda: None) == len(failed) > 0
    play.trials.failing = 0
    trained = len(play.trials.trained)
    heard = play.run(1)
    after = outcome_of(tmp_path)
    assert after["members"] == before["members"]
    changed = {key for key in after["verdicts"] if after["verdicts"][key] != before["verdicts"][key]}
    assert changed == failed
    assert {after["verdicts"][key][1] for key in failed} <= {"finished", "pruned"}
    again = {entry.partition(":")[0] for entry in play.trials.trained[trained:]}
    assert again <= {after["members"][key][0] for key in failed}
    assert heard.state == "finished"


def test_failures_are_remembered_alike_by_a_calm_and_a_rough_sweep(tmp_path: Path) -> None:
    calm, rough = Play(tmp_path / "calm"), Play(tmp_path / "rough", losses=10, crashes=10)
    calm.trials.failing = rough.trials.failing = 5
    calm.run(0)
    rough.run(5)
    assert outcome_of(tmp_path / "rough") == outcome_of(tmp_path / "calm")


def test_a_trial_that_kills_every_worker_fails_and_does_not_hold_up_the_sweep(tmp_path: Path) -> None:
    heard = Heard()
    driver = Play(tmp_path).driver(heard)
    while (proposal := driver.ask()) is not None:
        assert driver.begun(proposal, ())
        driver.lost(proposal, "as arranged")
    assert driver.finished
    assert {decision.state for decision, _ in heard.ends.values()} == {"failed"}
    assert all("lost 6 workers in a row" in decision.error for decision, _ in heard.ends.values())


def test_a_trial_that_kills_every_worker_after_its_first_report_fails_too(tmp_path: Path) -> None:
    heard = Heard()
    driver = Play(tmp_path).driver(heard)
    curve = (Report(1, {"val/h": 0.5, "val/base": 0.5, "val/new": 0.5}, 1.0, 1),)
    begun: Counter[tuple[str, int]] = Counter()
    while (proposal := driver.ask()) is not None:
        begun[proposal.study, proposal.number] += 1
        assert driver.begun(proposal, curve if begun[proposal.study, proposal.number] > 1 else ())
        assert driver.reported(proposal, curve)
        driver.lost(proposal, "as arranged")
    assert driver.finished
    assert {decision.state for decision, _ in heard.ends.values()} == {"failed"}
    # From the first report on six were lost; that each of them begins with it is nothing new.
    assert set(begun.values()) == {6}


def test_a_trial_whose_workers_are_lost_before_it_begins_while_others_begin_fails_too(tmp_path: Path) -> None:
    heard = Heard()
    driver = Play(tmp_path, make_spec(methods=["coop", "coop+sept"], trials=3)).driver(heard)
    while (proposal := driver.ask()) is not None:
        assert proposal.config.sept or driver.begun(proposal, ())
        driver.lost(proposal, "as arranged")
    assert driver.finished
    reasons = {decision.study.rpartition(".")[2]: decision.error for decision, _ in heard.ends.values()}
    assert reasons["coop"] == "lost 6 workers in a row without a new report; the last one: as arranged"
    assert reasons["coop+sept"] == "lost 6 workers in a row before it began; the last one: as arranged"


def test_workers_that_never_begin_are_no_fault_of_any_trial_and_end_the_launch(tmp_path: Path) -> None:
    play = Play(tmp_path, losses=100)
    with pytest.raises(SeptError, match="11 workers in a row were gone before they began.*the same command again"):
        play.run(0)
    assert outcome_of(tmp_path)["verdicts"] == {}
    play.losses = 0
    assert play.run(0).state == "finished"


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


def test_a_lost_result_is_made_again_and_the_decision_stands(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.run(0)
    before, whole = play.store.decisions("tiny"), outcome_of(tmp_path)
    lost = next(decision for decision in before if decision.state == "finished" and decision.study.endswith("sept"))
    (tmp_path / "trials" / lost.study / lost.signature / "result.json").write_text("{")
    play.trials.checkpoints.pop(lost.signature)
    heard = play.run(1)
    assert heard.ends[lost.study, lost.number][1] is not None
    assert play.store.decisions("tiny") == before
    assert outcome_of(tmp_path) == whole


def test_a_damaged_proposal_is_proposed_again_as_it_was(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.run(0)
    whole = outcome_of(tmp_path)
    (tmp_path / "sweeps/tiny/members/FSDD.mini.base-to-new.coop/00003.json").write_text("garbage")
    heard = play.run(1)
    assert outcome_of(tmp_path) == whole
    assert heard.state == "finished"


def test_a_damaged_decision_is_given_again_as_it_was(tmp_path: Path) -> None:
    play = Play(tmp_path)
    play.run(0)
    whole = outcome_of(tmp_path)
    for path in (tmp_path / "sweeps/tiny/verdicts/FSDD.mini.base-to-new.coop").iterdir():
        path.write_text("garbage")
    play.run(1)
    assert outcome_of(tmp_path) == whole


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_damaged_decision_amid_unended_proposals_does_not_wedge_the_sweep(tmp_path: Path, number: int) -> None:
    play = Play(tmp_path)
    play.run(0)
    whole = outcome_of(tmp_path)
    decisions = tmp_path / "sweeps/tiny/verdicts/FSDD.mini.base-to-new.coop"
    (decisions / f"{number:05d}.json").write_text("garbage")
    for path in sorted(decisions.iterdir())[number + 1 :]:
        path.unlink()  # as of a driver killed before it decided them
    play.run(1)
    assert outcome_of(tmp_path) == whole


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

    with pytest.raises(InputError, match="has 2 neighbours, 3 were asked for"):
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
    with pytest.raises(InputError, match="has 1 neighbours, 3 were asked for"):
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
    assert f"clips of {dataset} left out of training and test: none when the sweep began, 1 clips, " in line
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
    with pytest.raises(InputError, match="neighbors_digest was .* when the sweep began and is"):
        SweepDriver(replace_methods(spec), play.store, [], others).replay()


def replace_methods(spec: SweepSpec) -> SweepSpec:
    """The sweep without the study that has a trial with neighbours of its own."""
    return spec.model_copy(update={"methods": ("kgcoop+sept",)})
