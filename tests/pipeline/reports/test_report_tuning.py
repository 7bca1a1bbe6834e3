"""Tuning curves: the exact distribution of the best of n trials, and what the report says about them."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest
import synthetic_results as made

from pipeline.reports import describe, read_records, tabulate
from pipeline.reports.document import Section
from pipeline.reports.figures.tuning import LEVELS, expected_best
from pipeline.reports.tuning import trial_values
from pipeline.store import TrialStore


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_the_best_of_n_is_that_of_all_subsets(count: int) -> None:
    rng = random.Random(count)
    values = [rng.choice([1.0, 2.0, 2.0, 5.5, round(9 * rng.random(), 2)]) for _ in range(count)]
    curve = expected_best(values)
    assert [best.trials for best in curve] == list(range(1, count + 1))
    for best in curve:
        every = sorted(max(subset) for subset in itertools.combinations(values, best.trials))
        low, high = (
            next(value for rank, value in enumerate(every, 1) if rank / len(every) >= level - 1e-12) for level in LEVELS
        )
        assert best.mean == pytest.approx(statistics.fmean(every), abs=1e-12)
        assert (best.low, best.high) == (low, high)


def test_a_study_of_thousands_of_trials_has_few_points_and_ends_at_its_best() -> None:
    values = [random.Random(0).random() for _ in range(10)] + [float(n) for n in range(5000)]
    curve = expected_best(values)
    assert len(curve) <= 60
    assert (curve[0].trials, curve[-1].trials) == (1, len(values))
    assert curve[0].mean == pytest.approx(statistics.fmean(values))
    assert (curve[-1].mean, curve[-1].low, curve[-1].high) == (4999.0, 4999.0, 4999.0)


def section(store: TrialStore, cases: list[made.Case], spec: str = made.SPEC) -> Section | None:
    made.fill_store(store, cases)
    store.write_spec(made.SWEEP, spec, made.SPEC)
    records = read_records(store, made.SWEEP)
    document = describe(tabulate(records), records)
    return next((one for one in document.sections if one.name == "tuning"), None)


def test_twins_share_a_panel_and_are_compared_at_equal_numbers_of_trials(store: TrialStore) -> None:
    cases = [made.make_case("ESC10", "coop", number) for number in range(4)]
    cases += [made.make_case("ESC10", "coop+sept", number) for number in range(6)]
    found = section(store, [*cases, made.make_case("ESC10", "zero-shot", 0)])
    assert found is not None
    assert len(found.groups[0].figures) == 1
    values = {
        sept: [case.decision.objective for case in cases if case.proposal.config.sept == sept] for sept in (False, True)
    }
    means = [statistics.fmean(one for one in of if one is not None) for of in values.values()]
    (row,) = found.sheets[0].rows
    assert row[:4] == ("ESC10", "CoOp", "4", f"{means[0]:.1f} / {means[1]:.1f}")
    assert row[-1].startswith(f"{means[1] - means[0]:+.1f} / ")
    assert [entry.name for entry in found.legend] == ["CoOp", "CoOp + SEPT", "zero-shot"]


def test_it_says_what_the_sampler_lets_the_curves_mean(store: TrialStore) -> None:
    cases = [made.make_case("ESC10", "coop", number) for number in range(3)]
    said = section(store, cases, f"{made.SPEC}sampler: {{name: tpe, n_startup_trials: 2}}\n")
    assert said is not None
    assert said.lead[1].startswith("Descriptive: TPE proposes later trials from the results of earlier ones")
    # The first proposals of TPE are random.
    for sampler, pruner, end in (
        ("random", "none", "; the bands"),
        ("random", "median", ", except that the pruner"),
        ("{name: tpe, n_startup_trials: 3}", "none", "; the bands"),
    ):
        store.files.delete(f"sweeps/{made.SWEEP}/spec.yaml")
        said = section(store, cases, f"{made.SPEC}sampler: {sampler}\npruner: {pruner}\n")
        assert said is not None
        assert f"another random search of n trials{end}" in said.lead[1]


def test_a_pruned_trial_counts_as_tried_and_is_never_the_best(store: TrialStore) -> None:
    states = ["finished", "pruned", "finished", "failed", "pruned"]
    cases = [made.make_case("ESC10", "coop", number, state) for number, state in enumerate(states)]
    made.fill_store(store, cases)
    (study,) = read_records(store, made.SWEEP).studies
    values = trial_values(study)
    finished = [case.decision.objective for case in cases if case.decision.state == "finished"]
    lowest = min(one for one in finished if one is not None)
    assert values[:2] == finished
    pruned = [case.decision.objective or 0.0 for case in cases if case.decision.state == "pruned"]
    assert values[2:4] == [min(value, lowest) for value in pruned]
    assert values[4] == min(values[:4])


def test_without_two_finished_trials_or_with_a_choice_on_test_clips_there_is_none(store: TrialStore) -> None:
    cases = [made.make_case("ESC10", "coop", 0), made.make_case("ESC10", "coop", 1, "pruned")]
    assert section(store, cases) is None
    store.files.delete(f"sweeps/{made.SWEEP}/spec.yaml")
    paper = [made.chosen_on_test(made.make_case("FSDD", "coop", number)) for number in range(3)]
    assert section(store, paper, f"{made.SPEC}selection: paper\n") is None
