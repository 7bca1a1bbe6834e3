"""The section of a report about the search itself: how good is the best of n trials, on validation clips?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.reports.document import Figure, Group, Section, Sheet
from pipeline.reports.figures.marks import ZERO_SHOT, trial_legend
from pipeline.reports.figures.tuning import LEVELS, Best, expected_best, tuning_figure
from pipeline.reports.records import StudyRecords, SweepRecords
from pipeline.reports.rows import method_title
from pipeline.reports.searches import by_baseline, objective_of, zero_shot_level
from pipeline.reports.tables import signed
from sept_core.trial_config import parts_of_key

__all__ = ["trial_values", "tuning_sections"]

_FEWEST = 2
_UNFOLDED = 8


def trial_values(study: StudyRecords) -> list[float]:
    """The validation of every ended trial of a study, in percent; empty with fewer than two finished trials.

    A pruned trial has been tried, and could not have been chosen: it counts with the last value that it reported, or
    the lowest value of a finished trial, whichever is lower. A failed trial counts with the lowest of all values.
    """
    ended = [study.decisions[number] for number in sorted(study.decisions) if number in study.proposals]
    finished = [one.objective for one in ended if one.state == "finished" and one.objective is not None]
    if len(finished) < _FEWEST:
        return []
    lowest = min(finished)
    pruned = [min(one.objective, lowest) for one in ended if one.state == "pruned" and one.objective is not None]
    failed = sum(one.state == "failed" for one in ended)
    return [*finished, *pruned, *[min([*pruned, lowest])] * failed]


def tuning_sections(records: SweepRecords) -> list[Section]:
    """The section; none if trials were chosen on test clips, or no study has enough trials."""
    if records.spec.selection == "paper":
        return []
    objective = objective_of(records)
    figures: list[Figure] = []
    rows: list[tuple[str, ...]] = []
    methods: dict[str, None] = {}
    any_zero_shot = False
    for title, baseline, studies in by_baseline(records):
        values = {parts_of_key(study.key).method: trial_values(study) for study in studies}
        curves = {method: expected_best(found) for method, found in sorted(values.items()) if found}
        if not curves:
            continue
        methods |= dict.fromkeys(curves)
        name = f"{title}, {method_title(baseline)}"
        zero_shot = zero_shot_level(records, next(iter(studies[0].proposals.values())).config)
        any_zero_shot |= zero_shot is not None
        figures.append(Figure(tuning_figure(curves, objective, zero_shot, name)))
        rows.append((title, method_title(baseline), *_cells({method: values[method] for method in curves})))
    if not figures:
        return []
    columns = ("dataset", "baseline", "trials", "best of 1", "of half", "of all", "lead of SEPT: of 1 / half / all")
    lead = (
        f"Expected {objective} of the best of n trials, if n of the trials of a study are drawn without replacement; "
        f"bands: {100 * LEVELS[0]:.0f} % to {100 * LEVELS[1]:.0f} % of all such draws, which narrow to nothing where "
        "all trials are drawn. The best of n trials rises with n by luck alone, with or without SEPT, so compare the "
        "two at the same n: a lead at one trial, the mean over the search space, owes nothing to luck in the search."
    )
    pruned = (
        "A pruned trial counts as tried, with the last value that it reported but no more than the worst finished "
        "trial, because it cannot be chosen; a failed trial counts with the lowest value."
    )
    cells = "In the table: without SEPT / with SEPT, at the number of trials that both have."
    return [
        Section(
            "tuning",
            f"Was it the search? Best {objective} by number of trials",
            lead=(lead, _scope(records)),
            legend=(*trial_legend(methods), *([ZERO_SHOT] if any_zero_shot else [])),
            sheets=(Sheet(columns, tuple(rows), frozenset({"dataset", "baseline"})),),
            groups=(Group("Tuning curves", tuple(figures), len(figures) <= _UNFOLDED),),
            notes=(cells, f"{pruned} Validation only: test clips are not used here."),
        )
    ]


def _scope(records: SweepRecords) -> str:
    """What the curves say about another search, which depends on the sampler and the pruner."""
    sampler = records.spec.sampler
    most = max(len(study.decisions) for study in records.studies)
    if sampler.name != "random" and most > sampler.n_startup_trials:
        return (
            "Descriptive: TPE proposes later trials from the results of earlier ones, so these curves describe the "
            "trials of this search and do not estimate another search of n trials."
        )
    exact = "All trials were drawn at random: the curve is an unbiased estimate for another random search of n trials"
    if records.spec.pruner.name == "none":
        return f"{exact}; the bands are about these trials only."
    return f"{exact}, except that the pruner depends on the order of trials; the bands are about these trials only."


def _cells(values: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """The expected best of 1 trial, half and all, at the number of trials that both methods have."""
    count = min(map(len, values.values()))
    counts = (1, max(1, count // 2), count)
    curves: dict[str, dict[int, Best]] = {
        method: {best.trials: best for best in expected_best(found, len(found))} for method, found in values.items()
    }
    cells = [" / ".join(f"{curve[n].mean:.1f}" for curve in curves.values()) for n in counts]
    # Without SEPT comes first.
    plain, *twin = curves.values()
    leads = " / ".join(signed(twin[0][n].mean - plain[n].mean) for n in counts) if twin else ""
    return (str(count), *cells, leads)
