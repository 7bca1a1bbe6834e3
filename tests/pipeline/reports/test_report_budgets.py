"""What a report says where a baseline and its SEPT twin have different numbers of trials."""

from __future__ import annotations

import synthetic_results as made

from pipeline.reports import collect, describe, gain_lines, to_latex
from pipeline.reports.budgets import budget_notes, no_gain_notes
from pipeline.reports.conclusion import conclusion_of
from pipeline.store import TrialStore

COOP, TWIN = "ESC10.mini.base-to-new.coop", "ESC10.mini.base-to-new.coop+sept"
UNEQUAL = "(whole budgets, which differ)"


def cases_of(coop: list[str], twin: list[str]) -> list[made.Case]:
    """CoOp and its twin on ESC10, with trials that end like this."""
    given = (("coop", coop), ("coop+sept", twin))
    return [made.make_case("ESC10", method, at, state) for method, states in given for at, state in enumerate(states)]


def test_the_highest_of_whole_budgets_that_differ_says_so(store: TrialStore) -> None:
    made.fill_store(store, [*cases_of(["finished"] * 3, ["finished"] * 4), made.make_case("ESC10", "zero-shot", 0)])
    table = collect(store, made.SWEEP)
    assert conclusion_of(table).endswith(f" {UNEQUAL}.")
    assert f"Bold: highest H of each dataset {UNEQUAL}, " in " ".join(describe(table).sections[0].notes)
    assert UNEQUAL in to_latex(table)


def test_of_equal_budgets_and_of_what_was_not_searched_nothing_is_said(store: TrialStore) -> None:
    made.fill_store(store, [*cases_of(["finished"] * 3, ["finished"] * 3), made.make_case("ESC10", "zero-shot", 0)])
    table = collect(store, made.SWEEP)
    assert UNEQUAL not in conclusion_of(table) + to_latex(table)


def test_where_the_first_trials_of_the_longer_all_failed_the_missing_gain_is_explained(store: TrialStore) -> None:
    made.fill_store(store, cases_of(["finished"] * 2, ["failed"] * 2 + ["finished"]))
    table = collect(store, made.SWEEP)
    assert [row.method for row in table.rows] == ["coop", "coop+sept"]
    assert table.gains == ()
    said = "ESC10, CoOp + SEPT against CoOp: no gain: none of the first 2 trials of CoOp + SEPT finished"
    assert gain_lines(table) == [said]
    assert f"{said}." in describe(table).sections[0].notes
    assert budget_notes(table) == []


def test_where_the_gains_result_is_gone_nobody_says_that_its_trials_failed(store: TrialStore) -> None:
    cases = cases_of(["finished"] * 2, ["finished", "failed", "finished"])
    cases[-1] = made.best_everywhere(cases[-1])
    made.fill_store(store, cases)
    store.files.delete(f"trials/{TWIN}/{cases[2].proposal.signature}/result.json")
    table = collect(store, made.SWEEP)
    assert (table.lost, table.without, table.gains) == ((TWIN,), (), ())
    assert no_gain_notes(table) == []


def test_without_a_gain_nothing_is_said_of_its_budget(store: TrialStore) -> None:
    made.fill_store(store, cases_of(["finished"] * 3, ["failed"] * 2))
    table = collect(store, made.SWEEP)
    assert [row.method for row in table.rows] == ["coop"]
    assert table.rows[0].matched is not None
    assert gain_lines(table) == []


def test_while_a_sweep_runs_as_many_trials_are_compared_as_have_ended_of_both(store: TrialStore) -> None:
    cases = cases_of(["finished"] * 4, ["finished"] * 6)
    lucky = made.best_everywhere(made.make_case("ESC10", "coop", 3))
    made.fill_store(store, [*cases[:3], lucky, *(case for case in cases[4:] if case.proposal.number in (0, 2))])
    before = collect(store, made.SWEEP)
    for case in cases[4:]:
        store.add_proposal(made.SWEEP, case.proposal)  # begun, not ended
    table = collect(store, made.SWEEP)
    assert table.gains == before.gains
    coop, twin = table.rows
    assert coop.matched is not None
    assert set(coop.matched.compared.values()) == {2}
    assert {choice.number for choice in coop.choices} == {3}
    assert {choice.number for choice in coop.matched.choices} <= {0, 1}
    assert twin.matched is None
    assert {choice.number for choice in twin.choices} <= {0, 2}
    (note,) = budget_notes(table)
    assert "ESC10 CoOp, the first 2 of 4." in note
