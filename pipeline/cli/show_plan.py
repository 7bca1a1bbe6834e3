"""Shows the plan of a sweep on the terminal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.cli.console import plain_table, say
from pipeline.plan.models import BUSY
from pipeline.text import duration, plural

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.plan import PlannedStudy, SweepPlan
    from pipeline.spec import SweepSpec

__all__ = ["show_plan"]

_SOURCES = {
    "store": "store: finished trials of the study, scaled by epochs and replicas.",
    "alike": "alike: finished trials of the method on other datasets, scaled by text tokens.",
    "calibrated": "calibrated: steps of a trial in the middle of the space, timed on this machine.",
    "methods": "methods: a range, from finished trials of other methods, scaled by text tokens.",
    "unknown": "unknown: not in any total.",
}
_NOT_INCLUDED = (
    "Not included: starting Ray, handing trials to workers, encoding hand-crafted prompts,",
    "the test at the end of each trial, and the slowdown of trials on the same machine.",
)


def show_plan(console: Console, spec: SweepSpec, plan: SweepPlan, price: float | None) -> None:
    """Show a plan in 80 columns, except for long paths and messages.

    Args:
        console: The terminal.
        spec: The sweep.
        plan: Its plan.
        price: Price of a GPU-hour or worker-hour; None to show no cost.
    """
    studies = plural(len(plan.studies), "study", "studies")
    trials = plural(sum(study.trials for study in plan.studies), "trial")
    strict = spec.selection == "strict"
    folds = "one test fold" if strict else "its test folds"
    say(
        console,
        f"{plan.sweep}: {trials} in {studies} with encoder {', '.join(spec.encoders)}, {spec.protocol}, each trial",
    )
    say(console, f"with {folds} x {plural(len(spec.seeds), 'seed')} trained for {spec.training.epochs} epochs")
    if strict:
        say(console, "Selection strict: a study for each test fold, each with a search of its own.")
    say(console)
    table = plain_table()
    table.add_column("study", no_wrap=True, max_width=26)
    for name in (*(["folds"] if strict else []), "ended", "rep.", "a trial", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("from", no_wrap=True)
    rows: dict[tuple[str, str], list[PlannedStudy]] = {}
    for study in plan.studies:
        rows.setdefault((study.dataset, study.method), []).append(study)
    for group in rows.values():
        first, *others = _cells(group, plan.totals.spared)
        table.add_row(first, *([str(len(group))] if strict else []), *others)
    console.print(table)
    say(console)
    for line in (*_legend(plan), "", *_total_lines(plan, price), *_NOT_INCLUDED):
        say(console, line)
    if plan.notes:
        say(console)
    for note in plan.notes:
        say(console, note)
    if plan.data_warnings:
        say(console, "\nWarnings about the data, shown with every result:")
    for line in plan.data_warnings:
        say(console, f"  {line}")
    _show_problems(console, plan)


def _cells(group: Sequence[PlannedStudy], spared: float) -> list[str]:
    """The cells of a study, or with ``strict`` of all studies of a dataset and method: total counts, mean time."""
    first = group[0]
    trials, unfinished = sum(study.trials for study in group), sum(study.left for study in group)
    counts = [f"{trials - unfinished}/{trials}"]
    states = ((sum(getattr(study, state) for study in group), state[0]) for state in ("pruned", "failed", "begun"))
    counts += [f"{count}{letter}" for count, letter in states if count]
    replicas = "?" if first.replicas is None else f"{'' if first.replicas_known else '≤'}{first.replicas}"
    known = [(ends, study.left) for study in group if (ends := study.estimate.ends) is not None]
    each = _range(*(statistics.fmean(ends[at] for ends, _ in known) for at in (0, 1))) if known else "?"
    left = "-" if not unfinished else "?"
    if unfinished and known:
        left = _range(*((1 - spared) * sum(ends[at] * count for ends, count in known) for at in (0, 1)))
    sources = dict.fromkeys(study.estimate.source for study in group)
    return [f"{first.dataset} {first.method}", " ".join(counts), replicas, each, left, ", ".join(sources)]


def _range(least: float, most: float) -> str:
    """A duration; as ``2.1 to 5.4 min``, or ``< 1 s``, if its ends differ."""
    ends = duration(least), duration(most)
    if ends[0] != ends[1] and most < 1:
        return "< 1 s"
    (low, unit), (_, other) = (end.split() for end in ends)
    return ends[1] if ends[0] == ends[1] else f"{low if unit == other else ends[0]} to {ends[1]}"


def _legend(plan: SweepPlan) -> list[str]:
    lines = ["ended: trials that have ended, of all" + _states(plan) + "; rep.: replicas (test folds x seeds)."]
    used = {study.estimate.source for study in plan.studies}
    lines += [text for source, text in _SOURCES.items() if source in used]
    reasons = dict.fromkeys(study.estimate.basis for study in plan.studies if study.estimate.seconds is None)
    if reasons:
        lines.append(f"  because: {', '.join(reasons)}")
    if plan.waited > BUSY:
        lines.append(f"  Other processes took {plan.waited:.0%} of that time; a range begins with an idle machine.")
    if plan.machines:
        lines.append(f"Earlier trials ran on: {'; '.join(plan.machines)}")
    return lines


def _states(plan: SweepPlan) -> str:
    used = {
        "p pruned": any(study.pruned for study in plan.studies),
        "f failed": any(study.failed for study in plan.studies),
        "b begun": any(study.begun for study in plan.studies),
    }
    named = ", ".join(name for name, some in used.items() if some)
    return f" ({named})" if named else ""


def _total_lines(plan: SweepPlan, price: float | None) -> list[str]:
    totals = plan.totals
    if not totals.trials:
        return ["Nothing is left to run."]
    if totals.unknown == totals.trials:
        return [f"Left: {plural(totals.trials, 'trial')} of unknown duration"]
    without = f" ({totals.unknown} of unknown duration left out)" if totals.unknown else ""
    one_by_one = _range(*(3600 * hours for hours in totals.trial_range or (totals.trial_hours, totals.trial_hours)))
    lines = [f"Left: {plural(totals.trials, 'trial')}{without}, {one_by_one} one after the other"]
    if totals.gpu_hours:
        lines.append(f"GPU-hours: {totals.gpu_hours:.3g}")
    if totals.wall_hours is not None:
        together = f"up to {plural(totals.workers, 'trial')} at the same time on {totals.where}"
        wall = _range(*(3600 * hours for hours in totals.wall_range or (totals.wall_hours, totals.wall_hours)))
        lines.append(f"Wall time: {wall}, {together}")
    saved = f"{totals.spared:.0%} of the epochs, as it has until now" if totals.spared else "nothing"
    lines.append(f"Pruning is expected to save {saved}.")
    if price is not None:
        used, held = totals.cost(price)
        unit = "GPU" if totals.gpu_hours else "worker"
        whole = "" if held is None else f"; {held:.2f} if every {unit} is paid for the whole wall time"
        lines.append(f"Cost at {price:g} per {unit}-hour: {used:.2f} for the hours in use{whole}")
    return lines


def _show_problems(console: Console, plan: SweepPlan) -> None:
    if plan.missing:
        say(console, f"\nMissing ({len(plan.missing)}):")
    for missing in plan.missing:
        count = plural(len(missing.studies), "study", "studies")
        say(console, f"  {missing.what} ({count})")
        if missing.fix:
            say(console, f"    {missing.fix}")
    if plan.refusals:
        say(console, "\nsept sweep launch would refuse it:")
    for refusal in plan.refusals:
        say(console, f"  {refusal}")
