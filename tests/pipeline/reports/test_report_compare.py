"""The comparison of trials: which trials are meant, what differs, and an interval that keeps its level."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic_results as made

from pipeline.reports.compare import LEVEL, compare_trials, interval
from pipeline.store import TrialStore
from sept_core.errors import InputError

SIMULATED = 400

# Standard deviations of what makes two equal configurations differ: the clips (the same in every fold that has them),
# the clips trained on (the same in every fold that has them), and each training alone; as chances that a clip is right.
LUCK = {
    "clips": (0.5, 0.0, 0.0),
    "training clips": (0.0, 0.15, 0.0),
    "each training": (0.0, 0.0, 0.1),
    "all": (0.3, 0.1, 0.05),
    "hardly any": (0.0, 0.0, 0.002),
}


def differences(
    folds: int, in_all: int, clips: int, luck: tuple[float, float, float], rng: np.random.Generator, gain: float = 0.0
) -> tuple[list[float], float]:
    """Mean differences of the folds between two trainings of the same configuration, and the least variance of their
    mean; each fold's replica is trained and validated on the clips of all other folds."""
    of_clip, of_pool, alone = luck
    clip = rng.normal(0, of_clip, (in_all, clips))
    pool = rng.normal(0, of_pool, in_all)
    found = []
    for fold in range(folds):
        others = [other for other in range(in_all) if other != fold]
        chance = clip[others] / 2 + (pool[others].mean() + rng.normal(0, alone)) / 2 + gain / 2
        right = [rng.random(chance.shape) < np.clip(0.8 + sign * chance, 0, 1) for sign in (-1, 1)]
        found.append(100.0 * (right[1].mean() - right[0].mean()))
    return found, abs(float(np.mean(found))) * 100 / (in_all * clips)


@pytest.mark.parametrize("luck", LUCK)
@pytest.mark.parametrize(("folds", "in_all", "clips"), [(3, 3, 100), (4, 5, 40), (5, 5, 20)])
def test_equal_configurations_differ_by_luck_in_at_most_five_percent(
    folds: int, in_all: int, clips: int, luck: str
) -> None:
    rng = np.random.default_rng(0)
    shown = 0
    for _ in range(SIMULATED):
        values, least = differences(folds, in_all, clips, LUCK[luck], rng)
        low, high = interval(values, in_all, least) or (0.0, 0.0)
        shown += low > 0 or high < 0
    # Three standard deviations of the simulation above the level.
    assert shown / SIMULATED <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / SIMULATED) ** 0.5


def test_a_large_difference_is_found() -> None:
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(100):
        values, least = differences(4, 5, 100, (0.1, 0.0, 0.01), rng, gain=0.3)
        low, _ = interval(values, 5, least) or (0.0, 0.0)
        found += low > 0
    assert found >= 80


def test_nothing_is_said_about_one_fold_and_agreement_by_a_few_clips_is_no_proof() -> None:
    assert interval([30.0], 5, 0.0) is None
    # Four of 200 clips, each in the validation clips of every fold: the differences are equal, their spread is 0.
    low, high = interval([2.0, 2.0, 2.0, 2.0], 5, 2.0 * 100 / 200) or (0.0, 0.0)
    assert low < 0 < high


def test_only_what_differs_is_shown_and_differences_are_paired_over_shared_replicas(store: TrialStore) -> None:
    one, other = made.make_case("ESC10", "coop", 0), made.make_case("ESC10", "coop", 2)
    some = made.of_folds(other, ("2", "3", "4"))
    assert one.result is not None
    assert some.result is not None
    made.fill_store(store, [one, some])
    found = compare_trials(store, [f"{made.SWEEP}/ESC10.coop/0", some.proposal.signature[:6]])
    apart = {name for name, value in one.proposal.params.items() if some.proposal.params[name] != value}
    assert set(found.differing) == {"folds"} | apart
    (pair,) = found.paired
    assert (pair.replicas, pair.folds) == (3, 3)
    own = {row["fold"]: row["val_h"] for row in one.result.replicas}
    by_hand = [row["val_h"] - own[row["fold"]] for row in some.result.replicas]
    assert pair.differences["h"] == pytest.approx(sum(by_hand) / 3)
    assert pair.interval is not None
    assert sum(pair.interval) / 2 == pytest.approx(pair.differences["h"])
    assert found.to_json()["paired"][0]["differs"] == pair.differs


def test_trials_that_were_measured_on_other_clips_are_not_paired(store: TrialStore) -> None:
    made.fill_store(store, made.make_cases(1))
    (pair,) = compare_trials(store, ["ESC10.coop", "FSDD.coop"]).paired
    assert (pair.replicas, pair.interval, pair.differs) == (0, None, False)
    assert "dataset" in pair.reason


def test_a_study_stands_for_its_best_configuration_and_a_trial_of_two_sweeps_is_one(store: TrialStore) -> None:
    cases = made.make_cases()
    made.fill_store(store, cases)
    made.fill_store(store, cases, "again")
    best = made.best_of(cases, "FSDD.mini.base-to-new.coop")
    (first, _) = compare_trials(store, ["FSDD.coop", "again/FSDD.coop/#0"]).trials
    assert first.signature == best.proposal.signature


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["FSDD.coop"], "1 trials"),
        (["FSDD.coop", "nosuch"], "no trial 'nosuch'; give SWEEP/STUDY/NUMBER"),
        (["FSDD.coop", "FSDD.coop/17"], "no trial 'FSDD.coop/17'"),
        (["FSDD.coop", "coop"], "'coop' may be 2 trials; give one: synthetic/ESC10.coop/"),
        (["FSDD.coop", "FSDD.coop/1"], "trial synthetic/FSDD.coop/1 has no finished result"),
        (["FSDD.coop", "FSDD.coop/1"], "sept trials synthetic --state finished --root "),
    ],
)
def test_what_cannot_be_compared_is_one_line(words: list[str], said: str, store: TrialStore) -> None:
    made.fill_store(store, made.make_cases())
    with pytest.raises(InputError) as error:
        compare_trials(store, words)
    assert said in str(error.value)
