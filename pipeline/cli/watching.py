"""A sweep's state on a terminal, in a log or as JSON; once, or again and again until the sweep ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import typer

from pipeline.cli.console import plain_table, say
from pipeline.text import ago, plural

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from pipeline.watch.status import StudyStatus, SweepReader, SweepStatus, TrialStatus

__all__ = ["one_line", "render", "short_study", "show", "watch"]

# What fits beside the other columns into 80.
_STUDY_WIDTH = 22
# Of those that failed, in a picture that is drawn anew again and again.
_FAILURES = 5


def show(console: Console, status: SweepStatus) -> None:
    """The whole state, once."""
    console.print(render(status, failures=0))
    for line in status.failures:
        say(console, line)


def watch(reader: SweepReader, every_s: float, as_json: bool) -> None:
    """Show the state again and again until the sweep has ended, or Ctrl-C.

    It has ended when it is finished, or its launch was stopped; where the driver was lost, the next launch is waited
    for. On a terminal the picture is redrawn; elsewhere there is a line whenever something has changed. As JSON there
    is a line each time, whatever has changed.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console()
    try:
        if as_json:
            _follow(reader, every_s, lambda status: typer.echo(json.dumps(status.to_json())))
        elif console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                _follow(reader, every_s, lambda status: live.update(render(status), refresh=True))
        else:
            _follow(reader, every_s, _lines())
    except KeyboardInterrupt:
        # How one leaves; the sweep does not notice.
        return


def render(status: SweepStatus, failures: int = _FAILURES) -> Group:
    """Studies, trials that run, and who runs them; 80 columns wide.

    Args:
        status: The state.
        failures: How many of the last failures are shown.
    """
    from rich.console import Group
    from rich.text import Text

    from pipeline.reports.rows import warning_of

    parts: list[Table | Text] = [_study_table(status), Text()]
    if status.trials:
        parts += [_trial_table(status), Text()]
    if warning := warning_of(status.selection):
        parts += [Text(warning), Text()]
    if status.data_warnings:
        parts += [*(Text(f"data: {line}", overflow="fold") for line in status.data_warnings), Text()]
    parts += [Text(line) for line in _summary(status)]
    if failures and status.failures:
        hidden = len(status.failures) - failures
        parts += [Text(f"{hidden} more have failed before")] if hidden > 0 else []
        parts += [Text(line, overflow="fold") for line in status.failures[-failures:]]
    return Group(*parts)


def one_line(status: SweepStatus) -> str:
    """The state in one line: counts, the trials that run, and the best so far."""
    line = f"{status.ended} of {status.budget} trials ended"
    failed = sum(study.failed for study in status.studies)
    line += f", {failed} failed" if failed else ""
    driver = status.driver
    if status.state == "lost" and driver is not None:
        # Not how long ago, which would be something new each time.
        return f"{line}; its driver on {driver.host} was last heard of at {_clock(driver.renewed_ms)}"
    if status.state != "running":
        return f"{line}; {_driver_lines(status)[0]}"
    names = _names(status)
    running = [
        f"{names[trial.study]} #{trial.number} at epoch {_epochs(trial)}"
        for trial in status.trials
        if trial.phase == "running"
    ]
    line += f"; running {', '.join(running)}" if running else ""
    return line + ("; asked to stop" if driver is not None and driver.stop_asked_ms is not None else "")


def short_study(dataset: str, method: str, width: int = _STUDY_WIDTH, fold: str | None = None) -> str:
    """Such as ``ESC10 coop+sept``: encoder and protocol are the sweep's. Of long names the dataset's is cut.

    Args:
        dataset: Name of the dataset.
        method: Name of the method.
        width: Characters at most; a fold's come on top of them.
        fold: With ``selection: strict`` the study's test fold.
    """
    room = max(width - len(method) - 1, 4)
    name = f"{dataset if len(dataset) <= room else dataset[: room - 1] + '…'} {method}"
    return name if fold is None else f"{name} {fold}"


def _follow(reader: SweepReader, every_s: float, take: Callable[[SweepStatus], object]) -> None:
    while True:
        status = reader.read()
        take(status)
        if status.state in ("finished", "stopped"):
            return
        time.sleep(every_s)


def _lines() -> Callable[[SweepStatus], None]:
    """Prints a state as a line, unless nothing has changed since the last one."""
    from rich.console import Console

    console, last = Console(), ""

    def take(status: SweepStatus) -> None:
        nonlocal last
        line = one_line(status)
        if line != last:
            say(console, f"{_clock(status.at_ms)} {line}")
        last = line

    return take


def _measured(status: SweepStatus) -> str:
    """What accuracies are measured on, as a column names it."""
    return "TEST" if status.selection == "paper" else "val"


def _study_table(status: SweepStatus) -> Table:
    table = plain_table()
    # Of a strict sweep the test fold is part of the name.
    table.add_column("study, fold" if any(study.fold for study in status.studies) else "study", no_wrap=True)
    measured = _measured(status)
    best = f"best {measured} H" if status.protocol == "base-to-new" else f"best {measured}"
    for name in ("finished", "pruned", "failed", "running", "budget", best):
        table.add_column(name, justify="right", no_wrap=True)
    for study in status.studies:
        counts = (study.finished, study.pruned, study.failed, study.running, study.budget)
        table.add_row(_name(study), *map(str, counts), _percent(study.best_objective))
    return table


def _trial_table(status: SweepStatus) -> Table:
    names = _names(status)
    table = plain_table()
    table.add_column("running", no_wrap=True)
    for name in ("trial", "signature", "epoch", f"best {_measured(status)}", "heard of"):
        table.add_column(name, justify="right", no_wrap=True)
    for trial in status.trials:
        if trial.phase == "running":
            heard = f"{ago(trial.heard_s or 0.0)} ago"
        else:
            heard = "waits" if trial.phase == "waiting" else "not known"
        number = f"#{trial.number}"
        best = _percent(trial.best_objective)
        table.add_row(names[trial.study], number, trial.signature, _epochs(trial), best, heard)
    return table


def _summary(status: SweepStatus) -> list[str]:
    first = f"{status.sweep}: {status.ended} of {status.budget} trials ended"
    if status.expected_end_ms is not None:
        left = max(0, status.expected_end_ms - status.at_ms) / 1000
        first += f"; expected end {_clock(status.expected_end_ms, status.at_ms)}, in {ago(left)}"
    lines = [first, *_driver_lines(status)]
    begun = sum(study.begun for study in status.studies)
    if begun and status.state in ("stopped", "lost"):
        lines.append(f"{plural(begun, 'trial')} interrupted, to go on from the last checkpoint")
    return lines


def _driver_lines(status: SweepStatus) -> list[str]:
    driver = status.driver
    if status.state == "finished":
        return ["finished"]
    if driver is None:
        return ["nobody runs it at the moment; launch it again to go on"]
    heard = f"{ago(driver.renewed_s)} ago"
    if driver.gone:
        return [f"its driver on {driver.host} is gone, last heard of {heard}; launch it again to go on"]
    if not driver.alive:
        return [f"its driver on {driver.host} was last heard of {heard}; launch it again to go on"]
    since = _clock(driver.since_ms, status.at_ms)
    lines = [f"process {driver.pid} on {driver.host} runs it since {since}; last heard of {heard}"]
    if driver.stop_asked_ms is not None:
        asked = ago(max(0, status.at_ms - driver.stop_asked_ms) / 1000)
        lines.append(f"asked to stop {asked} ago: its trials go on to their next checkpoint")
    return lines


def _names(status: SweepStatus) -> dict[str, str]:
    return {study.key: _name(study) for study in status.studies}


def _name(study: StudyStatus) -> str:
    return short_study(study.dataset, study.method, fold=study.fold)


def _epochs(trial: TrialStatus) -> str:
    return f"{'?' if trial.epoch is None else trial.epoch}/{trial.epochs}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _clock(at_ms: int, beside_ms: int | None = None) -> str:
    """Time of day; with the date where that is not the day of ``beside_ms``."""
    at = datetime.fromtimestamp(at_ms / 1000).astimezone()
    if beside_ms is None:
        return at.strftime("%H:%M:%S")
    today = datetime.fromtimestamp(beside_ms / 1000).astimezone().date() == at.date()
    return at.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")
