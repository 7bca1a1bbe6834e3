"""The conclusion of a report from the gains and their paired tests: which gains are significant, and the caveats.

Two tests are used. Sign flips over replicas (`paired`) are about the variation of shots and seeds on these test clips.
The test over folds and test clips together (`claims`) is about other folds and other clips as well: only this test
makes a gain significant. Results of earlier releases do not say which clips were right: for cross-dataset nothing is
then claimed beyond shots, seeds and source folds. For trials chosen on test clips nothing is claimed at all.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pipeline.reports.activity import acted_note, hardly_acted, idle_remark
from pipeline.reports.budgets import UNEQUAL, budget_notes, budget_sentence, budgets_differ
from pipeline.reports.paired import PairedTest, holm
from pipeline.reports.rows import method_title
from pipeline.reports.sweep_table import AnyGain, SweepTable
from pipeline.reports.tables import TITLES, best_rows, p_value, signed
from pipeline.text import with_sept

__all__ = ["claim_scope", "conclusion_of", "gain_notes", "headline_of", "headline_test", "shown_gains"]

_LEVEL = 0.05
_MOST_NAMED = 4


_POINTS = {"h": "H", "accuracy": "points of accuracy", "targets": "points on targets"}
_HIGHEST = {"h": "H", "accuracy": "accuracy", "targets": "mean on targets"}
"""The headlines in words."""


def headline_test(gain: AnyGain) -> PairedTest:
    """The test of the headline: H, accuracy, or the mean of the targets."""
    return gain.tests[gain.parts[-1]]


def shown_gains(table: SweepTable) -> frozenset[int]:
    """Indices of the gains that are claimed; none if trials were chosen on test clips."""
    return frozenset(
        index for index, gain in enumerate(table.all_gains) if gain.p_claim_holm < _LEVEL and not table.warning
    )


def claim_scope(table: SweepTable) -> str:
    """The variation that a claimed gain exceeds."""
    return (
        f"shots, seeds, {'source folds, targets and their clips' if table.transfers else 'test folds and test clips'}"
    )


def headline_of(table: SweepTable) -> str:
    """What SEPT changes on average, and whether that is significant; empty without a comparison."""
    gains = table.all_gains
    if not gains:
        return ""
    name = _POINTS[table.headline]
    mean, datasets = signed(statistics.fmean(map(_change, gains))), len({gain.dataset for gain in gains})
    if len(gains) == 1:
        where = f"for {method_title(gains[0].baseline)} on {gains[0].dataset}"
    elif datasets == len(gains):
        where = f"on average over {datasets} {'sources' if table.transfers else 'datasets'}"
    else:
        where = f"on average over {len(gains)} comparisons with its baseline"
    acted = hardly_acted([one for gain in gains for one in gain.activities])
    return f"SEPT {mean} {name} {where}; {_verdict(table)}.{_if_idle(acted)}"


def _verdict(table: SweepTable) -> str:
    gains = table.all_gains
    if table.warning:
        return "no test is valid, because the trials were chosen on the same test clips"
    claimed = len(shown_gains(table))
    if claimed:
        if len(gains) == 1:
            return "significant"
        which = _directions([gains[index] for index in sorted(shown_gains(table))])
        return f"significant in {claimed} of {len(gains)} ({which})"
    tests = [headline_test(gain) for gain in gains]
    if min(holm([test.smallest_claim for test in tests])) < _LEVEL:
        return "not significant"
    if table.transfers or any(test.sources and test.folds > 1 for test in tests):
        return "not significant (too few folds or test clips for any test)"
    # Sign flips over folds, corrected for the other comparisons.
    least = 2 if all(test.sources for test in tests) else math.floor(1 + math.log2(len(tests) / _LEVEL)) + 1
    return f"not significant (needs at least {least} test folds)"


def conclusion_of(table: SweepTable) -> str:
    """Which variation the change by SEPT exceeds, and which method is the highest."""
    sentences = []
    if len(table.all_gains) > 1:
        each = _each(table.gains or table.few_shot_gains)
        sentences.append(f"Of {len(table.all_gains)} comparisons, {_directions(table.all_gains)}{each}.")
    if table.all_gains:
        sentences.append(_tested(table))
    if table.all_gains and (equal := budget_sentence(table)):
        sentences.append(equal)
    best = [row for row in table.studies if row.study in best_rows(table)]
    if 0 < len(best) <= _MOST_NAMED:
        named = ", ".join(f"{row.dataset} {method_title(row.method)} {row.headline:.1f}" for row in best)
        unequal = f" {UNEQUAL}" if budgets_differ(table) else ""
        sentences.append(f"Highest {_HIGHEST[table.headline]}: {named}{unequal}.")
    return " ".join(sentences)


def _if_idle(acted: str) -> str:
    """What the headline adds if SEPT hardly acted in chosen trials."""
    if not acted:
        return ""
    of_all = ", so this is probably due to other hyper-parameters or chance" if acted == "hardly acted" else ""
    return f" It {acted}{of_all}."


def _tested(table: SweepTable) -> str:
    gains = table.all_gains
    tests = [headline_test(gain) for gain in gains]
    if table.warning:
        return "No test can support this: the trials were chosen on the same test clips."
    claimed = shown_gains(table)
    over_replicas = [index for index, gain in enumerate(gains) if gain.p_holm < _LEVEL]
    # Gains for which even the smallest possible p would not be significant.
    no_replicas = sum(p >= _LEVEL for p in holm([test.smallest for test in tests]))
    no_claim = sum(p >= _LEVEL for p in holm([test.smallest_claim for test in tests]))
    narrow = "seeds" if all(test.folds == 1 for test in tests) else "shots and seeds"
    if len(gains) == 1:
        return _tested_once(table, tests[0], narrow, bool(over_replicas), (no_replicas > 0, no_claim > 0))
    replicas, wide = _count(gains, over_replicas), _count(gains, sorted(claimed))
    few = [_too_few(no_claim, "folds or clips with counts"), _too_few(no_replicas, "replicas")]
    if not claimed and not over_replicas:
        over = [f" ({one})" if one else "" for one in few]
        return f"None is significant (5 %, Holm), neither over folds and clips{over[0]} nor over replicas{over[1]}."
    few = [f"; {one}" if one else "" for one in few]
    return (
        f"Significant (5 %, Holm) beyond the variation of {claim_scope(table)}: {wide} (paired test over folds and "
        f"clips{few[0]}); of {narrow} on these test clips: {replicas} (over replicas{few[1]})."
    )


def _tested_once(table: SweepTable, test: PairedTest, narrow: str, replicas: bool, cannot: tuple[bool, bool]) -> str:
    """For a single gain: whether each test is significant, and whether it could be."""
    if shown_gains(table):
        result = f"This is significant beyond the variation of {claim_scope(table)}"
    elif replicas:
        result = f"This is significant beyond the variation of {narrow} on these test clips, but not for other clips"
    else:
        result = f"This is not significant beyond the variation of {narrow}"
    over_replicas = _p(test.p, _units(test.replicas, "replica"), test.smallest if cannot[0] else 0.0)
    units = _units(test.folds, "test fold")
    if test.sources:
        wide = _p(test.p_claim, f"{units} and {_sources(test)}", test.smallest_claim if cannot[1] else 0.0)
    else:
        wide = f"{_p(test.p_folds, units, test.smallest_folds if cannot[1] else 0.0)}; {_NOT_COUNTED}"
    return f"{result} (paired tests: {over_replicas}; {wide})."


def _sources(test: PairedTest) -> str:
    return _units(test.sources, "source") + " of test clips"


def _change(gain: AnyGain) -> float:
    change: float = getattr(gain, gain.parts[-1])
    return change


def _each(gains: Sequence[AnyGain]) -> str:
    """The change of each of a few datasets with one comparison each; empty for others."""
    if not 0 < len({gain.dataset for gain in gains}) == len(gains) <= _MOST_NAMED:
        return ""
    said = []
    for gain in gains:
        *others, headline = (f"{TITLES.get(part, part)} {signed(getattr(gain, part))}" for part in gain.parts)
        said.append(f"{gain.dataset} {headline}" + (f" ({', '.join(others)})" if others else ""))
    return ": " + ", ".join(said)


def _directions(gains: Sequence[AnyGain]) -> str:
    # Rounded as in the table: +0.0 is neither up nor down.
    moved = [round(_change(gain), 1) for gain in gains]
    up, down = sum(change > 0 for change in moved), sum(change < 0 for change in moved)
    return f"{up} up and {down} down"


def _count(gains: Sequence[AnyGain], which: Sequence[int]) -> str:
    counted = f"{len(which)} of {len(gains)}"
    return f"{counted}, {_directions([gains[index] for index in which])}" if which else counted


def _too_few(count: int, units: str) -> str:
    return f"{count} {'has' if count == 1 else 'have'} too few {units} for a test" if count else ""


def _p(p: float, units: str, least: float) -> str:
    """A p value, with the smallest possible one if that is not below the level."""
    value = f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"
    words = f"{value} over {units}"
    return f"{words}, where p cannot be below {p_value(least)}" if least else words


def _units(count: int, name: str) -> str:
    return f"{count} {name if count == 1 else name + 's'}"


def gain_notes(table: SweepTable) -> list[str]:
    """The meaning and the limits of the p values of the gains."""
    tests = [headline_test(gain) for gain in table.all_gains]
    fewest, least_claim = min(tests, key=lambda test: test.replicas), max(tests, key=lambda test: test.smallest_claim)
    scope = claim_scope(table)
    together = "source folds, targets and their clips together" if table.transfers else "test folds and clips together"
    what = (
        "Mean ± standard deviation of the differences replica by replica (same fold, same seed, same training clips). "
        "p: two-sided sign-flip permutation test of these differences, over replicas; in the column 'folds' all "
        f"replicas of a fold flip together. In the columns 'claim': one test over {together}. "
        "Holm: corrected over the rows of this table; the other columns are not corrected. Sources of clips: the "
        "recordings or speakers that the test clips come from; a clip without either counts as a source of its own."
    )
    claim = (
        f"Significant: p, which is that of 'claim' with Holm's correction, is below 0.05. Such a gain exceeds the "
        f"variation of {scope}. "
        + (_ACROSS if table.transfers else _WITHIN)
        + " It does not extend to other classes, to another set of clips to draw shots from, or to the "
        "hyper-parameters of another search."
    )
    narrow = (
        "p over replicas is about the variation of shots and seeds on these test clips: all replicas share them, so "
        "for other clips it is rather too small. "
    )
    if table.transfers:
        narrow += "p over folds includes the variation of source folds; all are tested on the same target clips."
    elif all(test.folds == 1 for test in tests):
        narrow += "With one test fold it is about seeds alone, which also draw the shots."
    else:
        narrow += "p over folds accounts for the shared clips, but not for overlapping training folds."
    least = []
    if fewest.smallest >= 0.001:
        least.append(f"over {_units(fewest.replicas, 'replica')} below {p_value(fewest.smallest)}")
    if 0.001 <= least_claim.smallest_claim < 1:
        among = _units(least_claim.folds, "fold") + (f" and {_sources(least_claim)}" if least_claim.sources else "")
        least.append(f"of 'claim' over {among} below {p_value(least_claim.smallest_claim)}")
    limits = f"p cannot be {', nor '.join(least)}, however large the difference is. " if least else ""
    limits += "A p that is not small does not prove that there is no difference."
    chosen = (
        f"{table.warning}. The configurations were chosen on the same clips that these tests use, so the p values are "
        "not valid, and no gain is significant."
    )
    first = [chosen] if table.warning else []
    acted = _acted(table)
    return [*first, what, *acted, *budget_notes(table), claim, narrow, limits, *_unclaimed(table, tests)]


def _acted(table: SweepTable) -> list[str]:
    """A line for each gain with trials in which SEPT hardly acted; its meaning, unless the chosen trials have it."""
    lines = [
        f"{gain.dataset}, {method_title(with_sept(gain.baseline))}: {remark}."
        for gain in table.all_gains
        if (remark := idle_remark(gain.activities))
    ]
    return [*lines, acted_note()] if lines and not table.says_activity else lines


_WITHIN = (
    "Every test clip is in one fold, so the variation between folds includes the effect of the clips; training folds "
    "overlap, and the variance is increased for that (Nadeau and Bengio, 2003)."
)
_ACROSS = (
    "All replicas are tested on the same target clips, so the effect of these clips has a variance of its own, "
    "estimated over their sources (over targets if that is larger), which is added to that between source folds."
)
_NOT_COUNTED = "it is not stored which test clips were right"


def _unclaimed(table: SweepTable, tests: Sequence[PairedTest]) -> list[str]:
    """Why some gains can never be significant."""
    lines = []
    single = sum(test.folds == 1 for test in tests)
    if single:
        lines.append(
            f"{_rows(single)} one {'source' if table.transfers else 'test'} fold: the variation between folds is "
            "unknown, and nothing is claimed beyond this fold."
        )
    alone = sum(test.targets == 1 for test in tests)
    if alone:
        lines.append(
            f"{_rows(alone)} one target: the variation between targets is unknown, and nothing is claimed beyond this "
            "target."
        )
    uncounted = sum(not test.sources for test in tests)
    if uncounted and table.transfers:
        lines.append(
            f"{_rows(uncounted)} results of an earlier release, which do not say which target clips were right: p "
            "covers shots, seeds and source folds on these clips only, and the gain is never significant. To claim "
            "more, run the sweep again."
        )
    elif uncounted:
        lines.append(
            f"{_rows(uncounted)} results of an earlier release, which do not say which test clips were right: the p of "
            "'claim' is never below that over folds, so fewer than six folds are never significant."
        )
    return lines


def _rows(count: int) -> str:
    return f"{count} {'row has' if count == 1 else 'rows have'}"
