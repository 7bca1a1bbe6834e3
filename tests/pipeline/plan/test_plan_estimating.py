"""How long trials take: from the store where it says so, else from other datasets, else timed."""

from __future__ import annotations

import statistics
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny_inputs
import torch
from tiny_inputs import provide
from tiny_sweep import SWEEP, make_spec, run_inline

from pipeline.plan import SweepPlan
from pipeline.plan.planning import plan_sweep
from pipeline.plan.work import Probe, work_of
from pipeline.search.sizing import few_replicas, middle, trial_config
from pipeline.spec import StudySpec, SweepSpec
from pipeline.store import LocalFiles, TrialStore
from sept_core import training
from sept_core.checkpoint import load_checkpoint
from sept_core.trial import TrialInputs, TrialRun
from sept_core.trial_config import TrialConfig

LOAD = partial(provide, "")
COOP, SEPT = "FSDD.mini.base-to-new.coop", "FSDD.mini.base-to-new.coop+sept"


def make_plan(root: Path, spec: SweepSpec | None = None, seconds: float = 0.05, **options: Any) -> SweepPlan:
    return plan_sweep(spec or make_spec(), root, provider=tiny_inputs.provide, calibrate_s=seconds, **options)


def only(*methods: str, **changes: Any) -> SweepSpec:
    """The tiny sweep with these methods and their spaces alone."""
    used = {part for method in methods for part in method.split("+")}
    spaces = {part: space for part, space in SWEEP["spaces"].items() if part in used}
    return make_spec(methods=list(methods), spaces=spaces | changes.pop("spaces", {}), **changes)


def trial_of(spec: SweepSpec, study: StudySpec) -> tuple[TrialConfig, TrialInputs]:
    inputs = LOAD(study.inputs)
    return trial_config(spec, study, inputs, middle(study)), inputs


def counted_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Text tokens of every step from now on."""
    tokens: list[int] = []
    step = training._step

    def counted(parts: Any, **more: Any) -> Any:
        (part,) = parts
        tokens.append(part.training.step_tokens)
        return step(parts, **more)

    monkeypatch.setattr(training, "_step", counted)
    return tokens


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ran")
    run_inline(make_spec(), root)
    return root


def finished_seconds(root: Path, study: str) -> list[float]:
    store = TrialStore(LocalFiles(root))
    trials = [(key.split("/")[1], key.split("/")[2]) for key in store.files.list(f"trials/{study}")]
    return [result.train_seconds for result in store.read_results(trials).values() if result.state == "finished"]


@pytest.mark.parametrize("changes", [{}, {"seeds": [0, 1]}, {"selection": "nested"}, {"training.batch_size": 3}])
def test_the_work_of_a_trial_is_what_its_steps_send_through_the_tower(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(changes)
    config, inputs = trial_of(spec, spec.studies()[2])
    steps = counted_steps(monkeypatch)
    run = TrialRun(config, inputs)
    while not run.finished:
        run.advance()
    assert work_of(config, inputs).trained == sum(steps)


def test_a_probe_takes_one_step_of_as_many_tokens_as_the_trial_and_goes_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = make_spec(seeds=[0, 1, 2])
    config, inputs = trial_of(spec, spec.studies()[2])
    probe = Probe(few_replicas(config, 2), inputs)
    assert probe.step_tokens * 3 == TrialRun(config, inputs).step_tokens * 2
    fresh = load_checkpoint(probe.checkpoint(), probe.config.signature).states[0].params
    steps = counted_steps(monkeypatch)
    probe.step()
    probe.step()
    assert steps == [probe.step_tokens] * 2
    state = load_checkpoint(probe.checkpoint(), probe.config.signature).states[0]
    assert state.epoch == 2
    assert all(value.equal(fresh[name]) for name, value in state.params.items())
    assert all(value.abs().sum() > 0 for value in state.momentum.values())


def test_measured_tokens_are_of_texts_or_for_cocoop_of_clips() -> None:
    spec = only("coop", "cocoop", spaces={"cocoop": {"n_ctx": {"fixed": 1}}})
    trials = [trial_of(spec, study) for study in spec.studies()]
    coop, cocoop = (Probe(few_replicas(config), inputs) for config, inputs in trials)
    assert coop.measured_tokens(1) == coop.measured_tokens() > 0
    assert cocoop.measured_tokens(2) == 2 * cocoop.measured_tokens(1)
    assert cocoop.measured_tokens() > 10 * cocoop.measured_tokens(1)


def test_a_plan_times_what_no_trial_tells_of_and_leaves_the_trials_alone(tmp_path: Path) -> None:
    settings = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    plan = make_plan(tmp_path)
    assert [study.estimate.source for study in plan.studies] == ["calibrated"] * 3
    assert all(study.estimate.seconds and study.estimate.seconds > 0 for study in plan.studies)
    assert (plan.totals.trials, plan.totals.unknown, plan.totals.spared) == (15, 0, 0.0)
    each = {study.key: study.estimate.seconds or 0.0 for study in plan.studies}
    assert plan.totals.trial_hours * 3600 == pytest.approx(sum(each.values()) + 6 * (each[COOP] + each[SEPT]))
    assert plan.runnable
    assert not (tmp_path / "trials").exists()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == settings


def test_an_estimate_is_near_what_a_trial_takes(tmp_path: Path) -> None:
    spec = only("coop+sept", training={"epochs": 40, "report_every": 10, "batch_size": 8})
    estimate = make_plan(tmp_path, spec, seconds=0.5).studies[0].estimate.seconds
    assert estimate is not None
    run = TrialRun(*trial_of(spec, spec.studies()[0]))
    while not run.finished:
        run.advance()
    assert estimate / 4 < run.result().train_seconds < 4 * estimate


def test_without_calibration_what_is_not_known_is_said_to_be_unknown(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, seconds=0)
    assert {(study.estimate.seconds, study.estimate.source) for study in plan.studies} == {(None, "unknown")}
    assert {study.estimate.basis for study in plan.studies} == {"not calibrated"}
    assert (plan.totals.unknown, plan.totals.trial_hours, plan.totals.wall_hours) == (15, 0.0, None)
    assert plan.runnable
    assert not list(tmp_path.iterdir())


def test_finished_trials_of_the_study_are_scaled_by_epochs_and_replicas(ran: Path) -> None:
    mean = {key: statistics.fmean(finished_seconds(ran, key)) for key in (COOP, SEPT)}
    for changes, factor in (({}, 1), ({"training.epochs": 8}, 2), ({"seeds": [0, 1, 2]}, 3)):
        plan = make_plan(ran, make_spec(changes, name="other"), seconds=0)
        found = {study.key: study.estimate for study in plan.studies}
        assert all(found[key].source == "store" for key in mean)
        assert {key: found[key].seconds for key in mean} == pytest.approx({key: factor * mean[key] for key in mean})
        assert plan.machines
    # Other shots make other steps.
    assert make_plan(ran, make_spec(name="other", shots=1), seconds=0).studies[1].estimate.source != "store"


def test_trials_of_other_datasets_are_scaled_by_tokens(ran: Path, tmp_path: Path) -> None:
    store, made = TrialStore(LocalFiles(ran)), TrialStore(LocalFiles(tmp_path))
    for proposal in store.proposals("tiny"):
        result = store.read_result(proposal.study, proposal.signature)
        if result is not None and result.state == "finished":
            seconds = 1e-3 * work_of(result.config, LOAD(make_spec().studies()[2].inputs)).size
            made.write_result(replace(result, train_seconds=seconds))
    spec = make_spec(datasets=["FSDD", "ESC10"], name="other")
    studies = {study.key: study for study in spec.studies()}
    for planned in make_plan(tmp_path, spec, seconds=0).studies[3:]:
        estimate = planned.estimate
        config, inputs = trial_of(spec, studies[planned.key])
        assert estimate.source == "alike"
        assert estimate.basis.endswith("on FSDD")
        assert estimate.seconds == pytest.approx(1e-3 * work_of(config, inputs).size)


def test_many_studies_share_a_calibration_for_each_method(tmp_path: Path) -> None:
    spec = only("coop", "coop+sept", datasets=["FSDD", "ESC10", "ESC50"])
    heard: list[tuple[int, int, str]] = []
    plan = make_plan(tmp_path, spec, seconds=11, progress=lambda *now: heard.append(now))
    assert [(done, total) for done, total, _ in heard] == [(0, 2), (1, 2), (2, 2)]
    works = {study.key: work_of(*trial_of(spec, study)) for study in spec.studies()}
    for method in spec.methods:
        found = [study for study in plan.studies if study.method == method]
        timed_on = tuple(study.key for study in found)
        own = [study.key for study in found if not study.estimate.basis.endswith(timed_on)]
        assert len(own) == 1
        assert {study.estimate.source for study in found} == {"calibrated"}
        # The one in the middle was timed; more to compute takes longer.
        by_size = sorted(found, key=lambda study: works[study.key].size)
        assert by_size[1].key == own[0]
        assert [study.estimate.seconds for study in by_size] == sorted(study.estimate.seconds or 0 for study in found)


def test_trials_of_a_gpu_are_not_timed_without_one(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    spec = make_spec(resources={"gpus_per_trial": "auto"})
    assert make_plan(tmp_path, spec).studies[1].estimate.source == "calibrated"
    planned = make_plan(tmp_path, spec, gpus=2)
    assert {(study.gpus, study.estimate.basis) for study in planned.studies} == {(0.25, "calibrating it takes a GPU")}
    assert planned.totals.where == "a machine with 2 GPUs"
    assert planned.runnable


def test_gpu_hours_count_the_share_and_cost_is_of_them(ran: Path) -> None:
    spec = only("coop", name="other", resources={"gpus_per_trial": "1/4"})
    plan = make_plan(ran, spec, seconds=0, gpus=1)
    totals = plan.totals
    assert totals.gpu_hours == pytest.approx(totals.trial_hours / 4)
    # Two of a study's trials at a time.
    assert totals.wall_hours == pytest.approx(totals.trial_hours * 4 / 7)
    assert totals.cost(2.0) == pytest.approx((2 * totals.gpu_hours, 2 * totals.wall_hours))
    without = make_plan(ran, only("coop", name="other"), seconds=0).totals
    assert without.cost(3.0) == pytest.approx((3 * without.trial_hours, 3 * 2 * (without.wall_hours or 0)))


def test_pruning_is_taken_to_save_what_it_saved_so_far(ran: Path) -> None:
    store = TrialStore(LocalFiles(ran))
    proposals = {(proposal.study, proposal.number): proposal for proposal in store.proposals("tiny")}
    decisions = store.decisions("tiny")
    whole = sum(proposals[decision.study, decision.number].config.epochs for decision in decisions)
    spared = 1 - sum(decision.epoch for decision in decisions) / whole
    assert spared > 0
    plan = make_plan(ran, make_spec(trials=10), seconds=0)
    assert plan.totals.spared == pytest.approx(spared)
    assert [study.left for study in plan.studies] == [0, 3, 3]
    each = sum(study.estimate.seconds or 0 for study in plan.studies if study.left)
    assert plan.totals.trial_hours * 3600 == pytest.approx(3 * each * (1 - spared))
    assert make_plan(ran, seconds=0).totals.trials == 0
