"""The plan of a sweep with a study for each test fold."""

from __future__ import annotations

import io
import statistics
from pathlib import Path

import pytest
import tiny_inputs
from rich.console import Console
from tiny_sweep import make_spec, run_inline

from pipeline.cli.show_plan import show_plan
from pipeline.plan import SweepPlan
from pipeline.plan.planning import plan_sweep
from pipeline.plan.unprepared import load_sweep_to_plan
from pipeline.spec import SweepSpec
from pipeline.store import LocalFiles, TrialStore

SPACES = {"coop": {"n_ctx": {"choices": [1, 2]}}}
FOLDS = ["nicolas", "theo", "yweweler"]


def spec_of(**changes: object) -> SweepSpec:
    return make_spec({"spaces": SPACES, "methods": ["coop"], "folds": "all", "trials": 2, "seeds": [0, 1]}, **changes)


def make_plan(root: Path, spec: SweepSpec) -> SweepPlan:
    return plan_sweep(spec, root, provider=tiny_inputs.provide, calibrate_s=0.05)


def shown(spec: SweepSpec, plan: SweepPlan) -> str:
    screen = io.StringIO()
    show_plan(Console(width=80, file=screen), spec, plan, None)
    return screen.getvalue()


def test_a_study_for_each_fold_has_trials_of_a_part_of_the_size(tmp_path: Path) -> None:
    heldout, strict = (spec_of(selection=selection) for selection in ("heldout", "strict"))
    whole, parts = (make_plan(tmp_path, spec) for spec in (heldout, strict))
    assert [(study.fold, study.trials, study.replicas) for study in whole.studies] == [(None, 2, 6)]
    assert [(study.fold, study.trials, study.replicas) for study in parts.studies] == [(fold, 2, 2) for fold in FOLDS]
    assert (whole.totals.trials, parts.totals.trials) == (2, 6)
    # One calibration serves the folds of a pair: they are as large as each other.
    assert len({study.estimate.seconds for study in parts.studies}) == 1
    text = shown(strict, parts)
    assert "tiny: 6 trials in 3 studies" in text
    assert "with one test fold x 2 seeds" in text
    assert "Selection strict: a study for each test fold" in text
    line = next(line for line in text.splitlines() if line.startswith("FSDD coop"))
    assert line.split()[:5] == ["FSDD", "coop", "3", "0/6", "2"]
    assert max(map(len, text[: text.index("ended: trials")].splitlines())) <= 80
    assert "folds" not in next(line for line in shown(heldout, whole).splitlines() if line.startswith("study"))


def test_what_one_fold_took_is_the_estimate_of_the_others(tmp_path: Path) -> None:
    run_inline(spec_of(selection="strict", folds={"FSDD": ["theo"]}), tmp_path)
    plan = make_plan(tmp_path, spec_of(selection="strict"))
    store = TrialStore(LocalFiles(tmp_path))
    trials = [tuple(key.split("/")[1:3]) for key in store.files.list("trials") if key.endswith("result.json")]
    took = statistics.fmean(result.train_seconds for result in store.read_results(trials).values())  # type: ignore[arg-type]
    assert [study.estimate.source for study in plan.studies] == ["store"] * 3
    assert [study.estimate.seconds for study in plan.studies] == pytest.approx([took] * 3)
    assert [study.left for study in plan.studies] == [2, 0, 2]
    assert not plan.refusals


def test_of_data_that_is_not_prepared_the_number_of_folds_is_not_known(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nencoder: mini\nselection: strict\ndatasets: [birds, bats]\nmethods: [coop]\ntrials: 3\n"
        "folds: {bats: [a, b, c]}\ntraining: {epochs: 2, report_every: 1}\n"
    )
    spec, unprepared = load_sweep_to_plan(file, tmp_path / "runs")
    plan = plan_sweep(spec, tmp_path / "runs", unprepared=unprepared, calibrate_s=0)
    assert plan.notes == ("birds: its number of test folds is not known yet; the plan assumes 2",)
    assert len(plan.studies) == 5
    assert not plan.runnable
