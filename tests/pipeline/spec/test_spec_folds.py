"""The test folds of a sweep, and ``selection: strict``, which makes a study of each."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.spec import SweepSpec, load_sweep, parse_sweep, spec_differences
from sept_core.datasets import DatasetInfo
from sept_core.errors import InputError

BIRDS = DatasetInfo("birds", "events", ("a", "b", "c", "d"), "a {}", ("garden", "wood 1", "Wood"), "kfold", extra=True)


def strict(changes: dict[str, Any] | None = None, own: tuple[DatasetInfo, ...] = ()) -> SweepSpec:
    fixed = {"selection": "strict", "datasets": ["ESC10"], "methods": ["coop", "coop+sept"], "trials": 6, "budgets": {}}
    fixed["spaces"] = {}  # the quickstart's are of SEPT
    return load_sweep("quickstart", {**fixed, **(changes or {})}, own)


def folds_of(spec: SweepSpec) -> list[tuple[str, str | None]]:
    return [(f"{study.dataset}.{study.method}", study.fold) for study in spec.studies()]


def test_each_test_fold_that_the_encoder_has_not_heard_is_a_study() -> None:
    spec = strict({"datasets": ["ESC10", "FSDD"], "trials": 5})
    assert folds_of(spec) == [
        (f"{dataset}.{method}", fold)
        for dataset, folds in (("ESC10", "2345"), ("FSDD", ("nicolas", "theo", "yweweler")))
        for method in ("coop", "coop+sept")
        for fold in folds
    ]
    first = spec.studies()[0]
    assert (first.key, first.row_key) == ("ESC10.mini.base-to-new.coop.fold-2", "ESC10.mini.base-to-new.coop")
    assert (first.folds, first.trials) == (("2",), 5)
    whole = load_sweep("quickstart", {"methods": ["coop"], "budgets": {}, "spaces": {}}).studies()[0]
    assert (whole.key, whole.folds, whole.fold) == (whole.row_key, None, None)


def test_the_stored_spec_names_the_folds_so_that_it_is_read_as_it_was() -> None:
    spec = strict({"datasets": ["ESC10", "FSDD"], "folds": {"FSDD": ["theo"]}})
    assert spec.folds == {"ESC10": ("2", "3", "4", "5"), "FSDD": ("theo",)}
    stored = parse_sweep(spec.text(), "spec.yaml")
    assert stored == spec
    assert [study.key for study in stored.studies()] == [study.key for study in spec.studies()]
    # Only there: what other selections store stays as it was.
    assert load_sweep("quickstart").folds == "all"


def test_a_data_set_with_one_published_test_fold_has_one_study() -> None:
    (study,) = strict({"datasets": ["SESA"], "methods": ["coop"]}).studies()
    assert (study.key, study.fold) == ("SESA.mini.base-to-new.coop.fold-test", "test")


def test_a_source_has_a_study_for_each_of_its_test_folds() -> None:
    spec = load_sweep("cross_dataset", {"selection": "strict", "sources": ["FSDD"], "methods": ["coop"]})
    assert [study.fold for study in spec.studies()] == ["nicolas", "theo", "yweweler"]
    with pytest.raises(InputError, match="selection 'nested' does not apply.*; use selection: heldout or strict"):
        load_sweep("cross_dataset", {"selection": "nested"})


def test_budgets_and_priorities_are_those_of_every_fold() -> None:
    spec = strict({"budgets": {"ESC10.coop": 7, "coop+sept": 3}, "priorities": {"ESC10": 1}})
    assert {(study.method, study.trials) for study in spec.studies()} == {("coop", 7), ("coop+sept", 3)}
    assert {study.priority for study in spec.studies()} == {1}


def test_folds_of_ones_own_have_keys_that_any_place_takes() -> None:
    keys = [
        study.key.rpartition(".")[2]
        for study in strict({"datasets": ["birds"], "methods": ["coop"]}, (BIRDS,)).studies()
    ]
    assert keys == ["fold-garden", "fold-wood_1--f087af32", "fold-Wood"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"folds": {"ESC10": []}}, "folds.ESC10: no fold; name one, or leave the dataset out for all folds"),
        ({"folds": {"ESC10": [2, "2"]}}, "folds.ESC10: the same fold twice; name each once"),
        ({"folds": {"ESC10": [9]}}, "folds.ESC10: ESC10 has no fold '9'; known: 1, 2, 3, 4, 5"),
    ],
)
@pytest.mark.parametrize("selection", ["heldout", "strict"])
def test_folds_that_cannot_be_are_refused(changes: dict[str, Any], says: str, selection: str) -> None:
    with pytest.raises(InputError) as caught:
        load_sweep("quickstart", {"selection": selection, **changes})
    assert str(caught.value) == f"quickstart.yaml: {says}"


def test_folds_that_differ_in_capitals_only_are_refused_where_they_name_folders() -> None:
    alike = DatasetInfo("birds", "events", ("a", "b", "c", "d"), "a {}", ("Wood", "wood"), "kfold", extra=True)
    says = "folds: birds: folds 'Wood' and 'wood' differ only in upper and lower case; rename one in the CSV"
    with pytest.raises(InputError) as caught:
        strict({"datasets": ["birds"]}, (alike,))
    assert str(caught.value) == f"quickstart.yaml: {says}"
    load_sweep("quickstart", {"datasets": ["birds"]}, (alike,))


def test_folds_may_be_added_to_a_strict_sweep_and_none_taken_out() -> None:
    two, four = strict({"folds": {"ESC10": [3, 2]}}), strict()
    assert spec_differences(two, four) == []
    assert spec_differences(four, two) == ["folds of ESC10 had 4, 5 and may only be added to"]
    assert spec_differences(strict({"folds": {"ESC10": [2, 3]}}), two) == []
    assert spec_differences(strict({"selection": "heldout"}), four) == ["selection was heldout and is now strict"]
    assert spec_differences(two, strict({"trials": 2})) == [
        f"trials of ESC10.mini.base-to-new.{method}.fold-{fold} were 6 and are now 2, and may only be raised"
        for method in ("coop", "coop+sept")
        for fold in "32"
    ]
