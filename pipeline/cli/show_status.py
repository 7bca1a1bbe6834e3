"""Shows the status of a sweep on a terminal, in a log or as JSON; once, or repeatedly until the sweep ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import typer

from pipeline.cli.console import plain_table, say
from pipeline.text import ago, plural
from sept_core.protocol_facts import protocol_of

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

    from pipeline.store import TrialStore
    from pipeline.watch.status import StudyStatus, SweepReader, SweepStatus, TrialStatus

__all__ = ["one_line", "render", "short_study", "show", "watch"]

# Fits into 80 columns together with the others.
_STUDY_WIDTH = 22
# Failed trials shown while the status is redrawn.
_FAILURES = 5


def show(console: Console, status: SweepStatus) -> None:
    """Show the whole status once."""
    console.print(render(status, failures=0))
    for line in status.failures:
        say(console, line)


def watch(store: TrialStore, sweep: str, every_s: float, as_json: bool) -> None:
    """Show the status repeatedly until the sweep is finished or stopped, or until Ctrl-C.

    If there is no such sweep yet, or its driver was lost, this waits for the next launch. A terminal is redrawn;
    elsewhere a line is written whenever something has changed. As JSON, a line is written every time.

    Raises:
        InputError: The name cannot be that of a sweep, or the stored spec is no longer valid.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console()
    try:
        reader = _begun(store, sweep, every_s)
        if as_json:
            _follow(reader, every_s, lambda status: typer.echo(json.dumps(status.to_json())))
        elif console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                _follow(reader, every_s, lambda status: live.update(render(status), refresh=True))
        else:
            _follow(reader, every_s, _lines())
    except KeyboardInterrupt:
        # Ctrl-C ends the watching, not the sweep.
        return


def render(status: SweepStatus, failures: int = _FAILURES) -> Group:
    """Studies, running trials, and the driver; 80 columns wide.

    Args:
        status: The status.
        failures: How many of the latest failures are shown.
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
        parts += [Text(f"{hidden} more failed earlier")] if hidden > 0 else []
        parts += [Text(line, overflow="fold") for line in status.failures[-failures:]]
    return Group(*parts)


def one_line(status: SweepStatus) -> str:
    """The status in one line: counts, and running trials."""
    line = f"{status.ended} of {status.budget} trials ended"
    failed = sum(study.failed for study in status.studies)
    line += f", {failed} failed" if failed else ""
    driver = status.driver
    if status.state == "lost" and driver is not None:
        # A time instead of an age, so that the line does not change every time.
        return f"{line}; its driver on {driver.host} was last seen at {_clock(driver.renewed_ms)}"
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


def short_study(dataset: str, method: str, fold: str | None = None) -> str:
    """Such as ``ESC10 coop+sept``; the name of the dataset is cut if it is too long.

    Args:
        dataset: Name of the dataset.
        method: Name of the method.
        fold: With ``selection: strict`` the test fold of the study, which is never cut.
    """
    room = max(_STUDY_WIDTH - len(method) - 1, 4)
    name = f"{dataset if len(dataset) <= room else dataset[: room - 1] + '…'} {method}"
    return name if fold is None else f"{name} {fold}"


def _begun(store: TrialStore, sweep: str, every_s: float) -> SweepReader:
    """The reader of the sweep, once it has been launched."""
    from rich.console import Console

    from pipeline.spec.known_sweep import known_sweep
    from pipeline.watch.status import SweepReader
    from sept_core.errors import InputError

    # A file's name is a mistake, for which nobody should wait.
    if store.read_spec(sweep) is None and not sweep.endswith((".yaml", ".yml")):
        try:
            known_sweep(store, sweep)
        except InputError as error:
            say(Console(stderr=True), f"{error}\nWaiting until {sweep} is launched; Ctrl-C ends it")
        while store.read_spec(sweep) is None:
            time.sleep(every_s)
    return SweepReader(store, sweep)


def _follow(reader: SweepReader, every_s: float, take: Callable[[SweepStatus], object]) -> None:
    while True:
        status = reader.read()
        take(status)
        if status.state in ("finished", "stopped"):
            return
        time.sleep(every_s)


def _lines() -> Callable[[SweepStatus], None]:
    """Prints the status as a line, unless it is the same as the last one."""
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
    """The clips that accuracies are measured on, for the name of a column."""
    return "TEST" if status.selection == "paper" else "val"


def _study_table(status: SweepStatus) -> Table:
    table = plain_table()
    # In a strict sweep the test fold is part of the name.
    table.add_column("study, fold" if any(study.fold for study in status.studies) else "study", no_wrap=True)
    measured = _measured(status)
    best = f"best {measured} H" if protocol_of(status.protocol).objective == "h" else f"best {measured}"
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
    for name in ("trial", "signature", "epoch", f"best {_measured(status)}", "last seen"):
        table.add_column(name, justify="right", no_wrap=True)
    for trial in status.trials:
        if trial.phase == "running":
            seen = f"{ago(trial.heard_s or 0.0)} ago"
        else:
            seen = "waiting" if trial.phase == "waiting" else "unknown"
        number = f"#{trial.number}"
        best = _percent(trial.best_objective)
        table.add_row(names[trial.study], number, trial.signature, _epochs(trial), best, seen)
    return table


def _summary(status: SweepStatus) -> list[str]:
    first = f"{status.sweep}: {status.ended} of {status.budget} trials ended"
    if status.expected_end_ms is not None:
        left = max(0, status.expected_end_ms - status.at_ms) / 1000
        first += f"; expected end {_clock(status.expected_end_ms, status.at_ms)}, in {ago(left)}"
    lines = [first, *_driver_lines(status)]
    begun = sum(study.begun for study in status.studies)
    if begun and status.state in ("stopped", "lost"):
        lines.append(f"{plural(begun, 'trial')} interrupted, to be continued from the last checkpoint")
    return lines


def _driver_lines(status: SweepStatus) -> list[str]:
    driver = status.driver
    if status.state == "finished":
        return ["finished"]
    if driver is None:
        return ["not running; launch it again to continue"]
    seen = f"{ago(driver.renewed_s)} ago"
    if driver.gone:
        return [f"its driver on {driver.host} is gone, last seen {seen}; launch it again to continue"]
    if not driver.alive:
        return [f"its driver on {driver.host} was last seen {seen}; launch it again to continue"]
    since = _clock(driver.since_ms, status.at_ms)
    lines = [f"process {driver.pid} on {driver.host} has been running it since {since}; last seen {seen}"]
    if driver.stop_asked_ms is not None:
        asked = ago(max(0, status.at_ms - driver.stop_asked_ms) / 1000)
        lines.append(f"asked to stop {asked} ago: its trials continue to their next checkpoint")
    return lines


def _names(status: SweepStatus) -> dict[str, str]:
    return {study.key: _name(study) for study in status.studies}


def _name(study: StudyStatus) -> str:
    return short_study(study.dataset, study.method, fold=study.fold)


def _epochs(trial: TrialStatus) -> str:
    return f"{'?' if trial.epoch is None else trial.epoch}/{trial.epochs}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _clock(at_ms: int, now_ms: int | None = None) -> str:
    """Time of day; with the date if it is not the day of ``now_ms``."""
    at = datetime.fromtimestamp(at_ms / 1000).astimezone()
    if now_ms is None:
        return at.strftime("%H:%M:%S")
    today = datetime.fromtimestamp(now_ms / 1000).astimezone().date() == at.date()
    return at.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")
