"""The work of ``sept quickstart`` and ``sept sweep launch``: announce, prepare tracking, run, report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from pipeline.cli.console import say
from pipeline.cli.errors import EXIT_FAILED, EXIT_RESUMABLE, EXIT_STOPPED
from pipeline.cli.options import mlflow_option, root_option
from pipeline.cli.report import show_report, track_report
from pipeline.text import plural

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.reports import ReportFiles
    from pipeline.spec import SweepSpec
    from pipeline.tracking import TrackingTarget

__all__ = ["run_sweep", "run_to_the_end", "write_tracked_report"]

_SPACES_S = 60.0
"""Seconds that a launch measures prompt spaces at its end; a large text encoder takes several for each study."""


def run_sweep(
    source: str,
    root: str,
    *,
    command: str,
    overrides: Mapping[str, Any],
    mlflow: str | None,
    address: str = "local",
    retry_failed: bool = False,
    remark: str = "",
) -> None:
    """Launch or resume a sweep, show its progress, and end with its report.

    Args:
        source: A YAML file, or the name of a sweep that ships.
        root: Folder or s3:// address of all results.
        command: The command line, to print it as the command that resumes.
        overrides: Values that replace the file's, by dotted key.
        mlflow: Tracking URI, None for the root's own database.
        address: Where Ray is.
        retry_failed: Whether trials that failed are run once more.
        remark: A sentence about the sweep's budget.

    Raises:
        typer.Exit: With 75 if it was interrupted, 3 if it was stopped on request, 1 if a study ended without a finished
            trial.
        SeptError: As raised by the called modules.
    """
    from rich.console import Console

    console = Console()
    started = time.monotonic()
    try:
        with _status(console, "Reading the sweep"):
            import pipeline
            from pipeline.cluster.address import check_reachable
            from pipeline.store import check_writable
            from pipeline.tracking import default_target

            spec = pipeline.load_spec(source, overrides, root=root)
            check_reachable(address)
            check_writable(root)
            target = default_target(root, mlflow)
        _announce(console, spec, root, target, remark)
    except KeyboardInterrupt:
        _stop(console, command, EXIT_RESUMABLE)
    tracked = run_to_the_end(console, spec, root, target, command=command, address=address, retry_failed=retry_failed)
    _measure_spaces(console, root, spec.name)
    complete, files = show_report(console, root, spec.name)
    if tracked:
        write_tracked_report(console, root, spec.name, files, target)
    seconds = time.monotonic() - started
    say(console, f"Took {int(seconds // 60)} min {int(seconds % 60)} s. Look at every trial in MLflow:")
    say(console, f"  {_next_command(root, spec.name, target)}")
    if not complete:
        raise typer.Exit(EXIT_FAILED)


def run_to_the_end(
    console: Console,
    spec: SweepSpec,
    root: str,
    target: TrackingTarget,
    *,
    command: str,
    address: str = "local",
    retry_failed: bool = False,
) -> bool:
    """Launch or resume a sweep and show its progress.

    Args:
        console: The terminal.
        spec: The sweep.
        root: Folder or s3:// address of all results.
        target: Where MLflow is.
        command: The command line, to print it as the command that resumes.
        address: Where Ray is.
        retry_failed: Whether trials that failed are run once more.

    Returns:
        Whether MLflow has all of it.

    Raises:
        typer.Exit: With 75 if it was interrupted, 3 if it was stopped on request.
        SeptError: As raised by the called modules.
    """
    try:
        stopped, tracked = _run(console, spec, root, target, address, retry_failed)
    except KeyboardInterrupt:
        stopped, tracked = EXIT_RESUMABLE, False
    if stopped:
        _stop(console, command, stopped)
    return tracked


def _stop(console: Console, command: str, code: int) -> NoReturn:
    say(console, "\nStopped. Every finished step is kept; the same command resumes it:")
    say(console, f"  {command}")
    raise typer.Exit(code)


def _announce(console: Console, spec: SweepSpec, root: str, target: TrackingTarget, remark: str) -> None:
    from pipeline.reports import method_title
    from pipeline.store import is_remote

    studies = spec.studies()
    methods = ", ".join(method_title(method) for method in spec.methods)
    total = sum(study.trials for study in studies)
    on = f"on {', '.join(spec.datasets)}"
    if spec.targets:
        on = f"from {', '.join(spec.sources)} to {', '.join(spec.targets)}"
    say(console, f"{spec.name}: {methods} {on} with encoder {', '.join(spec.encoders)}")
    if spec.selection == "paper":
        say(console, "  WARNING  configurations are chosen on test clips (selection: paper): not for unseen data")
    work = f"{plural(total, 'trial')} in {plural(len(studies), 'study', 'studies')}"
    folds = "one test fold" if spec.selection == "strict" else "its test folds"
    each = f"each over {folds} x {plural(len(spec.seeds), 'seed')}, {plural(spec.training.epochs, 'epoch')}"
    say(console, f"  budget   {work}, {each}" + (f": {remark}" if remark else ""))
    say(console, f"  results  {root}")
    note = "" if target.served or not is_remote(root) else " (on this machine, since it cannot be in a bucket)"
    say(console, f"  MLflow   {target.shown}{note}")


def _run(
    console: Console, spec: SweepSpec, root: str, target: TrackingTarget, address: str, retry_failed: bool
) -> tuple[int, bool]:
    """Run the sweep; the exit code where it was stopped before its end, else 0, and whether MLflow has all of it."""
    import pipeline
    from pipeline.cli.progress import make_progress

    progress = make_progress(console, choosing=spec.ablation is None)

    def waiting(what: str) -> AbstractContextManager[object]:
        progress.close()
        return _status(console, what)

    outcome = pipeline.launch(
        spec,
        root,
        address=address,
        mlflow=target.uri,
        retry_failed=retry_failed,
        observers=[progress],
        notify=lambda line: say(console, line),
        waiting=waiting,
    )
    if outcome.untracked:
        _say_how_to_sync(console, root, spec.name, target, outcome.untracked)
    stopped = EXIT_STOPPED if outcome.on_request else EXIT_RESUMABLE
    return stopped if outcome.state == "stopped" else 0, not outcome.untracked


def _measure_spaces(console: Console, root: str, sweep: str) -> None:
    """Measure prompt spaces for the report; it says what is missing, and a launch does not fail for it."""
    from pipeline.cli.show import unmeasured
    from pipeline.prompts.measure_space import measure_missing
    from pipeline.reports import collect
    from pipeline.store import TrialStore, open_files
    from pipeline.text import one_line

    store = TrialStore(open_files(root))
    with _status(console, "Measuring what SEPT did to the prompts"):
        try:
            done = measure_missing(store, root, sweep, collect(store, sweep), seconds=_SPACES_S)
            lines = unmeasured(done, sweep, root)
        except Exception as error:
            lines = [f"prompt spaces were not measured: {one_line(error)}"]
    for line in lines:
        say(console, line)


def write_tracked_report(console: Console, root: str, sweep: str, files: ReportFiles, target: TrackingTarget) -> None:
    """Write the report to MLflow, unless another driver has started since, which will write it at its end."""
    from pipeline.store import Lease, LeaseHeld, TrialStore, open_files
    from pipeline.text import one_line

    store = TrialStore(open_files(root))
    try:
        with Lease(store.files, sweep) as lease:
            track_report(store, sweep, files, target, lease)
    except LeaseHeld:
        return
    except Exception as error:
        _say_how_to_sync(console, root, sweep, target, f"the report ({one_line(error)})")


def _say_how_to_sync(console: Console, root: str, sweep: str, target: TrackingTarget, what: str) -> None:
    say(console, f"MLflow did not take {what}; nothing is lost. Write it with:")
    say(console, f"  sept track sync {sweep}{root_option(root)}{_mlflow_option(root, target)}")


def _mlflow_option(root: str, target: TrackingTarget) -> str:
    from pipeline.tracking import default_target

    return "" if target == default_target(root) else mlflow_option(target.uri)


def _next_command(root: str, sweep: str, target: TrackingTarget) -> str:
    if target.served:
        return f"open {target.shown} (experiment '{sweep}')"
    return f"sept ui{root_option(root)}{_mlflow_option(root, target)}"


def _status(console: Console, text: str) -> AbstractContextManager[object]:
    """A line while something takes time: on a terminal with a spinner, and gone at its end."""
    if console.is_terminal:
        return console.status(text)
    say(console, text)
    return nullcontext()
