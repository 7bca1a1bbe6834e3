"""Progress of a sweep on a terminal (bars) or in a log (occasional lines), as observers of the search."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from pipeline.reports.rows import method_title
from pipeline.search.selection import choose, chosen_value, fold_values
from pipeline.text import ago, plural

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from pipeline.search.observer import StudyPlan
    from pipeline.store import Decision, Proposal
    from sept_core.results import Report, TrialResult

__all__ = ["BarProgress", "LineProgress", "Tally", "make_progress"]

LINE_EVERY_S = 10.0


@dataclass
class Tally:
    """The progress of a sweep, keyed by study and number, so that a repeated event counts once.

    Attributes:
        measured: The data on which `best` is measured: ``val``, or ``TEST`` with ``selection: paper``.
        chosen: By study and test fold, the best finished trial so far.
        seconds: By trial, its seconds of training so far.
        earlier: By trial, the share of its epochs that earlier launches trained; 1 if it had ended.
        began: When the first trial of this launch started, seconds on the clock that the caller uses.
        choosing: Whether the sweep chooses among its trials; an ablation does not, so that no best one is shown.
    """

    budgets: dict[str, int] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    ended: dict[tuple[str, int], Decision] = field(default_factory=dict)
    running: dict[tuple[str, int], float] = field(default_factory=dict)
    measured: str = "val"
    chosen: dict[str, dict[str, Decision]] = field(default_factory=dict)
    seconds: dict[tuple[str, int], float] = field(default_factory=dict)
    earlier: dict[tuple[str, int], float] = field(default_factory=dict)
    began: float | None = None
    choosing: bool = True

    def start(self, studies: Sequence[StudyPlan]) -> None:
        """The sweep's plan."""
        self.budgets = {plan.key: plan.budget for plan in studies}
        self.titles = {
            plan.key: f"{plan.dataset} {method_title(plan.method)}" + (f", fold {plan.fold}" if plan.fold else "")
            for plan in studies
        }

    def launch(self, proposal: Proposal, epoch: int, now: float) -> None:
        """A worker has started a trial, from the checkpoint at this epoch."""
        if self.began is None:
            self.began = now
            self.earlier = dict.fromkeys(self.ended, 1.0)
        self.move(proposal, epoch)
        # A trial whose worker died starts again, from a checkpoint of this launch.
        key = proposal.study, proposal.number
        self.earlier.setdefault(key, self.running.get(key, 0.0))

    def move(self, proposal: Proposal, epoch: int, seconds: float | None = None) -> None:
        """A trial has reached an epoch, after this many seconds of training."""
        key = proposal.study, proposal.number
        if seconds is not None:
            self.seconds[key] = seconds
        if key not in self.ended:
            self.running[key] = min(epoch / max(proposal.config.epochs, 1), 1.0)

    def end(self, proposal: Proposal, decision: Decision, result: TrialResult | None = None) -> None:
        """A trial has ended."""
        self.running.pop((proposal.study, proposal.number), None)
        if decision.state == "finished" and not decision.fold_values and result is not None:
            # A decision of an earlier release.
            values = fold_values(proposal.config, result.objective, result.replicas)
            decision = replace(decision, fold_values=values)
        self.ended[proposal.study, proposal.number] = decision
        self.chosen[proposal.study] = choose((*self.chosen.get(proposal.study, {}).values(), decision))
        self.measured = "TEST" if proposal.config.selection == "paper" else "val"

    @property
    def budget(self) -> int:
        """Trials in all."""
        return sum(self.budgets.values())

    def done(self, study: str | None = None) -> float:
        """Ended trials, plus the share of epochs of running ones; of one study or of all."""
        ended = sum(1 for key, _ in self.ended if study in (None, key))
        return ended + sum(part for (key, _), part in self.running.items() if study in (None, key))

    def count(self, study: str) -> str:
        """Such as ``5/8``."""
        return f"{sum(1 for key, _ in self.ended if key == study)}/{self.budgets[study]}"

    def seconds_left(self, now: float) -> float | None:
        """Seconds until all trials have ended; None before this launch has trained anything.

        Only what this launch has trained counts against its time: a trial is as long as those of its study (as all,
        before there is one), and as many run at the same time as until now.
        """
        here: dict[str, float] = {}
        lengths: dict[str, list[float]] = {}
        for key in (*self.ended, *self.running):
            share = self.running.get(key, 1.0)
            here[key[0]] = here.get(key[0], 0.0) + max(share - self.earlier.get(key, 0.0), 0.0)
            if self.earlier.get(key) != 1.0 and share and key in self.seconds:
                lengths.setdefault(key[0], []).append(self.seconds[key] / share)
        if self.began is None or not lengths:
            return None
        every = fmean(length for one in lengths.values() for length in one)
        each = {key: fmean(lengths[key]) if key in lengths else every for key in self.budgets}
        trained = sum(here.get(key, 0.0) * each[key] for key in self.budgets)
        left = sum((self.budgets[key] - self.done(key)) * each[key] for key in self.budgets)
        return left * (now - self.began) / trained if trained else None

    def best(self, study: str) -> float | None:
        """The validation that a report of the study would show now: for each test fold, that of its best trial."""
        return chosen_value(self.chosen.get(study, {})) if self.choosing else None


class BarProgress:
    """A bar per study and one for all with the remaining time."""

    def __init__(self, console: Console, choosing: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._tally = Tally(choosing=choosing)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def sweep_started(self, sweep: str, studies: Sequence[StudyPlan]) -> None:
        """Show the bars."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._tally.start(studies)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]:>7}"),
            TextColumn("{task.fields[best]:>12}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]:>11}"),
            console=self._console,
        )
        for plan in studies:
            self._tasks[plan.key] = self._add(self._progress, self._tally.titles[plan.key], plan.budget)
        self._tasks[""] = self._add(self._progress, "all trials", self._tally.budget)
        self._progress.start()

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None:
        """Count the work of earlier launches."""
        self._tally.launch(proposal, resumed_epoch, self._clock())
        self._show(proposal.study)

    def reported(self, proposal: Proposal, report: Report) -> None:
        """Move the bars."""
        self._tally.move(proposal, report.epoch, report.time_s)
        self._show(proposal.study)

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        """Count the trial."""
        self._tally.end(proposal, decision, result)
        self._show(proposal.study)

    def sweep_ended(self, state: Literal["finished", "stopped"]) -> None:
        """Leave the bars as they are."""
        self.close()

    def close(self) -> None:
        """Stop drawing; also if the sweep ended with an error."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _show(self, study: str) -> None:
        if self._progress is None:
            return
        tally = self._tally
        best = tally.best(study)
        shown = "" if best is None else f"{tally.measured} {best:5.1f}"
        now, progress = self._clock(), self._progress
        progress.update(self._tasks[study], completed=tally.done(study), count=tally.count(study), best=shown)
        count = f"{len(tally.ended)}/{tally.budget}"
        progress.update(self._tasks[""], completed=tally.done(), count=count, left=_left(tally.seconds_left(now)))

    @staticmethod
    def _add(progress: Progress, title: str, budget: int) -> TaskID:
        return progress.add_task(title, total=budget, count=f"0/{budget}", best="", left="")


class LineProgress:
    """Occasional plain lines, for logs and pipes."""

    def __init__(
        self, write: Callable[[str], Any], clock: Callable[[], float] = time.monotonic, choosing: bool = True
    ) -> None:
        self._write = write
        self._clock = clock
        self._tally = Tally(choosing=choosing)
        self._started = 0.0
        self._last = 0.0
        self._under_way = False

    def sweep_started(self, sweep: str, studies: Sequence[StudyPlan]) -> None:
        """Print the plan."""
        self._tally.start(studies)
        self._started = self._last = self._clock()
        self._write(f"{sweep}: {self._tally.budget} trials in {plural(len(studies), 'study', 'studies')}")

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None:
        """At the first one, print what was resumed; a start itself is not progress."""
        self._tally.launch(proposal, resumed_epoch, self._clock())
        if self._under_way:
            return
        self._under_way = True
        if self._tally.ended or resumed_epoch:
            more = f", and an interrupted one from epoch {resumed_epoch}" if resumed_epoch else ""
            self._write(f"{self._clock_text()} resuming after {plural(len(self._tally.ended), 'trial')}{more}")

    def reported(self, proposal: Proposal, report: Report) -> None:
        """Print a line if the last one was some time ago."""
        self._tally.move(proposal, report.epoch, report.time_s)
        self._maybe(proposal.study)

    def trial_ended(self, proposal: Proposal, decision: Decision, result: TrialResult | None) -> None:
        """A line, if the last one is some time ago."""
        self._tally.end(proposal, decision, result)
        self._maybe(proposal.study)

    def sweep_ended(self, state: Literal["finished", "stopped"]) -> None:
        """Print how it ended."""
        self._write(f"{self._clock_text()} {state}: {len(self._tally.ended)} of {self._tally.budget} trials")

    def close(self) -> None:
        """Nothing to close."""

    def _maybe(self, study: str) -> None:
        now = self._clock()
        if now - self._last < LINE_EVERY_S:
            return
        self._last = now
        tally = self._tally
        best = tally.best(study)
        shown = "" if best is None else f", best {tally.measured} {best:.1f}"
        share = tally.done() / max(tally.budget, 1)
        left = _left(tally.seconds_left(now))
        self._write(
            f"{self._clock_text()} {len(tally.ended)} of {tally.budget} trials ({share:.0%}); "
            f"{tally.titles[study]} {tally.count(study)}{shown}" + (f"; {left}" if left else "")
        )

    def _clock_text(self) -> str:
        minutes, seconds = divmod(int(self._clock() - self._started), 60)
        return f"[{minutes:02d}:{seconds:02d}]"


def _left(seconds: float | None) -> str:
    return "" if not seconds else f"{ago(seconds)} left"


def make_progress(console: Console, choosing: bool = True) -> BarProgress | LineProgress:
    """Bars on a terminal, lines elsewhere. ``choosing``: as in `Tally`."""
    if console.is_terminal:
        return BarProgress(console, choosing)
    return LineProgress(
        lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True), choosing=choosing
    )
