"""Axes and variants: a sweep has a search for each cell that a method depends on."""

from __future__ import annotations

import pytest

from pipeline.spec import load_sweep
from pipeline.spec.changes import spec_differences
from sept_core.errors import InputError
from sept_core.trial_config import folder_of_study, parts_of_key, row_of_study
from tests.pipeline.spec.quickstart_spec import quickstart, refusal

AXES = {"axes": {"shots": [1, 4], "lr": ["1e-2", 0.02]}}
VARIANTS = {"variants": {"intra-only": {"margin_inter": 0}, "no-margin": {"margin_mode": "none"}}}
ONE = {"datasets": ["ESC10"]}


def keys(**changes) -> list[str]:
    return [study.key.removeprefix("ESC10.mini.base-to-new.") for study in quickstart(**ONE, **changes).studies()]


def test_a_method_has_a_study_for_every_combination_of_the_axes_that_it_depends_on() -> None:
    cells = ["shots=1,lr=1e-2", "shots=1,lr=0.02", "shots=4,lr=1e-2", "shots=4,lr=0.02"]
    assert keys(**AXES) == ["zero-shot", *(f"{method}@{cell}" for method in ("coop", "coop+sept") for cell in cells)]


def test_a_variant_is_searched_beside_the_method_as_it_is_if_all_its_hyper_parameters_are_the_methods() -> None:
    assert keys(**VARIANTS) == [
        "zero-shot",
        "coop",
        "coop+sept",
        "coop+sept@variant=intra-only",
        "coop+sept@variant=no-margin",
    ]


def test_a_cell_sets_shots_hyper_parameters_and_neighbours_of_its_study(tmp_path) -> None:
    for name in ("ESC10", "FSDD"):
        (tmp_path / f"{name}.json").write_text("{}")
    axes = {"shots": [2], "n_ctx": {"short": 2}, "neighbors": {"own": f"{tmp_path}/{{dataset}}.json", "shipped": None}}
    studies = quickstart(datasets=["ESC10", "FSDD"], methods=["coop", "coop+sept"], axes=axes, **VARIANTS).studies()
    by_key = {study.key: study for study in studies}
    assert len(by_key) == len(studies) == 2 * (1 + 2 * 3)
    plain = by_key["FSDD.mini.base-to-new.coop@shots=2,n_ctx=short"]
    assert (plain.shots, plain.constants["n_ctx"], plain.inputs.neighbors) == (2, 2, None)
    own = by_key["FSDD.mini.base-to-new.coop+sept@shots=2,n_ctx=short,neighbors=own,variant=intra-only"]
    assert own.inputs.neighbors == f"{tmp_path}/FSDD.json"
    assert own.constants["margin_inter"] == 0
    assert "margin_inter" not in own.searched
    shipped = by_key["FSDD.mini.base-to-new.coop+sept@shots=2,n_ctx=short,neighbors=shipped"]
    assert shipped.inputs.neighbors is None


def test_control_lists_may_take_the_place_of_a_file() -> None:
    axes = {"neighbors": {"shipped": None, "random": "control:random-words"}}
    spec = quickstart(**ONE, methods=["coop+sept"], axes=axes)
    assert [study.inputs.neighbors for study in spec.studies()] == [None, "control:random-words"]


def test_the_key_of_a_cell_leads_to_the_folder_where_all_trials_of_its_method_are() -> None:
    spec = quickstart(**ONE, **AXES, selection="strict", folds={"ESC10": ["2", "3"]}, methods=["coop"], spaces={})
    first = spec.studies()[0]
    assert first.key == "ESC10.mini.base-to-new.coop.fold-2@shots=1,lr=1e-2"
    assert first.row_key == row_of_study(first.key) == "ESC10.mini.base-to-new.coop@shots=1,lr=1e-2"
    assert folder_of_study(first.key) == "ESC10.mini.base-to-new.coop.fold-2"
    assert parts_of_key(first.key) == ("ESC10", "mini", "base-to-new", "coop", "fold-2", "shots=1,lr=1e-2")


def test_an_axis_of_encoders_shows_in_the_encoder_of_the_key_and_strict_takes_folds_that_none_has_heard() -> None:
    axes = {"axes": {"encoder": ["mini", {"name": "msclap-2023", "weights": "hub:microsoft/msclap"}]}}
    spec = quickstart(**ONE, **axes, selection="strict", methods=["coop"], spaces={})
    assert {study.encoder for study in spec.studies()} == {"mini", "msclap-2023"}
    assert {study.inputs.weights for study in spec.studies()} == {None, "hub:microsoft/msclap"}
    assert spec.folds == {"ESC10": ("2", "3", "4", "5")}
    assert len({study.key for study in spec.studies()}) == 8


def test_the_stored_spec_has_the_same_studies(tmp_path) -> None:
    axes = {"shots": [2], "neighbors": {"shipped": None}, "encoder": ["mini"]}
    spec = quickstart(axes=axes, **VARIANTS)
    file = tmp_path / "stored.yaml"
    file.write_text(spec.text())
    again = load_sweep(file)
    assert again.studies() == spec.studies()
    assert again.text() == spec.text()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"axes": {"shots": [0]}}, "axes.shots.0: 0 is not a number of clips; at least 1"),
        ({"axes": {"lrr": [1]}}, "axes.lrr: no method of this sweep has it; did you mean 'lr'?"),
        ({"axes": {"shots": []}}, "axes.shots: no values"),
        ({"axes": {"n_ctx": ["many"]}}, "axes.n_ctx.many: 'many' is not a number"),
        ({"axes": {"template": ["This is {}."]}}, "'This is {}.' cannot be a label"),
        ({"axes": {"neighbors": [3]}}, "axes.neighbors.3: 3 is neither a file nor a mapping"),
        (
            {"axes": {"neighbors": {"a": {"ESC10": "y", "Birds": "x"}}}},
            "axes.neighbors.a: 'Birds' is not a dataset of this sweep",
        ),
        ({"axes": {"encoder": ["minni"]}}, "axes.encoder.minni: unknown encoder 'minni'"),
        ({"axes": {"encoder": {"a": "mini"}}}, "axes.encoder: the label of 'mini' is 'a'; give a list of encoders"),
        (
            {"axes": {"neighbors": {"a": {"ESC10": "x"}}}, "datasets": ["ESC10", "FSDD"]},
            "a: no file for FSDD; name a file",
        ),
        (
            {
                "axes": {"n_ctx": [2]},
                "spaces.coop": {"context_init": {"choices": ["a cat", "the dog barks"]}, "n_ctx": {"fixed": 0}},
            },
            "coop@n_ctx=2.n_ctx: n_ctx is 2, and the context starts from 2 texts of different lengths",
        ),
        ({"variants": {"x": {}}}, "variants.x: sets nothing"),
        ({"variants": {"x": {"margin_inter": 99}}}, "variants.x.margin_inter: 99 is out of range"),
        ({"variants": {"x": {"dept_weight": 0.5}}}, "variants.x: no method of this sweep has 'dept_weight'"),
        ({"variants": {"x": {"lr": 0.1}}, "axes": {"lr": [0.1]}}, "variants.x: 'lr' is an axis of this sweep"),
    ],
)
def test_what_an_axis_or_variant_cannot_be_is_said_in_one_line(changes, says) -> None:
    assert says in refusal({**ONE, **changes})


def test_values_and_variants_may_be_added_to_a_sweep_but_not_changed() -> None:
    spec = quickstart(**AXES, **VARIANTS)
    more = quickstart(
        axes={"shots": [1, 4, 16], "lr": ["1e-2", 0.02]}, variants={**VARIANTS["variants"], "n": {"n_neighbors": 1}}
    )
    assert spec_differences(spec, more) == []
    assert spec_differences(more, spec) == [
        "axes.shots had 16 and may only be added to",
        "variants had n and may only be added to",
    ]
    other = quickstart(**AXES, variants={**VARIANTS["variants"], "no-margin": {"margin_mode": "constant"}})
    assert spec_differences(spec, other) == [
        "variants.no-margin was {'margin_mode': 'none'} and is now {'margin_mode': 'constant'}"
    ]
    assert spec_differences(spec, quickstart(**VARIANTS)) == ["axes were lr, shots and are now none"]


def test_a_secret_in_a_path_of_an_axis_is_refused() -> None:
    with pytest.raises(InputError, match="carries a user, password or token"):
        quickstart(**ONE, axes={"neighbors": {"theirs": "s3://user:pass@host/x.json"}})


def test_an_encoder_that_is_none_is_refused_before_folds_are_chosen() -> None:
    with pytest.raises(InputError, match="axes.encoder.5: give a name, or a mapping"):
        quickstart(**ONE, axes={"encoder": [5]}, selection="strict", methods=["coop"], spaces={})


def test_numbers_of_a_variant_are_read_as_everywhere() -> None:
    variants = {"small": {"lr": "1e-3"}}
    assert quickstart(**ONE, variants=variants).studies()[2].constants["lr"] == 1e-3
