"""A sweep's YAML: what ships is right, and what is wrong gives one line with file, key, value and what to do."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from quickstart_spec import quickstart

from pipeline.spec import SweepSpec, load_sweep, parse_sweep, spec_differences
from sept_core.datasets import DatasetInfo
from sept_core.errors import InputError


def test_a_study_space_is_its_baseline_plus_sept_with_the_sweeps_overrides_laid_over() -> None:
    spec = quickstart(**{"spaces.coop.n_ctx": {"fixed": 16}, "spaces.sept.lambda_se": {"choices": [1.0, 10.0]}})
    _, plain, with_sept = spec.studies()[:3]
    assert plain.constants == {"n_ctx": 16}
    assert set(plain.searched) == {"lr"}
    assert with_sept.constants == {"n_ctx": 16, "margin_inter": 1.0, "margin_intra": 1.0}
    assert with_sept.searched["lambda_se"].choices == (1.0, 10.0)
    assert with_sept.searched["lr"] == plain.searched["lr"]


def test_a_study_with_nothing_to_search_has_one_trial() -> None:
    fixed = {"spaces.coop": {"n_ctx": {"fixed": 4}, "lr": {"choices": [0.01]}}}
    assert quickstart(**fixed).studies()[1].trials == 1


def test_what_the_store_keeps_reads_back_as_the_same_spec() -> None:
    spec = quickstart(**{"folds": {"esc10": [2, 3]}, "spaces.coop.lr": {"low": 0.01, "high": 0.02, "step": 0.005}})
    assert parse_sweep(spec.text(), "spec.yaml") == spec
    assert spec.folds_of("ESC10") == ("2", "3")
    assert spec.folds_of("FSDD") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": {"name": "random", "seed": 5}},
        {"sampler": {"name": "tpe", "multivariate": False}},
        {"pruner": {"name": "none"}},
        {"pruner": {"name": "median", "n_warmup_epochs": 3}},
        {"selection": "nested"},
        {"encoder": {"name": "mini", "weights": "somewhere"}},
        {"training.precision": "bfloat16"},
        {"resources": {"workers": "auto", "gpus_per_trial": "1/4"}},
        {"budgets": {"ESC10": 3}, "priorities": {"coop": 2}},
        {"protocol": "cross-dataset", "datasets": [], "sources": ["ESC10"], "targets": ["FSDD"]},
        {"protocol": "few-shot"},
    ],
)
def test_whatever_a_spec_says_the_store_reads_back_the_same(changes: dict[str, Any]) -> None:
    spec = quickstart(**changes)
    assert parse_sweep(spec.text(), "spec.yaml") == spec


def test_names_are_taken_in_any_case_and_kept_as_registered() -> None:
    assert quickstart(datasets=["esc10", "fsdd"]).datasets == ("ESC10", "FSDD")


def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(
        files("search_spaces").joinpath("sweeps/quickstart.yaml").read_text().replace("trials: 8", "trials: 9")
    )
    assert load_sweep(path).trials == 9
    assert load_sweep(str(path)).trials == 9


def test_a_key_that_is_left_empty_is_as_good_as_none() -> None:
    empty: dict[str, Any] = {"neighbors": None, "folds": None, "budgets": None, "training.precision": None}
    assert quickstart(**empty).text() == quickstart().text()
    assert quickstart(**{"resources": None, "resources.workers": 2}).resources.workers == 2


def test_numbers_are_read_as_a_person_writes_them_wherever_only_a_number_makes_sense() -> None:
    text = """
name: mine
encoder: mini
datasets: [ESC10]
methods: [coop, coop+sept]
trials: 1e2
seeds: [0, 1e0]
shots: 1_6
training: {epochs: 2e1, report_every: 0x5}
sampler: random
pruner: none
budgets: {coop: 1e1}
resources: {cpus_per_trial: 1e0, gpus_per_trial: 2.5e-1}
spaces:
  coop: {lr: {choices: [1e-3, .5]}, n_ctx: {fixed: 4e0}, logit_scale: {low: 1e-1, high: 1E2, log: yes}}
  sept: {margin_mode: {choices: [none, constant]}}
"""
    spec = parse_sweep(text, "my.yaml")
    assert (spec.trials, spec.seeds, spec.shots, spec.budgets) == (100, (0, 1), 16, {"coop": 10})
    assert (spec.training.epochs, spec.training.report_every) == (20, 5)
    assert (spec.sampler.name, spec.pruner.name) == ("random", "none")
    assert (spec.resources.cpus_per_trial, spec.resources.gpus_per_trial) == (1.0, 0.25)
    space = spec.spaces["coop"]
    assert space["lr"].choices == (0.001, 0.5)
    assert space["n_ctx"].fixed == 4
    assert (space["logit_scale"].low, space["logit_scale"].high, space["logit_scale"].log) == (0.1, 100, True)
    assert spec.spaces["sept"]["margin_mode"].choices == ("none", "constant")
    assert parse_sweep(spec.text(), "spec.yaml") == spec


def test_budgets_and_priorities_are_looked_up_by_study_then_method_then_dataset() -> None:
    values = {"esc10": 3, "coop": 4, "ESC10.coop+sept": 5}
    spec = quickstart(budgets=values, priorities=values)
    found = {study.key.replace(".mini.base-to-new", ""): (study.trials, study.priority) for study in spec.studies()}
    assert found == {
        "Synth12.zero-shot": (1, 0),
        "Synth12.coop": (4, 4),
        "Synth12.coop+sept": (8, 0),
        "ESC10.zero-shot": (1, 3),
        "ESC10.coop": (4, 4),
        "ESC10.coop+sept": (5, 5),
        "FSDD.zero-shot": (1, 0),
        "FSDD.coop": (4, 4),
        "FSDD.coop+sept": (8, 0),
    }
    assert parse_sweep(spec.text(), "spec.yaml") == spec


def test_resources_may_differ_by_baseline_and_method() -> None:
    own = {"coop": {"gpus_per_trial": "1/4"}, "coop+sept": {"gpus_per_trial": "1/2", "cpus_per_trial": 2}}
    spec = quickstart(resources={"gpus_per_trial": "auto", "by_method": own})
    assert [spec.resources.of(method) for method in spec.methods] == [(1, "auto"), (1, 0.25), (2, 0.5)]
    assert parse_sweep(spec.text(), "spec.yaml") == spec


OWN = DatasetInfo("birds", "events", ("jay", "kite", "tit", "wren"), "A {}.", ("1", "2"), "kfold", extra=True)


def cross(**changes: Any) -> SweepSpec:
    return load_sweep("cross_dataset", changes, [OWN])


def test_a_cross_dataset_study_is_one_source_and_one_method_and_its_targets_are_all_but_itself() -> None:
    spec = cross(sources=["esc10", "BIRDS"], targets=["ESC10", "fsdd", "birds"], methods=["coop", "coop+sept"])
    assert [(study.key, study.inputs.targets) for study in spec.studies()] == [
        ("ESC10.mini.cross-dataset.coop", ("FSDD", "birds")),
        ("ESC10.mini.cross-dataset.coop+sept", ("FSDD", "birds")),
        ("birds.mini.cross-dataset.coop", ("ESC10", "FSDD")),
        ("birds.mini.cross-dataset.coop+sept", ("ESC10", "FSDD")),
    ]
    assert parse_sweep(spec.text(), "spec.yaml", own=[OWN]) == spec


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"targets": ["ESC10"], "sources": ["esc10"]}, "targets: the only target of the source ESC10 is ESC10 itself"),
        ({"selection": "nested"}, "selection: selection 'nested' does not apply to cross-dataset"),
        ({"selection": "paper"}, "selection: selection 'paper' does not apply to cross-dataset"),
        ({"targets": []}, "targets: missing or empty; add 'targets: [...]'"),
        ({"datasets": ["ESC10"]}, "datasets: protocol cross-dataset has no datasets"),
        ({"protocol": "base-to-new"}, "sources: protocol base-to-new has no sources"),
        ({"folds": {"birds": [1]}}, "folds.birds: 'birds' is not a dataset of this sweep"),
        ({"targets": ["bird"]}, "targets.0: unknown dataset 'bird'; did you mean 'birds'?"),
    ],
)
def test_a_cross_dataset_sweep_that_cannot_be_run_is_refused_in_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        cross(**changes)
    assert str(caught.value).startswith(f"cross_dataset.yaml: {says}")
    assert "\n" not in str(caught.value)


def test_a_few_shot_study_is_one_dataset_and_one_method_and_says_that_it_trains_on_all_classes() -> None:
    spec = quickstart(protocol="few-shot", methods=["coop", "coop+sept"], selection="strict")
    keys = {study.row_key for study in spec.studies()}
    assert keys == {f"{name}.mini.few-shot.{method}" for name in spec.datasets for method in spec.methods}
    assert {study.inputs.protocol for study in spec.studies()} == {"few-shot"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"selection": "nested"},
            "selection: selection 'nested' does not apply to few-shot: it trains on all classes; use selection",
        ),
        ({"neighbors_naming_new": "drop"}, "neighbors_naming_new: neighbors_naming_new: drop does not apply to few-"),
        ({"sources": ["ESC10"]}, "sources: protocol few-shot has no sources; with protocol: few-shot, give datasets"),
        ({"datasets": []}, "datasets: missing or empty; add 'datasets: [...]'"),
    ],
)
def test_a_few_shot_sweep_that_cannot_be_run_is_refused_in_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        quickstart(protocol="few-shot", **changes)
    assert f": {says}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nested_selection_needs_base_classes_that_can_be_split_again() -> None:
    assert quickstart(selection="nested").selection == "nested"
    assert quickstart(selection="paper").selection == "paper"
    with pytest.raises(InputError, match=r"selection: birds has 2 base classes, too few to split again.*heldout"):
        load_sweep("quickstart", {"selection": "nested", "datasets": ["ESC10", "birds"]}, [OWN])


def test_ones_own_dataset_is_known_only_where_it_was_prepared() -> None:
    spec = load_sweep("quickstart", {"datasets": ["birds"], "folds": {"Birds": [2]}}, [OWN])
    assert (spec.datasets, spec.folds_of("birds")) == (("birds",), ("2",))
    with pytest.raises(InputError, match=r"datasets\.0: unknown dataset 'birds'"):
        quickstart(datasets=["birds"])


def test_an_encoder_is_a_name_or_a_name_with_places_and_these_reach_every_study(tmp_path: Path) -> None:
    path = tmp_path / "sweeps" / "my.yaml"
    path.parent.mkdir()
    text = files("search_spaces").joinpath("sweeps/quickstart.yaml").read_text()
    places = "{name: msclap-2023, weights: ../clap.pth, text_model: hub:gpt2}"
    path.write_text(text.replace("encoder: mini", f"encoder: {places}") + "neighbors: {esc10: my.json}\n")
    spec = load_sweep(path)
    esc10, fsdd = (next(s for s in spec.studies() if s.dataset == name and s.sept) for name in ("ESC10", "FSDD"))
    assert esc10.encoder == "msclap-2023"
    # Relative to the file, and the same from whatever folder a worker runs in.
    assert Path(esc10.inputs.weights or "").resolve() == tmp_path / "clap.pth"
    assert Path(esc10.inputs.weights or "").is_absolute()
    assert (esc10.inputs.text_model, esc10.inputs.neighbors) == ("hub:gpt2", str(tmp_path / "sweeps" / "my.json"))
    assert fsdd.inputs.neighbors is None
    assert parse_sweep(spec.text(), "spec.yaml") == spec
    assert spec_differences(spec, load_sweep(path, {"encoder.weights": "/elsewhere.pth", "neighbors": {}})) == []
    assert spec_differences(spec, load_sweep(path, {"encoder": "mini"})) == ["encoder was msclap-2023 and is now mini"]
