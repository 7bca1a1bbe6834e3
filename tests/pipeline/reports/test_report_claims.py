"""Which gains are called significant: by simulation at most 5 % of the sweeps without any gain, for every protocol."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import simulated_gains as simulated
import synthetic_results as made
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.reports import describe, write_report
from pipeline.reports.claims import Clips, claim_test, clips_of, two_sided_t
from pipeline.reports.conclusion import shown_gains
from pipeline.reports.paired import EXACT_UP_TO, SAMPLES, paired_test, sign_flip, smallest_p
from pipeline.reports.sweep_table import SweepTable
from pipeline.store import TrialStore
from sept_core.correct_counts import SourceCounts

LEVEL = 0.05


def most_bold(sweeps: int) -> int:
    """Bold sweeps that a rate of 5 % exceeds once in 10,000 simulations: the margin for chance."""
    return int(stats.binom.ppf(1 - 1e-4, sweeps, LEVEL))


def bold(tables: Iterator[SweepTable]) -> int:
    return sum(bool(shown_gains(table)) for table in tables)


WITHIN = [name for name in simulated.MIXES if name != "targets"]
LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("sweeps", "folds", "seeds"),
    [
        *((30, folds, seeds) for folds, seeds in ((2, 1), (2, 3), (5, 1), (5, 2), (10, 1))),
        *(pytest.param(400, folds, seeds, marks=LONG) for folds in (2, 5, 10) for seeds in (1, 2, 3, 4, 5)),
    ],
)
def test_base_to_new_is_bold_by_luck_in_at_most_five_percent(sweeps: int, folds: int, seeds: int) -> None:
    found = {
        name: bold(simulated.base_to_new(sweeps, folds, seeds, simulated.MIXES[name], seed=index))
        for index, name in enumerate(WITHIN)
    }
    assert max(found.values()) <= most_bold(sweeps), found
    assert sum(found.values()) <= most_bold(sweeps * len(found)), found


@pytest.mark.parametrize(
    ("sweeps", "folds", "seeds", "targets"),
    [
        *((25, *given) for given in ((2, 2, (40, 40)), (5, 1, (24, 80)), (5, 2, (90,)), (10, 1, (6, 40, 80, 24)))),
        *(
            pytest.param(400, folds, seeds, targets, marks=LONG)
            for folds in range(2, 11)
            for seeds, targets in ((1, (24,)), (2, (90, 90)), (3, (40, 90, 24, 60)), (1, (6, 24, 90)))
        ),
    ],
)
def test_cross_dataset_is_bold_by_luck_in_at_most_five_percent(
    sweeps: int, folds: int, seeds: int, targets: tuple[int, ...]
) -> None:
    found = {
        name: bold(simulated.cross_dataset(sweeps, folds, seeds, targets, luck, seed=index))
        for index, (name, luck) in enumerate(simulated.MIXES.items())
    }
    assert max(found.values()) <= most_bold(sweeps), found
    assert sum(found.values()) <= most_bold(sweeps * len(found)), found


@pytest.mark.parametrize("seeds", [1, 5])
def test_one_fold_is_never_bold_however_large_the_gain(seeds: int) -> None:
    within = simulated.base_to_new(10, 1, seeds, simulated.MIXES["none"], gain=0.5)
    across = simulated.cross_dataset(10, 1, seeds, (90, 90), simulated.MIXES["none"], gain=0.5)
    for table in itertools.chain(within, across):
        assert not shown_gains(table)
        assert "one test fold" in text_of(table) or "one source fold" in text_of(table)


@pytest.mark.parametrize("sources", [1, 2, 3])
def test_few_speakers_of_a_target_are_never_bold_however_large_the_gain(sources: int) -> None:
    tables = simulated.cross_dataset(10, 10, 1, (sources,) * 4, simulated.MIXES["none"], gain=0.5)
    assert not any(shown_gains(table) for table in tables)


def test_one_target_is_never_bold_however_large_the_gain_and_that_is_said() -> None:
    for table in simulated.cross_dataset(5, 10, 1, (300,), simulated.MIXES["none"], gain=0.5):
        assert not shown_gains(table)
        assert "3 rows have one target: the variation between targets is unknown" in text_of(table)


def test_a_large_gain_is_found_where_there_are_folds_and_clips_enough() -> None:
    luck = simulated.Luck(0.03, 0.03, 0.2, 0.03, 0.03)
    rows = len(simulated.METHODS)
    within = sum(len(shown_gains(table)) for table in simulated.base_to_new(15, 10, 2, luck, gain=0.2))
    across = sum(len(shown_gains(table)) for table in simulated.cross_dataset(15, 5, 2, (90, 300) * 3, luck, gain=0.2))
    assert within >= 0.9 * 15 * rows
    assert across >= 0.9 * 15 * rows


def test_luck_of_target_clips_that_all_replicas_share_passes_the_sign_flips_but_is_not_bold() -> None:
    tables = list(simulated.cross_dataset(40, 10, 1, (40, 40), simulated.MIXES["clips"]))
    tests = [[gain.tests["targets"] for gain in table.transfer_gains] for table in tables]
    assert sum(any(max(test.p, test.p_folds) < LEVEL / 3 for test in row) for row in tests) > 0.4 * len(tables)
    assert bold(iter(tables)) <= most_bold(len(tables))


def text_of(table: SweepTable) -> str:
    section = next(section for section in describe(table).sections if section.name == "gain")
    return " ".join(section.notes)


def without_counts(table: SweepTable) -> SweepTable:
    """As results of earlier releases give it."""
    return simulated.compared(
        replace(
            table,
            rows=tuple(replace(row, tested={}) for row in table.rows),
            transfers=tuple(replace(row, tested={}) for row in table.transfers),
        )
    )


def test_results_without_counts_claim_nothing_across_data_sets_and_say_why() -> None:
    for table in simulated.cross_dataset(5, 10, 1, (90,) * 4, simulated.MIXES["none"], gain=0.4):
        assert shown_gains(table) == {0, 1, 2}
        old = without_counts(table)
        assert shown_gains(old) == set()
        assert "3 rows have results of an earlier release, which do not say which target clips were right" in text_of(
            old
        )
        assert [gain.tests["targets"].p_folds for gain in old.transfer_gains] == [2 / 2**10] * 3
        assert (
            "beyond the variation of shots, seeds, source folds, targets and their clips: 0 of 3"
            in describe(old).conclusion
        )


def test_results_without_counts_are_bold_within_a_data_set_only_where_the_sign_flips_over_folds_allow() -> None:
    luck = simulated.MIXES["none"]
    few, many = (simulated.base_to_new(5, folds, 2, luck, gain=0.4) for folds in (5, 10))
    for five, ten in zip(few, many, strict=True):
        assert shown_gains(five) == shown_gains(ten) == {0, 1, 2}
        assert shown_gains(without_counts(five)) == set()
        assert shown_gains(without_counts(ten)) == {0, 1, 2}
        assert "do not say which test clips were right" in text_of(without_counts(five))


def test_the_claim_names_what_it_covers_and_what_it_does_not() -> None:
    table = next(simulated.cross_dataset(1, 10, 1, (90,) * 4, simulated.MIXES["none"], gain=0.4))
    scope = "beyond the variation of shots, seeds, source folds, targets and their clips"
    assert f"{scope}: 3 of 3, 3 up and 0 down" in describe(table).conclusion
    assert "does not extend to other classes, to another set of clips to draw shots from, or to the" in text_of(table)
    one = replace(table, transfer_gains=table.transfer_gains[:1])
    assert f"This is significant {scope}" in describe(one).conclusion
    assert "over 10 test folds and 360 sources of test clips)." in describe(one).conclusion


def test_what_a_store_says_of_its_test_clips_reaches_the_claim_and_results_json(store: TrialStore) -> None:
    table = next(simulated.base_to_new(1, 3, 1, simulated.MIXES["equal"], gain=0.3))
    cases = []
    for row in table.rows:
        if row.baseline == "coop":
            case = made.make_case("FSDD", row.method, 0)
            assert case.result is not None
            named = dict(zip(row.folds, case.proposal.config.folds, strict=True))
            replicas = tuple(
                {**kept, **replica, "fold": kept["fold"]}
                for kept, replica in zip(case.result.replicas, row.replicas, strict=True)
            )
            tested = {named[fold]: counts for fold, counts in row.tested.items()}
            cases.append(replace(case, result=replace(case.result, replicas=replicas, tested=tested)))
    made.fill_store(store, cases)
    kept, written = write_report(store, made.SWEEP)
    (gain,) = kept.gains
    assert gain.tests["h"] == table.gains[0].tests["h"]
    assert gain.tests["h"].sources == 3 * 12
    numbers = json.loads(store.files.read(written.results))
    assert numbers["gains"][0]["p_claim_holm"] == gain.p_claim_holm == gain.tests["h"].p_claim
    assert numbers["gains"][0]["tests"]["h"]["sources"] == 36
    assert not any("tested" in row for row in numbers["rows"])


# The parts of the rule


@given(st.floats(0, 60), st.integers(1, 60))
def test_students_t_is_scipys(t: float, free: int) -> None:
    # SciPy is off by some 1e-9 at one degree of freedom very near 0, where the closed form 1 - 2 atan(t) / pi is exact.
    assert two_sided_t(t, free) == pytest.approx(2 * stats.t.sf(t, free), abs=1e-8)


def test_folds_that_agree_by_one_clip_each_are_no_proof() -> None:
    """Five folds, each with one more right of 150 clips of one speaker: no spread at all between folds."""
    counts = {fold: {"base": SourceCounts((150,), (100,))} for fold in "12345"}
    more = {fold: {"base": SourceCounts((150,), (101,))} for fold in "12345"}
    rows = [({"fold": fold, "test_base": 100 / 1.5}, {"fold": fold, "test_base": 101 / 1.5}) for fold in "12345"]
    clips = clips_of("base", rows, counts, more)
    assert clips is not None
    test = paired_test([1 / 1.5] * 5, [*"12345"], clips)
    assert (clips.sources, clips.most_t) == (5, math.sqrt(750))
    assert test.p_claim == pytest.approx(two_sided_t(math.sqrt(5), 4))
    assert test.p_claim > LEVEL


def test_the_variance_of_shared_clips_is_by_hand() -> None:
    """Two targets, two folds of one seed: each source's share of the mean, squared and added."""
    before = {fold: {"a": SourceCounts((2, 2), (1, 1)), "b": SourceCounts((1, 3), (0, 2))} for fold in "12"}
    after = {
        "1": {"a": SourceCounts((2, 2), (2, 1)), "b": SourceCounts((1, 3), (1, 2))},
        "2": {"a": SourceCounts((2, 2), (1, 2)), "b": SourceCounts((1, 3), (1, 1))},
    }
    rows = [
        ({"fold": "1", "test_a": 50.0, "test_b": 50.0}, {"fold": "1", "test_a": 75.0, "test_b": 75.0}),
        ({"fold": "2", "test_a": 50.0, "test_b": 50.0}, {"fold": "2", "test_a": 75.0, "test_b": 50.0}),
    ]
    clips = clips_of("targets", rows, before, after, ["a", "b"])
    # In points: a 25 x (1/2, 1/2) and b 25 x (1, -1/2), each target with half the weight; the targets' means, 25 and
    # 12.5, differ by less.
    assert clips is not None
    assert clips.variance == pytest.approx(6.25**2 + 6.25**2 + 12.5**2 + 6.25**2)
    assert (clips.sources, clips.effective, clips.targets) == (4, 16 / 10, 2)
    apart = {fold: {"a": after[fold]["a"], "b": SourceCounts((1, 3), (0, 0))} for fold in "12"}
    lower = [(one, {**two, "test_b": 0.0}) for one, two in rows]
    found = clips_of("targets", lower, before, apart, ["a", "b"])
    # a moves by 25 points, b by -50: far more than their sources tell.
    assert found is not None
    assert found.variance == pytest.approx((75**2 / 2) / 2)


@settings(max_examples=50)
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=10), st.integers(2, 40), st.booleans())
def test_no_p_of_a_claim_is_below_the_smallest_that_is_told(folds: list[int], sources: int, crossed: bool) -> None:
    mean = float(np.mean(folds))
    clips = Clips(mean**2 / sources, sources, float(sources), math.sqrt(sources), targets=sources)  # all sources alike
    test = claim_test([float(fold) for fold in folds], clips, 0.5, crossed=crossed)
    assert test.smallest <= test.p + 1e-12
    if crossed and len(set(folds)) == 1 and mean:
        assert test.p == pytest.approx(test.smallest)


def test_counts_of_other_replicas_or_other_clips_are_not_used() -> None:
    rows = [({"fold": "1", "test_base": 50.0}, {"fold": "1", "test_base": 75.0})]
    fits, more = SourceCounts((2, 2), (1, 1)), SourceCounts((2, 2), (1, 2))
    assert clips_of("base", rows, {"1": {"base": fits}}, {"1": {"base": more}}) is not None
    for other in (SourceCounts((1, 3), (1, 2)), SourceCounts((2, 2), (2, 2)), SourceCounts((4,), (3,))):
        assert clips_of("base", rows, {"1": {"base": fits}}, {"1": {"base": other}}) is None
    assert clips_of("base", rows, {"1": {"base": fits}}, {}) is None


@pytest.mark.parametrize("units", range(1, 41))
def test_the_smallest_p_that_is_told_occurs_and_none_is_smaller(units: int) -> None:
    for seed in range(3):
        values = list(np.random.default_rng(seed).exponential(1.0, units))
        assert sign_flip(values) == smallest_p(units)  # all on one side
        assert sign_flip([-values[0], *values[1:]]) >= smallest_p(units)
    if units <= EXACT_UP_TO:
        assert smallest_p(units) == 2.0 ** (1 - units)
    else:
        assert 1 / (SAMPLES + 1) <= smallest_p(units) < 1e-4
    alone = paired_test(values, [str(index) for index in range(units)])
    assert (alone.p, alone.smallest) == (alone.p_folds, alone.smallest_folds) == (smallest_p(units),) * 2
    together = paired_test(values, ["only"] * units)
    assert (together.smallest, together.smallest_folds, together.p_folds) == (smallest_p(units), 1.0, 1.0)
