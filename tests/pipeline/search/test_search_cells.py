"""Axes and variants: each cell is a search of its own, in one sweep with one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_inputs import provide
from tiny_sweep import make_spec, outcome_of, run_inline

from pipeline.reports import write_report
from pipeline.reports.axes import axis_sheets
from pipeline.reports.find_row import pick_row, pick_study
from pipeline.spec import SweepSpec
from pipeline.store import LocalFiles, TrialStore
from pipeline.tracking.describe import study_tags
from pipeline.tracking.labels import run_name, study_name
from sept_core.trial_config import parts_of_key

CHANGES: dict[str, Any] = {
    "methods": ["zero-shot", "coop", "coop+sept"],
    "trials": 2,
    "axes": {"shots": [1, 2]},
    "variants": {"no-margin": {"margin_mode": "none"}},
}
CELLS = (
    "zero-shot",
    "coop@shots=1",
    "coop@shots=2",
    "coop+sept@shots=1",
    "coop+sept@shots=1,variant=no-margin",
    "coop+sept@shots=2",
    "coop+sept@shots=2,variant=no-margin",
)


def spec_of(**changes: Any) -> SweepSpec:
    return make_spec(CHANGES | changes)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    run_inline(spec_of(), folder, provide)
    LocalFiles(folder).write("sweeps/tiny/spec.yaml", spec_of().text().encode())
    return folder


def test_every_cell_is_searched_with_its_own_values(root: Path) -> None:
    proposals = TrialStore(LocalFiles(root)).proposals("tiny")
    assert [study.method_in_cell for study in spec_of().studies()] == list(CELLS)
    found = {study.key: [one for one in proposals if one.study == study.key] for study in spec_of().studies()}
    assert [len(own) for own in found.values()] == [1, 2, 2, 2, 2, 2, 2]
    for proposal in proposals:
        cell = dict(one.split("=") for one in parts_of_key(proposal.study).cell.split(",") if one)
        assert proposal.config.baseline == "zero-shot" or proposal.config.shots == int(cell["shots"])
        if proposal.config.sept:
            assert (proposal.config.hyper["margin_mode"] == "none") == ("variant" in cell)


def test_trials_are_stored_by_method_so_that_a_sweep_without_axes_trains_none_of_them_again(
    root: Path, tmp_path: Path
) -> None:
    folders = {path.name for path in (root / "trials").iterdir()}
    assert all("@" not in folder for folder in folders)
    searched = TrialStore(LocalFiles(root)).proposals("tiny")
    one = next(one for one in searched if one.study.endswith(".coop@shots=2"))
    before = (root / "trials" / one.config.study_key / one.signature / "result.json").stat().st_mtime_ns
    fixed = {"coop": {name: {"fixed": value} for name, value in one.params.items()}}
    run_inline(
        make_spec({"name": "again", "methods": ["coop"], "shots": 2, "trials": 1, "spaces": fixed}), root, provide
    )
    again = TrialStore(LocalFiles(root)).proposals("again")
    assert [other.signature for other in again] == [one.signature]
    after = (root / "trials" / one.config.study_key / one.signature / "result.json").stat().st_mtime_ns
    assert after == before


def test_a_second_launch_does_nothing_and_a_value_that_is_added_is_searched_alone(tmp_path: Path, root: Path) -> None:
    whole = outcome_of(root)
    run_inline(spec_of(axes={"shots": [1]}), tmp_path, provide)
    run_inline(spec_of(), tmp_path, provide)
    assert outcome_of(tmp_path)["members"] == whole["members"]
    assert outcome_of(tmp_path)["verdicts"] == whole["verdicts"]


def test_the_report_has_a_curve_for_each_axis_and_a_table_of_variants(root: Path) -> None:
    store = TrialStore(LocalFiles(root))
    table, files = write_report(store, "tiny")
    assert [row.method for row in table.studies] == list(CELLS)
    along, variants, change = axis_sheets(table)
    assert along.columns == ("dataset", "method", "1", "2")
    assert [row[1] for row in along.rows] == ["zero-shot", "CoOp", "CoOp + SEPT"]
    of = {row.method: f"{row.headline:.1f}" for row in table.studies}
    assert along.rows[0][2:] == (of["zero-shot"],) * 2
    assert along.rows[1][2:] == (of["coop@shots=1"], of["coop@shots=2"])
    assert [row[:2] for row in variants.rows] == [
        (f"CoOp + SEPT, shots {shots}", variant) for shots in (1, 2) for variant in ("as it is", "no-margin")
    ]
    assert variants.rows[1][2] == of["coop+sept@shots=1,variant=no-margin"]
    # The gain pairs methods of one cell; a variant has no baseline of its own, and is compared with the method.
    assert [gain.baseline for gain in table.gains] == ["coop@shots=1", "coop@shots=2"]
    assert [row[:2] for row in change.rows] == [(f"CoOp + SEPT, shots {shots}", "no-margin") for shots in (1, 2)]
    page = store.files.read(files.page).decode()
    assert "Along shots" in page
    assert "CoOp + SEPT, shots 2, no-margin" in page
    assert files.picture.endswith("axis-shots.svg")
    stored = json.loads(store.files.read(files.results))
    assert stored["axes"] == {"shots": ["1", "2"]}
    assert stored["variants"] == ["no-margin"]


def test_a_cell_is_named_on_the_command_line_and_the_name_without_a_variant_is_the_method_as_it_is(root: Path) -> None:
    table, _ = write_report(TrialStore(LocalFiles(root)), "tiny")
    assert pick_row(table, "coop+sept@shots=2").method == "coop+sept@shots=2"
    assert pick_study(table, "FSDD.coop@shots=1").study.endswith(".coop@shots=1")


def test_mlflow_tells_the_cells_apart(root: Path) -> None:
    proposals = TrialStore(LocalFiles(root)).proposals("tiny")
    names = {proposal.study: study_name(proposal) for proposal in proposals}
    assert len(set(names.values())) == len(names) == len(CELLS)
    assert "FSDD | CoOp + SEPT, shots 2, no-margin" in names.values()
    assert {study_tags("tiny", proposal)["sept.study"] for proposal in proposals} == set(names)
    assert run_name(next(one for one in proposals if one.study.endswith("coop@shots=1"))).startswith(
        "#0 coop@shots=1 | "
    )


def test_cells_that_chose_one_trial_both_have_its_result(root: Path) -> None:
    store = TrialStore(LocalFiles(root))
    one = next(one for one in store.proposals("tiny") if one.study.endswith("coop@shots=1"))
    cells = [(f"{one.config.study_key}@{cell}", one.signature) for cell in ("shots=1", "shots=1,variant=same")]
    assert store.read_results(cells).keys() == set(cells)


def test_a_report_of_cells_in_which_nothing_has_finished_says_so_by_leaving_them_out(tmp_path: Path) -> None:
    begun = spec_of(methods=["coop", "coop+sept"], variants={}, axes={"shots": [1]})
    run_inline(begun, tmp_path, provide)
    LocalFiles(tmp_path).write("sweeps/tiny/spec.yaml", spec_of().text().encode())
    table, _ = write_report(TrialStore(LocalFiles(tmp_path)), "tiny")
    [along] = axis_sheets(table)
    assert along.rows == tuple(
        ("FSDD", title, f"{row.headline:.1f}", "")
        for title, row in zip(("CoOp", "CoOp + SEPT"), table.studies, strict=True)
    )
