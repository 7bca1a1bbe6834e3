"""The sections of a report about the search: trials, importance of hyper-parameters, confusion matrices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set

from pipeline.drawing import Legend, confusion_figure, look_of
from pipeline.reports.document import Figure, Group, Section, Sheet
from pipeline.reports.figures import (
    Point,
    accuracies_figure,
    coordinates_figure,
    curves_figure,
    history_figure,
    points_of,
    searched_figures,
)
from pipeline.reports.figures.marks import ZERO_SHOT, legend_entry, trial_legend
from pipeline.reports.importance import BEST, FEWEST, counted, importances
from pipeline.reports.records import RowRecords, StudyRecords, SweepRecords
from pipeline.reports.rows import PAPER_WARNING, method_title
from pipeline.reports.titles import study_title
from pipeline.text import without_sept
from sept_core.protocol_facts import protocol_of
from sept_core.results import TrialResult
from sept_core.trial_config import TrialConfig

__all__ = ["by_baseline", "objective_of", "search_sections", "zero_shot_level"]

_UNFOLDED = 8
"""Up to this number of groups all are unfolded; if there are more, none is."""
_ZERO_SHOT = "zero-shot"
_PARTS = {"base": "base classes", "new": "new classes", "accuracy": "all classes"}
_OBJECTIVES = {"h": "H", "accuracy": "accuracy", "source": "accuracy on source"}


def search_sections(records: SweepRecords) -> list[Section]:
    """The sections in reading order; without those that have no content."""
    return [*_searched(records), *_importance(records), *_confusion(records)]


def objective_of(records: SweepRecords) -> str:
    """The name of the search objective, for an axis."""
    name = _OBJECTIVES[protocol_of(records.spec.protocol).objective]
    return f"{name} on TEST clips" if records.spec.selection == "paper" else f"validation {name}"


def _searched(records: SweepRecords) -> list[Section]:
    paper, objective = records.spec.selection == "paper", objective_of(records)
    groups: list[tuple[str, tuple[Figure, ...]]] = []
    every: list[Point] = []
    methods: dict[str, None] = {}
    for title, baseline, studies in by_baseline(records):
        trials = {_config(study).method: points_of(study) for study in studies}
        trials = {method: points for method, points in trials.items() if any(point.params for point in points)}
        if not trials:
            continue
        every += [point for points in trials.values() for point in points]
        methods |= dict.fromkeys(trials)
        spaces = {name: dim for study in studies if study.spec for name, dim in study.spec.searched.items()}
        zero_shot = zero_shot_level(records, _config(studies[0]))
        drawn = [
            history_figure(trials, objective, zero_shot),
            curves_figure(trials, objective),
            accuracies_figure(trials, "TEST" if paper else "validation"),
        ]
        figures = [Figure(svg) for svg in drawn if svg is not None]
        figures += [Figure(svg) for svg in searched_figures(trials, spaces, objective, zero_shot)]
        for method, points in trials.items():
            crossed = coordinates_figure(points, spaces, f"{'TEST' if paper else 'val'} {objective.split()[-1]}")
            if crossed is not None:
                figures.append(
                    Figure(
                        crossed,
                        f"{method_title(method)}: a line per trial, darker if better; pruned dashed, chosen thick",
                        wide=True,
                    )
                )
        groups.append((f"{title}, {_twins(baseline, trials)}", tuple(figures)))
    if not groups:
        return []
    measured = f"{objective.split()[0]} on the test clips" if paper else "the mean over its replicas, on held-out clips"
    lead = (
        f"Every trial by the search objective: {measured}. A pruned trial is shown at its last report, after a shorter "
        "training than a finished one. Steps: best finished trial so far. Rings and strong curves: chosen for one test "
        "fold or several, by the validation of the fold's replicas alone; so the highest trial may have no ring."
    )
    if paper:
        lead = lead.partition(" Rings and")[0]
    return [
        Section(
            "search",
            "Trials of the search",
            lead=(lead,),
            legend=_legend(list(methods), {point.state for point in every}),
            groups=tuple(Group(title, figures, len(groups) <= _UNFOLDED) for title, figures in groups),
        )
    ]


def _importance(records: SweepRecords) -> list[Section]:
    searched = [study for study in records.studies if study.spec is not None and study.spec.searched]
    if not searched:
        return []
    names = sorted({name for study in searched if study.spec for name in study.spec.searched})
    rows: list[tuple[str, ...]] = []
    bars: dict[tuple[int, int], float] = {}
    few: list[str] = []
    for study in searched:
        assert study.spec is not None
        points = points_of(study)
        finished = len(counted(study.spec, points))
        found = importances(study.spec, points)
        method = study_title(_config(study), study.key) if study.proposals else method_title(study.spec.method)
        if found is None:
            few.append(f"{study.spec.dataset} {method} ({finished})")
            continue
        bars |= {(len(rows), column): found[name] for column, name in enumerate(names, start=3) if name in found}
        cells = (f"{100 * found[name]:.0f} %" if name in found else "" for name in names)
        rows.append((study.spec.dataset, method, str(finished), *cells))
    columns = ("dataset", "method", "finished trials", *names)
    sheets = (Sheet(columns, tuple(rows), frozenset({"dataset", "method"}), bars=bars),)
    if not rows:
        return []
    lack = f"Too few finished trials within the current space to say anything (fewer than {FEWEST})"
    unsaid = (f"{lack}: {', '.join(few)}.",) if few else ()
    note = (
        "PED-ANOVA over the finished trials of a study: how much the distribution of a hyper-parameter in the best "
        f"{100 * BEST:.0f} % of them differs from that in all, as shares of 100 %. Pruned trials and trials outside of "
        "the current space do not count."
    )
    return [
        Section(
            "importance",
            "Importance of hyper-parameters",
            lead=unsaid,
            sheets=sheets,
            notes=(note,),
        )
    ]


def _confusion(records: SweepRecords) -> list[Section]:
    groups: dict[str, list[Figure]] = {}
    pairs = "new" in protocol_of(records.spec.protocol).compared
    others = []
    for row in records.rows:
        results, whole = _confused(row)
        if not results:
            continue
        config, classnames = results[0].config, results[0].classnames
        if not whole:
            others.append(f"{config.dataset} {method_title(config.method)}")
        for part in sorted(results[0].confusion):
            title = f"{method_title(config.method)}, {_PARTS.get(part, part)}" + ("" if whole else " *")
            svg = confusion_figure(_sum([result.confusion[part] for result in results]), classnames[part], title)
            # Small ones are shown side by side, large ones scroll in a box of their own.
            groups.setdefault(config.dataset, []).append(Figure(svg, wide=len(classnames[part]) > 8))
    if not groups:
        return []
    paper = any(pick.proposal.config.selection == "paper" for row in records.rows for pick in row.picks)
    few = sum(map(len, groups.values())) <= 4 * _UNFOLDED
    lead = "Test clips of all replicas of a row, shaded by the share of the line."
    if others:
        lead += (
            f" *: for rows with several trials ({', '.join(others)}), only the best configuration over all folds. Its "
            "choice has used these clips: its accuracies are not those of the table."
        )
    return [
        Section(
            "confusion",
            "Confusion matrices",
            lead=(f"{lead} {PAPER_WARNING}." if paper else lead,),
            groups=tuple(Group(dataset, tuple(figures), few, pairs) for dataset, figures in groups.items()),
        )
    ]


def _confused(row: RowRecords) -> tuple[list[TrialResult], bool]:
    """Results whose confusion matrices add up to those of the row, and True; otherwise the best one, and False.

    The matrices of a result are over all of its replicas: they are those of the row if it was chosen for all its folds.
    """
    results = {pick.result.signature: pick.result for pick in row.picks}
    if sum(len(result.config.folds) for result in results.values()) == len(row.picks):
        return list(results.values()), True
    return [study.result for study in row.studies if study.result is not None][:1], False


def _sum(matrices: Sequence[Sequence[Sequence[int]]]) -> list[list[int]]:
    return [[sum(cells) for cells in zip(*lines, strict=True)] for lines in zip(*matrices, strict=True)]


def _config(study: StudyRecords) -> TrialConfig:
    return next(iter(study.proposals.values())).config


def by_baseline(records: SweepRecords) -> Iterator[tuple[str, str, Sequence[StudyRecords]]]:
    """Every dataset and baseline (with strict, every fold) with its studies: the baseline and its SEPT twin."""
    groups: dict[tuple[str, str], list[StudyRecords]] = {}
    for row in records.rows:
        for study in row.studies:
            config = _config(study) if study.proposals else None
            if config is not None and config.baseline != _ZERO_SHOT:
                fold = "" if study.key == row.key else f", fold {', '.join(config.folds)}"
                groups.setdefault((f"{config.dataset}{fold}", without_sept(row.method)), []).append(study)
    for (title, baseline), studies in groups.items():
        yield title, baseline, studies


def zero_shot_level(records: SweepRecords, like: TrialConfig) -> float | None:
    """The search objective of the zero-shot prompts, if the sweep has them."""
    for study in records.studies:
        config = study.result.config if study.result is not None else None
        if config and config.baseline == _ZERO_SHOT and (config.dataset, config.folds) == (like.dataset, like.folds):
            points: Sequence[Point] = points_of(study)
            return max(point.value for point in points)
    return None


def _twins(baseline: str, trials: Iterable[str]) -> str:
    """Such as ``CoOp with and without SEPT``."""
    found = {method != baseline.partition("@")[0] for method in trials}
    with_or_without = "with SEPT" if found == {True} else "without SEPT" if found == {False} else ""
    return f"{method_title(baseline)} {with_or_without or 'with and without SEPT'}"


def _legend(methods: Sequence[str], states: Set[str]) -> tuple[Legend, ...]:
    """The marks in the figures."""
    legend = trial_legend(methods)
    shape = look_of(methods[0]).shape
    if "pruned" in states:
        legend.append(legend_entry([(shape, "trial pruned zero", 4.0)], "hollow: pruned"))
    if "failed" in states:
        legend.append(legend_entry([("cross", "failed trial zero", 3.5)], "failed"))
    legend.append(legend_entry([(shape, "trial zero", 3.8), ("dot", "ring", 7.5)], "ring: chosen"))
    return (*legend, ZERO_SHOT)
