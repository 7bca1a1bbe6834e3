from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
import synthetic_results as made

from pipeline.report import collect, method_title
from pipeline.store import TrialStore
from pipeline.sweeps import best_verdict
from sept_core.errors import InputError, SeptError


def test_each_study_is_shown_by_its_best_member_on_held_out_clips(store: TrialStore) -> None:
    cases = made.make_cases()
    made.fill_store(store, cases)
    table = collect(store, made.SWEEP)
    assert len(table.rows) == 6
    for row in table.rows:
        best = made.best_of(cases, row.study)
        assert best.result is not None
        assert (row.number, row.signature) == (best.member.number, best.member.signature)
        assert row.test.h == best.result.test["h"]
        assert row.validation.h == best.verdict.objective


def test_test_metrics_choose_nothing(store: TrialStore) -> None:
    cases = made.make_cases()
    made.fill_store(store, cases)
    chosen = {row.study: row.signature for row in collect(store, made.SWEEP).rows}
    for case in cases:
        # However good the others are on test clips.
        if case.result is not None and case.member.signature not in chosen.values():
            store.write_result(replace(case.result, test=dict.fromkeys(case.result.test, 100.0)))
    assert {row.study: row.signature for row in collect(store, made.SWEEP).rows} == chosen


def test_a_pruned_or_failed_member_is_never_the_best(store: TrialStore) -> None:
    cases = [made.make_case("FSDD", "coop", number, state) for number, state in enumerate(("pruned", "failed"))]
    assert best_verdict(case.verdict for case in cases) is None
    made.fill_store(store, [*cases, made.make_case("FSDD", "zero-shot", 0)])
    table = collect(store, made.SWEEP)
    assert [row.method for row in table.rows] == ["zero-shot"]
    assert table.without == (cases[0].member.study,)


def test_of_equally_good_members_the_first_is_the_best() -> None:
    verdicts = [replace(made.make_case("FSDD", "coop", number).verdict, objective=70.0) for number in (2, 0, 1)]
    best = best_verdict(verdicts)
    assert best is not None
    assert best.number == 0


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
