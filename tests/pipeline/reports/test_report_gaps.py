"""What a report says of folds, studies and results that it lacks."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_results as made
from rich.console import Console

from pipeline.cli.report import show_report
from pipeline.reports import collect, describe, legend, read_records, tabulate, to_latex
from pipeline.reports.conclusion import conclusion_of
from pipeline.reports.document import Section
from pipeline.reports.find_row import pick_row, pick_study
from pipeline.reports.tables import best_rows
from pipeline.store import TrialStore
from pipeline.store.trials import trial_key
from sept_core.errors import InputError, SeptError

Sept = Callable[..., tuple[int, str, str]]

COOP, TWIN = "ESC10.mini.base-to-new.coop", "ESC10.mini.base-to-new.coop+sept"
AGAIN = "launch the sweep again, which trains them again"


def strict(store: TrialStore, coop: tuple[str, ...] = ("2", "3", "4", "5")) -> list[made.Case]:
    """A strict sweep on both data sets, of whose CoOp on ESC10 only these folds have begun."""
    cases = [
        made.of_folds(case, (fold,), strict=True)
        for case in made.make_cases(4)
        for fold in case.proposal.config.folds
        if case.proposal.config.row_key != COOP or fold in coop
    ]
    made.fill_store(store, cases)
    folds = "selection: strict\nfolds: {ESC10: ['2', '3', '4', '5'], FSDD: [nicolas, theo, yweweler]}\n"
    store.write_spec(made.SWEEP, made.SPEC + folds, made.SPEC)
    return cases


def lose(store: TrialStore, case: made.Case) -> None:
    """Delete a trial's result."""
    store.files.delete(trial_key(case.proposal.study, case.proposal.signature, "result.json"))


def test_a_row_that_lacks_folds_is_never_the_best_and_says_which_it_has(store: TrialStore) -> None:
    cases = strict(store, coop=("3",))
    for case in cases:
        if case.proposal.study.startswith(f"{COOP}.") and case.result is not None:
            rows = tuple(row | {f"test_{name}": 100.0 for name in ("base", "new", "h")} for row in case.result.replicas)
            store.write_result(replace(case.result, replicas=rows))
    table = collect(store, made.SWEEP)
    row = next(row for row in table.rows if row.study == COOP)
    assert (row.test.h, row.folds) == (100.0, ("3",))
    assert best_rows(table).isdisjoint({COOP})
    assert "ESC10 CoOp 100.0" not in conclusion_of(table)
    line = "ESC10 CoOp: fold 3 only so far; not comparable with the other rows."
    assert line in legend(table)
    assert line in to_latex(table)
    assert "folds 2, 3, 4, 5, seeds 0." in " ".join(legend(table))
    # Alone at the front it does not stand for the folds of its dataset either.
    assert "folds 2, 3, 4, 5, seeds 0." in " ".join(legend(replace(table, rows=(row, *table.rows))))
    assert table.without == tuple(f"{COOP}.fold-{fold}" for fold in "245")
    headline = describe(table).sections[0]
    assert f"No finished trial yet: {', '.join(table.without)}." in headline.notes
    (matrix,) = [sheet for sheet in headline.sheets if sheet.title == "H by dataset and method"]
    assert [cells[0] for cells in matrix.rows] == ["ESC10", "FSDD"]  # no mean over both


def test_a_whole_strict_sweep_lacks_nothing(store: TrialStore) -> None:
    strict(store)
    table = collect(store, made.SWEEP)
    assert (table.without, table.lost) == ((), ())
    assert not any("so far" in line for line in legend(table))
    (matrix,) = [sheet for sheet in describe(table).sections[0].sheets if sheet.title == "H by dataset and method"]
    assert matrix.rows[-1][0] == "mean"


def test_where_no_row_is_whole_none_is_named_the_highest(store: TrialStore) -> None:
    strict(store)
    table = collect(store, made.SWEEP)
    first, second = table.rows[0], table.rows[1]
    rows = (replace(first, folds=("2",)), replace(second, folds=("3",)))
    assert "Highest" not in conclusion_of(replace(table, rows=rows, gains=()))


def test_results_that_are_gone_are_not_trials_that_have_not_finished(store: TrialStore, tmp_path: Path) -> None:
    cases = strict(store)
    study = f"{COOP}.fold-3"
    lose(store, made.best_of(cases, study))
    table = collect(store, made.SWEEP)
    assert (table.without, table.lost) == ((), (study,))
    assert table.to_json()["lost"] == (study,)
    said = f"Results of {study} are gone: {AGAIN}."
    assert said in describe(table).sections[0].notes
    console = Console(file=io.StringIO(), width=80)
    complete, _ = show_report(console, str(tmp_path / "root"), made.SWEEP)
    assert not complete
    assert f"results of {study} are gone: {AGAIN}" in console.file.getvalue()  # type: ignore[attr-defined]
    for wanted in (study, "ESC10.coop", "ESC10.coop.fold-2"):
        with pytest.raises(InputError, match=f"results of {study} are gone; {AGAIN}"):
            pick_row(table, wanted)
    with pytest.raises(InputError, match=f"results of {study} are gone; {AGAIN}"):
        pick_study(table, study)
    assert pick_study(table, "ESC10.coop.fold-2").study == f"{COOP}.fold-2"


def test_where_all_results_are_gone_nobody_is_told_to_wait(store: TrialStore) -> None:
    case = made.make_case("FSDD", "coop", 0)
    made.fill_store(store, [case])
    lose(store, case)
    with pytest.raises(SeptError, match=f"results of FSDD.mini.base-to-new.coop are gone; {AGAIN}"):
        collect(store, made.SWEEP)


def test_best_without_a_result_for_use_shows_the_estimate_and_says_what_to_do(
    sept: Sept, store: TrialStore, tmp_path: Path
) -> None:
    cases = [case for case in made.make_cases(8) if case.proposal.study == COOP]
    chosen = [case.proposal.number for case in made.chosen_of(cases, COOP).values()]
    # Best over all folds, and of no fold.
    best = next(case for case in cases if case.result is not None and case.proposal.number not in chosen)
    cases[best.proposal.number] = replace(best, decision=replace(best.decision, objective=100.0))
    made.fill_store(store, cases)
    lose(store, best)
    code, out, err = sept("best", made.SWEEP, "--root", tmp_path / "root")
    assert code == 1
    assert "Estimate of the procedure" in out
    assert f"results of {COOP} are gone: {AGAIN}" in out
    assert err == "error: the result of the configuration for use is gone; launch the sweep again\n"
    assert sept("best", made.SWEEP, "--json", "--root", tmp_path / "root") == (1, "", err)


def test_best_shows_of_strict_the_rows_estimate_and_of_one_fold_its_study_alone(
    sept: Sept, store: TrialStore, tmp_path: Path
) -> None:
    cases = strict(store, coop=("2", "3"))
    root = tmp_path / "root"
    table = collect(store, made.SWEEP)
    estimate = next(row for row in table.rows if row.study == COOP).test.h
    code, out, _ = sept("best", made.SWEEP, "ESC10.coop.fold-3", "--root", root)
    assert code == 0
    above, below = out.split("\nFor use: ")
    assert f"{estimate:.1f}" in above
    assert "\nESC10.coop.fold-3 " in below
    assert "coop.fold-2" not in below
    assert f"sept export {made.SWEEP} ESC10.coop.fold-3 " in below
    assert "ESC10 CoOp: folds 2, 3 only so far" in below
    assert f"no finished trial yet: {COOP}.fold-4, {COOP}.fold-5\n" in below
    (told,) = json.loads(sept("best", made.SWEEP, "ESC10.coop.fold-3", "--json", "--root", root)[1])
    assert (told["study"], told["estimate"]["h"]) == (f"{COOP}.fold-3", estimate)
    assert told["signature"] == made.best_of(cases, f"{COOP}.fold-3").proposal.signature
    # The row's name means all of its studies.
    every = json.loads(sept("best", made.SWEEP, "ESC10.coop", "--json", "--root", root)[1])
    assert [one["study"] for one in every] == [f"{COOP}.fold-2", f"{COOP}.fold-3"]


def sections_of(store: TrialStore) -> dict[str, Section]:
    records = read_records(store, made.SWEEP)
    return {section.name: section for section in describe(tabulate(records), records).sections}


def test_the_inputs_of_a_strict_sweep_name_all_its_folds(store: TrialStore) -> None:
    strict(store, coop=("5", "2"))
    rows = {cells[0]: cells for cells in sections_of(store)["inputs"].sheets[0].rows}
    assert {name: cells[3] for name, cells in rows.items()} == {
        "ESC10": "2, 3, 4, 5",
        "FSDD": "nicolas, theo, yweweler",
    }


@pytest.mark.parametrize("selection", ["heldout", "nested"])
def test_of_one_fold_no_mean_over_folds_is_spoken_of(store: TrialStore, selection: str) -> None:
    cases = [case for case in made.make_cases() if case.proposal.config.dataset == "ESC10"]
    for sweep, some in (("several", cases), ("single", [made.of_folds(case, ("3",)) for case in cases])):
        made.fill_store(store, some, sweep)
        records = read_records(store, sweep)
        table = tabulate(records)
        table = replace(table, rows=tuple(replace(row, selection=selection) for row in table.rows))
        rule = next(section for section in describe(table, records).sections if section.name == "rule")
        for said in (" ".join(legend(table)), " ".join(rule.lead)):
            assert ("means over all folds" in said) is (sweep == "several")
            assert ".." not in said
