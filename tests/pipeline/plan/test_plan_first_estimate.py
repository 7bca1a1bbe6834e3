"""The first estimate stays with the sweep and is held against what its trials took."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import tiny_inputs
from tiny_sweep import make_spec, run_inline

from pipeline.plan import SweepPlan, estimate_accuracy
from pipeline.plan.first_estimate import plan_key
from pipeline.plan.planning import plan_sweep
from pipeline.spec import SweepSpec, load_sweep
from pipeline.store import LocalFiles, TrialStore, open_files


def make_plan(root: Path, seconds: float = 0.02, **changes: Any) -> SweepPlan:
    return plan_sweep(make_spec(changes), root, provider=tiny_inputs.provide, calibrate_s=seconds)


def run(root: Path, **changes: Any) -> None:
    """As a launch: the spec first."""
    spec = make_spec(changes)
    TrialStore(LocalFiles(root)).write_spec(spec.name, spec.text())
    run_inline(spec, root)


def kept(root: Path) -> bytes:
    return (root / plan_key("tiny")).read_bytes()


def test_the_first_estimate_is_kept_and_judged_by_finished_trials(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    assert plan.kept == str(tmp_path / "sweeps/tiny/plan.json")
    assert plan.accuracy is None
    first = kept(tmp_path)
    make_plan(tmp_path)
    assert kept(tmp_path) == first
    run(tmp_path)
    later = make_plan(tmp_path, seconds=0)
    assert kept(tmp_path) == first
    assert later.accuracy == estimate_accuracy(TrialStore(LocalFiles(tmp_path)), "tiny")
    assert later.accuracy is not None
    store = TrialStore(LocalFiles(tmp_path))
    took: dict[str, list[float]] = {}
    for decision in store.decisions("tiny"):
        result = store.read_result(decision.study, decision.signature)
        if decision.state == "finished" and result is not None:
            took.setdefault(decision.study, []).append(result.train_seconds)
    planned = {study.key: study.estimate.seconds for study in plan.studies}
    for study in later.accuracy.studies:
        assert (study.trials, study.planned) == (len(took[study.study]), planned[study.study])
        assert study.took == pytest.approx(statistics.fmean(took[study.study]))
        assert study.ratio == study.took / study.planned
    assert len(later.accuracy.studies) == 3
    assert later.accuracy.took == pytest.approx(sum(map(sum, took.values())))
    assert json.loads(json.dumps(later.to_json()))["accuracy"]["ratio"] == later.accuracy.ratio


def test_a_nested_sweep_is_judged_by_both_its_trainings(tmp_path: Path) -> None:
    make_plan(tmp_path, selection="nested", trials=2)
    run(tmp_path, selection="nested", trials=2)
    store = TrialStore(LocalFiles(tmp_path))
    accuracy = estimate_accuracy(store, "tiny")
    assert accuracy is not None
    for study in accuracy.studies:
        decisions = [decision for decision in store.decisions("tiny") if decision.study == study.study]
        results = [store.read_result(one.study, one.signature) for one in decisions if one.state == "finished"]
        assert study.took == pytest.approx(statistics.fmean(result.train_seconds for result in results if result))


def test_an_estimate_of_another_spec_takes_its_place_until_a_trial_has_ended(tmp_path: Path) -> None:
    make_plan(tmp_path)
    first = kept(tmp_path)
    make_plan(tmp_path, shots=1)
    second = kept(tmp_path)
    assert second != first
    run(tmp_path, shots=1)
    make_plan(tmp_path)
    assert kept(tmp_path) == second


def test_more_trials_do_not_spoil_the_comparison_and_another_search_is_not_compared(tmp_path: Path) -> None:
    make_plan(tmp_path, trials=2)
    run(tmp_path, trials=3)
    assert estimate_accuracy(TrialStore(LocalFiles(tmp_path)), "tiny") is not None
    other = tmp_path / "other"
    make_plan(other, trials=2, shots=1)
    run(other, trials=2)
    assert estimate_accuracy(TrialStore(LocalFiles(other)), "tiny") is None


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe"])
def test_a_damaged_estimate_is_none_and_may_be_made_again(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "sweeps/tiny").mkdir(parents=True)
    (tmp_path / plan_key("tiny")).write_bytes(damage)
    assert estimate_accuracy(TrialStore(LocalFiles(tmp_path)), "tiny") is None
    make_plan(tmp_path)
    assert "calibrated" in kept(tmp_path).decode()


def test_a_sweep_that_ended_without_an_estimate_gets_none(tmp_path: Path) -> None:
    run(tmp_path, trials=1)
    assert make_plan(tmp_path, trials=2).kept == ""
    assert not (tmp_path / plan_key("tiny")).exists()


def test_a_plan_of_a_sweep_in_a_bucket_is_kept_there(s3_root: str) -> None:
    plan = plan_sweep(make_spec(), s3_root, provider=tiny_inputs.provide, calibrate_s=0.02)
    assert plan.kept == f"{s3_root}/sweeps/tiny/plan.json"
    again = plan_sweep(make_spec(), s3_root, provider=tiny_inputs.provide, calibrate_s=0)
    assert again.kept == plan.kept
    keys = open_files(s3_root).list()
    assert keys == ["sweeps/tiny/plan.json"]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_estimate_of_a_real_sweep_is_within_a_factor_of_three(tmp_path: Path) -> None:
    shorter = {"methods": ["coop", "coop+sept"], "datasets": ["ESC10"], "trials": 2, "seeds": [0]}
    spec: SweepSpec = load_sweep("quickstart", {**shorter, "training.epochs": 6, "training.report_every": 3})
    store = TrialStore(LocalFiles(tmp_path))
    store.write_spec(spec.name, spec.text())
    plan = plan_sweep(spec, tmp_path, calibrate_s=1.5)
    assert {study.estimate.source for study in plan.studies} == {"calibrated"}
    run_inline(spec, tmp_path, "pipeline.search.inputs:load_inputs")
    accuracy = estimate_accuracy(store, spec.name)
    assert accuracy is not None
    assert 1 / 3 < accuracy.ratio < 3
