"""Progress of a sweep on a terminal (bars) or in a log (occasional lines), as observers of the search."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pipeline.reports.rows import method_title
from pipeline.search.selection import choose, chosen_value, fold_values
from pipeline.text import plural

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
        choosing: Whether the sweep chooses among its trials; an ablation does not, so that no best one is shown.
    """

    budgets: dict[str, int] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    ended: dict[tuple[str, int], Decision] = field(default_factory=dict)
    running: dict[tuple[str, int], float] = field(default_factory=dict)
    measured: str = "val"
    chosen: dict[str, dict[str, Decision]] = field(default_factory=dict)
    choosing: bool = True

    def start(self, studies: Sequence[StudyPlan]) -> None:
        """The sweep's plan."""
        self.budgets = {plan.key: plan.budget for plan in studies}
        self.titles = {
            plan.key: f"{plan.dataset} {method_title(plan.method)}" + (f", fold {plan.fold}" if plan.fold else "")
            for plan in studies
        }

    def move(self, proposal: Proposal, epoch: int) -> None:
        """A trial has reached an epoch."""
        if (proposal.study, proposal.number) not in self.ended:
            self.running[proposal.study, proposal.number] = min(epoch / max(proposal.config.epochs, 1), 1.0)

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

    def best(self, study: str) -> float | None:
        """The validation that a report of the study would show now: for each test fold, that of its best trial."""
        return chosen_value(self.chosen.get(study, {})) if self.choosing else None


class BarProgress:
    """A bar per study and one for all with the remaining time."""

    def __init__(self, console: Console, choosing: bool = True) -> None:
        self._console = console
        self._tally = Tally(choosing=choosing)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def sweep_started(self, sweep: str, studies: Sequence[StudyPlan]) -> None:
        """Show the bars."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._tally.start(studies)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]:>7}"),
            TextColumn("{task.fields[best]:>12}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            # Estimated from the last few minutes, not the last second: trials end in bursts.
            speed_estimate_period=300,
        )
        for plan in studies:
            self._tasks[plan.key] = self._add(self._progress, self._tally.titles[plan.key], plan.budget)
        self._tasks[""] = self._add(self._progress, "all trials", self._tally.budget)
        self._progress.start()

    def trial_started(self, proposal: Proposal, resumed_epoch: int) -> None:
        """Count the work of earlier launches."""
        self._tally.move(proposal, resumed_epoch)
        self._show(proposal.study)

    def reported(self, proposal: Proposal, report: Report) -> None:
        """Move the bars."""
        self._tally.move(proposal, report.epoch)
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
        self._progress.update(self._tasks[study], completed=tally.done(study), count=tally.count(study), best=shown)
        count = f"{len(tally.ended)}/{tally.budget}"
        self._progress.update(self._tasks[""], completed=tally.done(), count=count)

    @staticmethod
    def _add(progress: Progress, title: str, budget: int) -> TaskID:
        return progress.add_task(title, total=budget, count=f"0/{budget}", best="")


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
        if self._under_way:
            return
        self._under_way = True
        if self._tally.ended or resumed_epoch:
            more = f", and an interrupted one from epoch {resumed_epoch}" if resumed_epoch else ""
            self._write(f"{self._clock_text()} resuming after {plural(len(self._tally.ended), 'trial')}{more}")

    def reported(self, proposal: Proposal, report: Report) -> None:
        """Print a line if the last one was some time ago."""
        self._tally.move(proposal, report.epoch)
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
        self._write(
            f"{self._clock_text()} {len(tally.ended)} of {tally.budget} trials ({share:.0%}); "
            f"{tally.titles[study]} {tally.count(study)}{shown}"
        )

    def _clock_text(self) -> str:
        minutes, seconds = divmod(int(self._clock() - self._started), 60)
        return f"[{minutes:02d}:{seconds:02d}]"


def make_progress(console: Console, choosing: bool = True) -> BarProgress | LineProgress:
    """Bars on a terminal, lines elsewhere. ``choosing``: as in `Tally`."""
    if console.is_terminal:
        return BarProgress(console, choosing)
    return LineProgress(
        lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True), choosing=choosing
    )
