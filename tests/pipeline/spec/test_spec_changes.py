"""How a sweep that was launched may change, and how not."""

from __future__ import annotations

from typing import Any

import pytest
from quickstart_spec import quickstart, refusal

from pipeline.spec import parse_sweep, spec_differences
from sept_core.errors import InputError


def test_what_is_done_with_neighbours_that_name_a_new_class_is_kept_with_the_sweep_and_makes_another_search() -> None:
    spec = quickstart(neighbors_naming_new="drop")
    assert parse_sweep(spec.text(), "stored").neighbors_naming_new == spec.neighbors_naming_new == "drop"
    assert "neighbors_naming_new" not in quickstart().text()
    assert spec_differences(quickstart(), spec) == ["neighbors_naming_new was keep and is now drop"]
    assert "neighbors_naming_new" in refusal({"neighbors_naming_new": "leave"})
    cross: dict[str, Any] = {"protocol": "cross-dataset", "datasets": [], "sources": ["ESC10"], "targets": ["FSDD"]}
    said = refusal(cross | {"neighbors_naming_new": "drop"})
    assert "neighbors_naming_new: drop does not apply to cross-dataset" in said


def test_what_is_done_with_crossing_clips_and_faulty_copies_is_kept_with_the_sweep() -> None:
    spec = quickstart(crossing="drop", accept_faulty_splits=["esc10"])
    assert (spec.crossing, spec.accept_faulty_splits) == ("drop", ("ESC10",))
    again = parse_sweep(spec.text(), "stored")
    assert (again.crossing, again.accept_faulty_splits) == ("drop", ("ESC10",))
    assert "crossing" not in quickstart().text()
    with pytest.raises(InputError, match=r"crossing.*'leave'"):
        quickstart(crossing="leave")
    with pytest.raises(InputError, match=r"accept_faulty_splits\.SESA: 'SESA' is not a dataset of this sweep"):
        quickstart(accept_faulty_splits=["SESA"])


N_CTX = {"spaces.coop.n_ctx": {"choices": [2, 4, 8]}}

LR = {"spaces.coop.lr": {"low": 0.01, "high": 0.05, "log": True}}


@pytest.mark.parametrize(
    "changes",
    [
        {"trials": 16, "resources.workers": 7},
        {"budgets": {"coop": 9}},
        {"priorities": {"esc10": 3}},
        {"datasets": ["SESA", "FSDD", "Synth12", "ESC10"]},
        {"methods": ["zero-shot", "coop", "coop+sept", "dept", "dept+sept"]},
        N_CTX,
        LR,
        {"spaces.coop.n_ctx": {"fixed": 2}, "spaces.coop.lr": {"choices": [0.01, 0.02]}},
        {"spaces.sept.n_neighbors": {"low": 2, "high": 3}},
        {"accept_faulty_splits": ["esc10"]},
    ],
)
def test_a_sweep_may_go_on_with_larger_budgets_narrower_spaces_and_more_studies(changes: dict[str, Any]) -> None:
    assert spec_differences(quickstart(), quickstart(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"trials": 4}, ["trials of ESC10.mini.base-to-new.coop were 8 and are now 4, and may only be raised"]),
        ({"budgets": {"ESC10.coop": 4}}, ["trials of ESC10.mini.base-to-new.coop were 8 and are now 4"]),
        ({"parallel": 3}, ["parallel was 2 and is now 3"]),
        ({"crossing": "drop"}, ["crossing was keep and is now drop"]),
        ({"training.epochs": 50}, ["training.epochs was 20 and is now 50"]),
        ({"training.precision": "bfloat16"}, ["training.precision was float32 and is now bfloat16"]),
        ({"datasets": ["ESC10"]}, ["datasets had Synth12, FSDD and may only be added to"]),
        ({"methods": ["coop", "coop+sept"]}, ["methods had zero-shot and may only be added to"]),
        ({"folds": {"ESC10": [2, 3]}}, ["folds of ESC10 were all and are now 2, 3"]),
        ({"encoder": "msclap-2023"}, ["encoder was mini and is now msclap-2023"]),
        (
            {"spaces.coop.n_ctx": {"choices": [2, 32]}},
            ["spaces.coop.n_ctx was choices [2, 4, 8, 16] and is now choices [2, 32], and may only be narrowed"],
        ),
        ({"spaces.sept.n_neighbors": {"low": 1, "high": 12}}, ["spaces.sept.n_neighbors was low 1, high 10"]),
        ({"spaces.coop.lr": {"low": 0.01, "high": 0.05}}, ["spaces.coop.lr was"]),
        ({"spaces.coop.logit_scale": {"fixed": 100.0}}, ["spaces.coop.logit_scale was not set and is now fixed 100.0"]),
    ],
)
def test_what_would_make_another_search_is_named_with_before_and_after(
    changes: dict[str, Any], says: list[str]
) -> None:
    differences = spec_differences(quickstart(), quickstart(**changes))
    assert all(any(line.startswith(start) for line in differences) for start in says), differences
