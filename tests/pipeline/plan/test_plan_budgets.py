"""A sweep whose baseline and SEPT twin have different budgets is told what that comes to before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_inputs
from tiny_sweep import make_spec

from pipeline.plan.planning import plan_sweep


def notes_of(root: Path, **changes: Any) -> list[str]:
    plan = plan_sweep(make_spec(changes), root, provider=tiny_inputs.provide, calibrate_s=0)
    return [note for note in plan.notes if note.startswith("budgets: ")]


@pytest.mark.parametrize("budgets", [{"coop+sept": 9}, {"FSDD.coop": 9}])
def test_both_numbers_and_the_consequence_are_told(budgets: dict[str, int], tmp_path: Path) -> None:
    (note,) = notes_of(tmp_path, budgets=budgets)
    numbers = ("7", "9") if "coop+sept" in budgets else ("9", "7")
    assert f"coop has {numbers[0]} trials and coop+sept {numbers[1]} (FSDD)" in note
    assert "gain will compare the first 7 of both" in note


@pytest.mark.parametrize("budgets", [{}, {"FSDD": 9}])
def test_equal_budgets_are_not_worth_a_word(budgets: dict[str, int], tmp_path: Path) -> None:
    assert notes_of(tmp_path, budgets=budgets) == []


def test_where_one_side_has_nothing_to_search_no_other_number_is_asked_for(tmp_path: Path) -> None:
    fixed = {"n_ctx": {"fixed": 2}, "lr": {"fixed": 0.05}}
    spec = make_spec({"spaces.coop": fixed})
    assert {study.method: study.trials for study in spec.studies()} == {"zero-shot": 1, "coop": 1, "coop+sept": 7}
    assert notes_of(tmp_path, **{"spaces.coop": fixed}) == []
