from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.paired import SAMPLES, holm, paired_test, sign_flip

tenths = st.lists(st.integers(-400, 400), min_size=1, max_size=9)


@given(tenths)
def test_the_p_value_is_the_share_of_sign_patterns_that_lie_as_far_from_zero(values: list[int]) -> None:
    # In whole tenths, where sums are exact.
    patterns = list(itertools.product((1, -1), repeat=len(values)))
    reached = sum(
        abs(sum(sign * value for sign, value in zip(pattern, values, strict=True))) >= abs(sum(values))
        for pattern in patterns
    )
    assert sign_flip([value / 10 for value in values]) == reached / len(patterns)


@given(tenths, st.permutations(range(9)), st.sampled_from([-1.0, 1.0, 0.5, 3.0]))
def test_order_sign_and_unit_of_the_differences_do_not_matter(
    values: list[int], order: list[int], factor: float
) -> None:
    other = [factor * values[index] / 10 for index in order if index < len(values)]
    assert sign_flip(other) == sign_flip([value / 10 for value in values])
    assert 2 ** (1 - len(values)) <= sign_flip(other) <= 1


def test_differences_all_on_one_side_reach_the_smallest_p_that_is_told() -> None:
    test = paired_test([0.5, 1.0, 0.25, 2.0, 0.1, 0.7], ["1", "1", "2", "2", "3", "3"])
    assert (test.replicas, test.folds) == (6, 3)
    assert (test.p, test.p_folds) == (test.smallest, test.smallest_folds) == (2 / 2**6, 2 / 2**3)


def test_no_difference_at_all_is_no_finding() -> None:
    test = paired_test([0.0, 0.0, 0.0], ["1", "2", "3"])
    assert (test.p, test.p_folds) == (1.0, 1.0)


def test_replicas_of_one_fold_count_once_where_folds_flip_together() -> None:
    alike = paired_test([1.0] * 10, ["only"] * 10)
    assert alike.p == pytest.approx(2 / 2**10)
    assert alike.p_folds == 1.0


def test_many_replicas_are_sampled_the_same_way_each_time_and_close_to_the_normal_tail() -> None:
    values = list(np.random.default_rng(1).normal(0.4, 1.0, 40))
    assert sign_flip(values) == sign_flip(values)
    z = abs(sum(values)) / math.sqrt(sum(value**2 for value in values))
    assert sign_flip(values) == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.005)
    assert sign_flip([1.0] * 40) == 1 / (SAMPLES + 1)


@given(st.lists(st.floats(0.0, 1.0), max_size=8))
def test_holms_p_values_keep_their_order_and_are_between_the_raw_ones_and_bonferronis(raw: list[float]) -> None:
    adjusted = holm(raw)
    for p, more in zip(raw, adjusted, strict=True):
        assert p <= more <= min(1.0, len(raw) * p)
    ranked = [more for _, more in sorted(zip(raw, adjusted, strict=True))]
    assert ranked == sorted(ranked)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@given(tenths, st.integers(0, 8), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_difference_that_is_no_number_is_an_error_and_never_a_finding(
    values: list[int], place: int, wrong: float
) -> None:
    with pytest.raises(ValueError, match="not every difference is finite"):
        sign_flip([*values[:place], wrong, *values[place:]])


def test_nothing_to_pair_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 differences"):
        paired_test([], [])
