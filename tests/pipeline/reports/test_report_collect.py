from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import synthetic_results as made

from pipeline.reports import collect, describe, method_title, read_records
from pipeline.reports.budgets import budget_notes
from pipeline.reports.conclusion import conclusion_of, gain_notes
from pipeline.reports.find_row import pick_row, pick_study
from pipeline.search.selection import best_decision, choose
from pipeline.store import TrialStore
from sept_core.errors import InputError, SeptError


def test_each_test_fold_is_shown_by_the_proposal_that_is_best_on_its_own_replicas(store: TrialStore) -> None:
    cases = made.make_cases(8)
    made.fill_store(store, cases)
    table = collect(store, made.SWEEP)
    assert len(table.rows) == 6
    for row in table.rows:
        chosen = made.chosen_of(cases, row.study)
        assert {choice.fold: choice.number for choice in row.choices} == {
            fold: case.proposal.number for fold, case in chosen.items()
        }
        assert {choice.signature for choice in row.choices} == {case.proposal.signature for case in chosen.values()}
        rows = made.row_of(cases, row.study)
        assert list(row.replicas) == rows
        for part, shown in (("test", row.test), ("val", row.validation)):
            expected = made.summary(rows, part)
            assert {name: getattr(shown, name) for name in expected} == pytest.approx(expected, abs=1e-9)
    assert any(len(row.merged) > 1 for row in table.rows)


def test_the_configuration_for_use_is_the_best_over_all_folds_and_says_what_its_choice_has_seen(
    store: TrialStore,
) -> None:
    cases = made.make_cases(8)
    made.fill_store(store, cases)
    table = collect(store, made.SWEEP)
    assert len(table.for_use) == 6
    for use in table.for_use:
        best = made.best_of(cases, use.study)
        assert best.result is not None
        assert (use.number, use.signature) == (best.proposal.number, best.proposal.signature)
        assert (use.test, use.validation) == (best.result.test, best.result.validation)
        assert bool(use.caution) == (use.method != "zero-shot")


def test_with_one_test_fold_the_row_is_the_trial_with_the_best_objective(store: TrialStore) -> None:
    cases = [made.of_folds(case, ("2",)) for case in made.make_cases(8) if case.proposal.config.dataset == "ESC10"]
    made.fill_store(store, cases)
    table = collect(store, made.SWEEP)
    uses = {use.row: use for use in table.for_use}
    for row in table.rows:
        (choice,), best = row.choices, made.best_of(cases, row.study)
        assert best.result is not None
        assert (choice.number, choice.signature) == (best.proposal.number, best.proposal.signature)
        assert (row.test.h, row.validation.h) == (best.result.test["h"], best.decision.objective)
        assert uses[row.study].caution == ""


def test_a_record_of_an_earlier_release_is_completed_from_its_result(store: TrialStore) -> None:
    cases = made.make_cases(8)
    made.fill_store(store, [replace(case, decision=replace(case.decision, fold_values={})) for case in cases])
    assert not any(decision.fold_values for decision in store.decisions(made.SWEEP))
    before = collect(store, made.SWEEP)
    for row in before.rows:
        assert list(row.replicas) == made.row_of(cases, row.study)


def test_by_selection_paper_one_trial_stands_for_all_folds(store: TrialStore) -> None:
    cases = [made.chosen_on_test(case) for case in made.make_cases(8) if case.result is not None]
    made.fill_store(store, cases)
    for row in collect(store, made.SWEEP).rows:
        best = made.best_of(cases, row.study)
        assert {choice.signature for choice in row.choices} == {best.proposal.signature}


def test_of_strict_a_row_is_made_of_a_study_for_each_test_fold(store: TrialStore) -> None:
    cases = [
        made.of_folds(case, (fold,), strict=True)
        for case in made.make_cases(6)
        for fold in case.proposal.config.folds
        # The second fold's study is shorter.
        if not (fold == "3" and case.proposal.number > 3)
    ]
    made.fill_store(store, cases)
    table = collect(store, made.SWEEP)
    assert [row.study for row in table.rows] == [row.study for row in sorted(table.rows, key=lambda row: row.dataset)]
    row = next(row for row in table.rows if (row.dataset, row.method) == ("ESC10", "coop"))
    assert row.folds == ("2", "3", "4", "5")
    assert row.trials_shown == "4-6 a fold"
    for choice in row.choices:
        best = made.best_of(cases, f"{row.study}.fold-{choice.fold}")
        assert (choice.study, choice.signature) == (best.proposal.study, best.proposal.signature)
    assert {use.row for use in table.for_use} == {row.study for row in table.rows}
    assert not any(use.caution for use in table.for_use)
    sections = {section.name: section for section in describe(table, read_records(store, made.SWEEP)).sections}
    titles = [group.title for group in sections["search"].groups]
    assert "ESC10, fold 3, CoOp with and without SEPT" in titles
    assert "Each test fold has a search of its own" in " ".join(sections["rule"].lead)
    # The matrices of its trials add up to the row's.
    assert not any("*" in paragraph for paragraph in sections["confusion"].lead)
    assert sum(cells[1] == "CoOp, fold 3" for cells in sections["failures"].sheets[0].rows) == 1
    meant = pick_row(table, "ESC10.coop.fold-3")
    assert meant.study == row.study
    assert pick_study(table, "ESC10.coop.fold-3").study == f"{row.study}.fold-3"
    with pytest.raises(
        InputError, match="no configuration is best over all folds; give the study of one fold: ESC10.*fold-2, "
    ):
        pick_study(table, "ESC10.coop")


def test_a_longer_study_moves_its_row_and_not_the_gain(store: TrialStore) -> None:
    cases = [case for case in made.make_cases(12) if case.proposal.config.dataset == "ESC10"]
    short = [case for case in cases if case.proposal.number < 6]
    made.fill_store(store, short)
    before = collect(store, made.SWEEP)
    assert not any(row.matched for row in before.rows)
    study = "ESC10.mini.base-to-new.coop+sept"
    lucky = made.best_everywhere(made.make_case("ESC10", "coop+sept", 11))
    longer = [case for case in cases if case.proposal.study == study and 6 <= case.proposal.number < 11]
    for case in (*longer, lucky):
        store.add_proposal(made.SWEEP, case.proposal)
        if case.result is not None:
            store.write_result(case.result)
        store.write_decision(made.SWEEP, case.decision)
    after = collect(store, made.SWEEP)
    rows = {row.study: row for row in after.rows}
    assert {choice.number for choice in rows[study].choices} == {11}
    matched = rows[study].matched
    assert matched is not None
    assert set(matched.compared.values()) == {6}
    assert after.gains == before.gains
    (note,) = budget_notes(after)
    assert "ESC10 CoOp + SEPT, the first 6 of 12" in note
    assert note in gain_notes(after)
    assert "the first 6 of 12 for ESC10 CoOp + SEPT." in conclusion_of(after)
    assert budget_notes(before) == []
    assert "equal numbers" not in conclusion_of(before)


def test_test_metrics_choose_nothing(store: TrialStore) -> None:
    cases = made.make_cases()
    made.fill_store(store, cases)
    chosen = {row.study: row.choices for row in collect(store, made.SWEEP).rows}
    shown = {choice.signature for choices in chosen.values() for choice in choices}
    for case in cases:
        # However good the others are on test clips.
        if case.result is not None and case.proposal.signature not in shown:
            rows = ({name: 100.0 if name[:5] == "test_" else value for name, value in row.items()}
                    for row in case.result.replicas)  # fmt: skip
            best = replace(case.result, test=dict.fromkeys(case.result.test, 100.0), replicas=tuple(rows))
            store.write_result(best)
    assert {row.study: row.choices for row in collect(store, made.SWEEP).rows} == chosen


def test_a_pruned_or_failed_proposal_is_never_the_best(store: TrialStore) -> None:
    cases = [made.make_case("FSDD", "coop", number, state) for number, state in enumerate(("pruned", "failed"))]
    assert best_decision(case.decision for case in cases) is None
    made.fill_store(store, [*cases, made.make_case("FSDD", "zero-shot", 0)])
    table = collect(store, made.SWEEP)
    assert [row.method for row in table.rows] == ["zero-shot"]
    assert table.without == (cases[0].proposal.study,)


def test_of_equally_good_proposals_the_first_is_the_best() -> None:
    decisions = [replace(made.make_case("FSDD", "coop", number).decision, objective=70.0) for number in (2, 0, 1)]
    best = best_decision(decisions)
    assert best is not None
    assert best.number == 0
    values = dict.fromkeys(("nicolas", "theo"), 70.0)
    chosen = choose(replace(decision, fold_values=values) for decision in decisions)
    assert {fold: decision.number for fold, decision in chosen.items()} == {"nicolas": 0, "theo": 0}


def test_the_gain_is_the_mean_of_the_differences_replica_by_replica(store: TrialStore) -> None:
    made.fill_store(store, made.make_cases())
    table = collect(store, made.SWEEP)
    rows = {(row.dataset, row.method): row for row in table.rows}
    assert [(gain.dataset, gain.baseline) for gain in table.gains] == [("ESC10", "coop"), ("FSDD", "coop")]
    for gain in table.gains:
        pairs = zip(rows[gain.dataset, "coop"].replicas, rows[gain.dataset, "coop+sept"].replicas, strict=True)
        differences = [after["test_new"] - before["test_new"] for before, after in pairs]
        assert gain.new == pytest.approx(statistics.fmean(differences))
        assert gain.new_std == pytest.approx(statistics.stdev(differences))
        assert gain.replicas == len(differences)


def test_methods_stand_in_a_readers_order_zero_shot_first_each_baseline_before_its_twin(store: TrialStore) -> None:
    made.fill_store(store, made.make_cases()[::-1])
    methods = [row.method for row in collect(store, made.SWEEP).rows]
    assert methods == ["zero-shot", "coop", "coop+sept"] * 2


def test_an_unknown_sweep_is_named_with_the_nearest_known_one(store: TrialStore) -> None:
    made.fill_store(store, made.make_cases())
    with pytest.raises(InputError, match=r"unknown sweep 'synthetik'.*did you mean 'synthetic'"):
        collect(store, "synthetik")


def test_a_sweep_without_a_finished_trial_has_no_table(store: TrialStore) -> None:
    made.fill_store(store, [made.make_case("FSDD", "coop", 0, "pruned")])
    with pytest.raises(SeptError, match="no trial of sweep 'synthetic' has finished"):
        collect(store, made.SWEEP)


def test_methods_are_titled_as_papers_write_them() -> None:
    assert [method_title(name) for name in ("zero-shot", "coop", "coop+sept")] == ["zero-shot", "CoOp", "CoOp + SEPT"]
