"""The sweeps and spaces that ship with the package."""

from __future__ import annotations

from importlib.resources import files

import pytest

from pipeline.spec import load_sweep, parse_sweep
from pipeline.spec.load import shipped_sweeps
from sept_core.datasets import DATASETS
from sept_core.trial import hyper_parameters


def test_quickstart_compares_coop_with_and_without_sept_on_three_datasets() -> None:
    studies = load_sweep("quickstart").studies()
    assert [study.key for study in studies] == [
        f"{dataset}.mini.base-to-new.{method}"
        for dataset in ("Synth12", "ESC10", "FSDD")
        for method in ("zero-shot", "coop", "coop+sept")
    ]
    assert [study.trials for study in studies[:3]] == [1, 8, 8]
    assert set(studies[1].searched) == {"n_ctx", "lr"}
    assert set(studies[2].searched) == {"n_ctx", "lr", "n_neighbors", "lambda_se"}


@pytest.mark.parametrize("name", ["coop", "sept", "sweeps/quickstart"])
def test_every_shipped_file_carries_the_command_that_runs_it(name: str) -> None:
    text = files("search_spaces").joinpath(f"{name}.yaml").read_text()
    assert text.startswith("#")
    assert "sept sweep launch search_spaces/sweeps/quickstart.yaml" in text


@pytest.mark.parametrize("name", shipped_sweeps())
def test_shipped_sweeps_are_read_back_by_the_store(name: str) -> None:
    spec = load_sweep(name)
    assert parse_sweep(spec.text(), "spec.yaml") == spec


def test_hyper_parameters_of_the_shipped_spaces_are_those_that_the_method_declares() -> None:
    searched = set(load_sweep("quickstart").studies()[2].space)
    assert searched <= set(hyper_parameters("coop", True))


def test_every_shipped_sweep_is_valid_and_says_how_it_is_run() -> None:
    assert shipped_sweeps() == (
        "ablation",
        "all_mini",
        "cross_dataset",
        "full",
        "neighbors",
        "paper",
        "quickstart",
        "rivals",
        "shots",
    )
    for name in shipped_sweeps():
        spec = load_sweep(name)
        assert spec.name == name
        assert parse_sweep(spec.text(), "spec.yaml") == spec
        header = files("search_spaces").joinpath(f"sweeps/{name}.yaml").read_text().partition("name:")[0]
        assert f"sept sweep launch {name}" in header or f"sept sweep launch search_spaces/sweeps/{name}.yaml" in header


BENCHMARK = {info.name for info in DATASETS.values() if not info.extra}

TRAINED = {"coop", "cocoop", "kgcoop", "dept"}


@pytest.mark.parametrize(("name", "datasets"), [("all_mini", {"ESC10"}), ("full", BENCHMARK), ("paper", BENCHMARK)])
def test_a_whole_sweep_has_every_baseline_with_and_without_sept_on_every_dataset(name: str, datasets: set[str]) -> None:
    spec = load_sweep(name)
    assert set(spec.methods) == {"zero-shot"} | TRAINED | {f"{name}+sept" for name in TRAINED}
    assert {study.dataset for study in spec.studies()} == datasets
    assert len(spec.studies()) == 9 * len(datasets)


def test_all_mini_needs_nothing_but_the_package() -> None:
    assert load_sweep("all_mini").encoder.name == "mini"


def test_the_full_sweep_searches_what_the_paper_fixes() -> None:
    full, paper = (
        {study.key: set(study.searched) for study in load_sweep(name).studies()} for name in ("full", "paper")
    )
    added = {"n_ctx", "margin_intra", "margin_inter"}
    assert full["ESC50.msclap-2023.base-to-new.coop+sept"] - paper["ESC50.msclap-2023.base-to-new.coop+sept"] == added


def test_the_papers_sweep_has_three_seeds_and_chooses_on_held_out_clips() -> None:
    spec = load_sweep("paper")
    assert (spec.encoder.name, spec.seeds, spec.selection) == ("msclap-2023", (0, 1, 2), "heldout")
