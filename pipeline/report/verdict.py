"""What a sweep's gains come to, and how far its paired tests carry that: the verdict, what is bold, the caveats.

Two tests are made of every gain (`paired`). Over replicas it speaks of the variation of shots and seeds on these test
clips; over whole folds also of the variation between test folds, and with fewer than six of them it cannot fall below
5 % at all. Each verdict therefore names both, and a row is bold only where both say so. Of trials that were chosen on
test clips nothing is claimed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from pipeline.report.budgets import budget_notes, budget_sentence
from pipeline.report.paired import PairedTest, holm
from pipeline.report.rows import Gain, SweepTable, TransferGain, method_title
from pipeline.report.tables import best_rows, p_value, signed

__all__ = ["gain_notes", "gains_of", "headline_test", "shown_gains", "verdict_of"]

_LEVEL = 0.05
_MOST_NAMED = 4


def gains_of(table: SweepTable) -> Sequence[Gain | TransferGain]:
    """The gains of either protocol."""
    return table.gains or table.transfer_gains


def headline_test(gain: Gain | TransferGain) -> PairedTest:
    """The test of what the headline shows: H, or the mean of the targets."""
    return gain.tests["h" if isinstance(gain, Gain) else "targets"]


def shown_gains(table: SweepTable) -> frozenset[int]:
    """Which gains both tests show, each corrected; none where trials were chosen on test clips."""
    return frozenset(
        index
        for index, gain in enumerate(gains_of(table))
        if max(gain.p_holm, gain.p_folds_holm) < _LEVEL and not table.warning
    )


def verdict_of(table: SweepTable) -> str:
    """How SEPT moves the headline, beyond which variation that is shown to be, and which method has the highest."""
    sentences = [_moved(table), _tested(table)] if gains_of(table) else []
    if gains_of(table) and (equal := budget_sentence(table)):
        sentences.append(equal)
    best = [row for row in table.studies if row.study in best_rows(table)]
    if len(best) <= _MOST_NAMED:
        values = {row.study: row.test.h for row in table.rows} | {row.study: row.mean for row in table.transfers}
        named = ", ".join(f"{row.dataset} {method_title(row.method)} {values[row.study]:.1f}" for row in best)
        sentences.append(f"Highest {'mean on targets' if table.transfers else 'H'}: {named}.")
    return " ".join(sentences)


def _moved(table: SweepTable) -> str:
    gains = gains_of(table)
    moved = [_change(gain) for gain in gains]
    name = "the mean accuracy on targets" if table.transfers else "H"
    if len(moved) == 1:
        baseline = method_title(gains[0].baseline)
        return f"SEPT moves {name} of {baseline} by {signed(moved[0])} points on {gains[0].dataset}."
    return (
        f"SEPT moves {name} by {signed(statistics.fmean(moved))} points on average over {len(moved)} comparisons with "
        f"its baseline, {_directions(gains)}."
    )


def _tested(table: SweepTable) -> str:
    gains = gains_of(table)
    tests = [headline_test(gain) for gain in gains]
    if table.warning:
        return "No test speaks for that: the trials were chosen on the same test clips."
    both = shown_gains(table)
    over_replicas = [index for index, gain in enumerate(gains) if gain.p_holm < _LEVEL]
    # What the smallest p that there can be would come to.
    no_replicas = sum(p >= _LEVEL for p in holm([test.smallest for test in tests]))
    no_folds = sum(p >= _LEVEL for p in holm([test.smallest_folds for test in tests]))
    what = "seeds" if all(test.folds == 1 for test in tests) else "shots and seeds"
    if len(gains) == 1:
        return _tested_once(tests[0], what, bool(over_replicas), bool(both), (no_replicas > 0, no_folds > 0))
    replicas, folds = _count(gains, over_replicas), _count(gains, sorted(both))
    return (
        f"Shown to be beyond the variation of {what}: {replicas} (5 %, paired test over replicas, "
        f"Holm{_too_few(no_replicas, 'replicas')}); between test folds too: {folds} (5 %, over whole folds, "
        f"Holm{_too_few(no_folds, 'folds')})."
    )


def _tested_once(test: PairedTest, what: str, replicas: bool, both: bool, cannot: tuple[bool, bool]) -> str:
    """Of the only gain: whether each test shows it, and whether it could."""
    said = f"That is {'' if replicas else 'not shown to be '}beyond the variation of {what}"
    if replicas:
        said += ", and between test folds too" if both else ", but not shown to be so between test folds"
    told = _p(test.p, test.replicas, "replica", test.smallest if cannot[0] else 0.0)
    folds = _p(test.p_folds, test.folds, "test fold", test.smallest_folds if cannot[1] else 0.0)
    return f"{said} (paired tests: {told}; {folds})."


def _change(gain: Gain | TransferGain) -> float:
    return gain.h if isinstance(gain, Gain) else gain.targets


def _directions(gains: Sequence[Gain | TransferGain]) -> str:
    up, down = sum(_change(gain) > 0 for gain in gains), sum(_change(gain) < 0 for gain in gains)
    return f"{up} up and {down} down"


def _count(gains: Sequence[Gain | TransferGain], which: Sequence[int]) -> str:
    counted = f"{len(which)} of {len(gains)}"
    return f"{counted}, {_directions([gains[index] for index in which])}" if which else counted


def _too_few(count: int, units: str) -> str:
    return f"; {count} {'has' if count == 1 else 'have'} too few {units} to tell" if count else ""


def _p(p: float, units: int, name: str, least: float) -> str:
    """A p value; with the smallest that there can be where that is not below the level."""
    value = f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"
    told = f"{value} over {_units(units, name)}"
    return f"{told}, which can give none below {p_value(least)}" if least else told


def _units(count: int, name: str) -> str:
    return f"{count} {name if count == 1 else name + 's'}"


def gain_notes(table: SweepTable) -> list[str]:
    """What the p values of the gains are, and what they are not."""
    tests = [test for gain in gains_of(table) for test in gain.tests.values()]
    fewest, folds = min(tests, key=lambda test: test.replicas), min(tests, key=lambda test: test.folds)
    what = (
        "Mean ± standard deviation of the differences replica by replica (same fold, same seed, same training clips). "
        "p: two-sided sign-flip permutation test of these differences, over replicas; in the columns 'folds' all "
        "replicas of a test fold flip together. Holm: corrected over the rows of this table; the other columns are "
        "not. Bold: below 0.05 after that correction over replicas and over folds alike."
    )
    dependent = (
        "Replicas are not independent: those of one test fold share its clips, and training folds overlap. So p over "
        "replicas speaks of the variation of shots and seeds on these clips, and for other clips it is too small "
        "rather than too large; p over folds allows for the shared clips, not for the overlap."
    )
    if folds.folds == 1:
        dependent += " With one test fold, p over replicas speaks of seeds alone, which draw the shots too."
    least = (
        f"With {_units(fewest.replicas, 'replica')} no p can be below {p_value(fewest.smallest)}, with "
        f"{_units(folds.folds, 'fold')} none below {p_value(folds.smallest_folds)}, however large the difference; over "
        "fewer than six folds none can be below 0.05, and such a row is never bold. A p that is not small does not "
        "show that there is no difference. The tests say nothing of how the hyper-parameters would fall out in another "
        "search."
    )
    chosen = (
        f"{table.warning}. The configurations were chosen by the very clips that these tests are made on, so that no p "
        "here is the chance that it names; no row is bold."
    )
    return [*([chosen] if table.warning else ()), what, *budget_notes(table), dependent, least]
