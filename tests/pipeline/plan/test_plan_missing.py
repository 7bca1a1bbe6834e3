"""What is missing for a sweep is listed, all of it at once, and what a launch would refuse is told in its words."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_inputs
import torch
from test_search_inputs import BIRDS, embedded, manifest
from tiny_sweep import make_spec, run_inline
from torch.nn.functional import normalize

from pipeline.data.prepared import Prepared, neighbors_key, write_prepared
from pipeline.plan import SweepPlan
from pipeline.plan.planning import plan_sweep
from pipeline.plan.unprepared import load_sweep_to_plan
from pipeline.search.sweep import launch
from pipeline.spec import SweepSpec, load_sweep
from pipeline.store import EmbeddingHeader, EmbeddingStore
from sept_core.datasets import DATASETS, get_dataset
from sept_core.encoders import load_encoder
from sept_core.errors import InputError

SWEEP = """
name: mine
encoder: mini
datasets: [ESC10, birds]
methods: [zero-shot, coop, coop+sept]
trials: 3
parallel: 1
shots: 2
folds: {birds: ["2"]}
budgets: {birds: 5}
training: {epochs: 2, report_every: 1}
"""


def make_plan(root: Path, spec: SweepSpec, **options: Any) -> SweepPlan:
    return plan_sweep(spec, root, calibrate_s=0, **options)


def from_file(tmp_path: Path, text: str, overrides: Mapping[str, Any] | None = None) -> SweepPlan:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    spec, unprepared = load_sweep_to_plan(file, tmp_path / "runs", overrides)
    return make_plan(tmp_path / "runs", spec, unprepared=unprepared)


@pytest.mark.parametrize("name", ["paper", "full"])
def test_the_shipped_benchmark_sweeps_can_be_planned_on_a_bare_machine(name: str, tmp_path: Path) -> None:
    # Weights that are somewhere, so that none of this machine's are found.
    spec = load_sweep(name, {"encoder": {"name": "msclap-2023", "weights": str(tmp_path / "weights.pth")}})
    began = time.process_time()
    plan = make_plan(tmp_path / "runs", spec)
    assert time.process_time() - began < 10
    assert not plan.runnable
    weights, *embeddings = plan.missing
    assert "the weights of msclap-2023 are not there" in weights.what
    assert len(weights.studies) == len(plan.studies) == 99
    benchmark = [dataset for dataset, info in DATASETS.items() if not info.extra]
    assert sorted(missing.what for missing in embeddings) == sorted(
        f"no embeddings of {dataset} by msclap-2023" for dataset in benchmark
    )
    command = f"sept embed esc50 --audio DIR --encoder msclap-2023 --weights {tmp_path / 'weights.pth'} --root"
    assert any(missing.fix.startswith(command) for missing in embeddings)
    assert plan.totals.unknown == plan.totals.trials
    found = {study.dataset: (study.replicas, study.replicas_known) for study in plan.studies}
    assert (found["ESC50"], found["RAVDESS"]) == ((15, False), (3, False))
    if not torch.cuda.is_available():
        # Both ask for a GPU.
        assert any("and 1 GPUs" in refusal for refusal in plan.refusals)
        assert not make_plan(tmp_path / "runs", spec, gpus=8).refusals
    assert not (tmp_path / "runs").exists()


def test_embeddings_that_may_be_those_of_missing_weights_are_not_called_missing(tmp_path: Path) -> None:
    clips = manifest(get_dataset("FSDD"))
    rows = normalize(torch.randn(len(clips.clips), 8), dim=1)
    EmbeddingStore(tmp_path).write(EmbeddingHeader("FSDD", "msclap-2023", "ab" * 8, clips.digest, 8), clips.clips, rows)
    weights = {"encoder": {"name": "msclap-2023", "weights": str(tmp_path / "none.pth")}, "datasets": ["FSDD", "ESC10"]}
    plan = make_plan(tmp_path, load_sweep("quickstart", weights))
    assert [missing.what.partition(" by ")[0] for missing in plan.missing][1:] == ["no embeddings of ESC10"]


def test_ones_own_dataset_is_missing_step_by_step(tmp_path: Path) -> None:
    root, encoder = tmp_path / "runs", load_encoder("mini")
    plan = from_file(tmp_path, SWEEP)
    assert [missing.what for missing in plan.missing] == ["unknown dataset 'birds'"]
    assert "sept data prepare birds --csv FILE" in plan.missing[0].fix
    assert plan.missing[0].studies == tuple(study.key for study in plan.studies if study.dataset == "birds")
    assert [(study.ready, study.replicas, study.trials) for study in plan.studies] == [
        (True, 4, 1), (True, 4, 3), (True, 4, 3), (False, None, 1), (False, None, 5), (False, None, 5)
    ]  # fmt: skip
    write_prepared(root, Prepared(manifest(BIRDS), BIRDS))
    plan = from_file(tmp_path, SWEEP)
    # The embeddings of all three studies, the neighbours of one; both at once.
    assert [(missing.what.partition(" of birds")[0], len(missing.studies)) for missing in plan.missing] == [
        ("no embeddings", 3), (str(root / neighbors_key("birds")) + ": no neighbours", 1)
    ]  # fmt: skip
    assert plan.missing[1].fix.startswith("sept neighbors birds")
    embedded(root, encoder, BIRDS, manifest(BIRDS))
    assert [len(missing.studies) for missing in from_file(tmp_path, SWEEP).missing] == [1]
    lists = {"jay": ["blue bird"], "kite": ["raptor"], "tit": ["small songbird"], "wren": ["brown singer"]}
    (root / neighbors_key("birds")).write_text(json.dumps({"dataset": "birds", "origin": {}, "neighbors": lists}))
    narrow = {"spaces": {"sept": {"n_neighbors": {"fixed": 1}}}}
    ready = from_file(tmp_path, SWEEP, narrow)
    assert ready.runnable, (ready.missing, ready.refusals)
    # Only one neighbour of each class is there: launch would say so before it starts anything.
    wider = from_file(tmp_path, SWEEP)
    assert not wider.runnable
    assert "neighbours" in str([*wider.missing, *wider.refusals])


def test_targets_are_missed_too_and_a_mistyped_name_is_told_with_the_nearest(tmp_path: Path) -> None:
    text = SWEEP.replace("datasets: [ESC10, birds]", "protocol: cross-dataset\nsources: [ESC10]\ntargets: [ESC50, FSD]")
    text = text.replace('folds: {birds: ["2"]}\nbudgets: {birds: 5}\n', "")
    plan = from_file(tmp_path, text)
    assert sorted(missing.what for missing in plan.missing) == [
        "no embeddings of ESC50 by mini",
        "unknown dataset 'FSD'",
    ]
    assert all(len(missing.studies) == 3 for missing in plan.missing)
    assert "did you mean 'FSDD'" in next(missing.fix for missing in plan.missing if "FSD" in missing.what)


def test_what_else_is_wrong_in_a_file_is_one_error(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SWEEP.replace("trials: 3", "trails: 3"))
    with pytest.raises(InputError, match="did you mean 'trials'"):
        load_sweep_to_plan(file, tmp_path / "runs")
    with pytest.raises(InputError, match="cannot read the sweep"):
        load_sweep_to_plan(tmp_path / "none.yaml", tmp_path / "runs")


@pytest.mark.parametrize(
    "changes",
    [{"shots": 3}, {"trials": 6}, {"name": "other", "spaces.sept.n_neighbors": {"low": 1, "high": 5}}],
    ids=["another spec", "fewer trials", "too few neighbours"],
)
def test_a_plan_says_what_launch_would_say(changes: dict[str, Any], tmp_path: Path) -> None:
    run_inline(make_spec(), tmp_path)
    (tmp_path / "sweeps/tiny/spec.yaml").write_text(make_spec().text())
    spec = make_spec(changes)
    plan = plan_sweep(spec, tmp_path, provider=tiny_inputs.provide, calibrate_s=0)
    with pytest.raises(InputError) as error:
        launch(spec, tmp_path, provider=tiny_inputs.provide)
    assert plan.refusals == (str(error.value),)
    assert not plan.runnable
    same = plan_sweep(make_spec(trials=9), tmp_path, provider=tiny_inputs.provide, calibrate_s=0)
    assert same.runnable
    assert [(study.finished + study.pruned, study.left) for study in same.studies] == [(1, 0), (7, 2), (7, 2)]
