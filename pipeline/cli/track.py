"""``sept track``: write the results of the store into MLflow."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.group import Group
from pipeline.cli.options import DEFAULT_ROOT, MlflowOption, RootOption

__all__ = ["app"]

app = typer.Typer(cls=Group, help="Write the results of the store into MLflow.", no_args_is_help=True)


@app.callback()
def _track() -> None:
    """Makes ``sync`` a subcommand, although it is the only one."""


@app.command()
def sync(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    root: RootOption = DEFAULT_ROOT,
    mlflow: MlflowOption = None,
) -> None:
    """Write everything that the store has of a sweep into MLflow; what is already there stays unchanged."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from pipeline.cli.console import say, working

    with working(f"Reading {sweep}"):
        from pipeline.cli.report import track_report
        from pipeline.reports import write_report
        from pipeline.spec import is_ablation
        from pipeline.store import Lease, TrialStore, open_files
        from pipeline.text import plural
        from pipeline.tracking import SweepWriter, default_target, failure, mlflow_client, prepare
        from pipeline.tracking import sync as run
        from pipeline.watch.status import study_budgets

        store = TrialStore(open_files(root))
        budgets = study_budgets(store, sweep)
        target = default_target(root, mlflow)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # The lease, because MLflow allows one writer, and a running sweep writes its own records.
    with (
        Lease(store.files, sweep) as lease,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("Writing to MLflow", total=None)
        try:
            prepare(target)
            writer = SweepWriter(mlflow_client(target, lease.check), target, sweep, store)
            summary = run(
                store,
                sweep,
                writer,
                budgets=budgets,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
            # Nothing is chosen among the variants of an ablation: the report of its sweep has them.
            if not is_ablation(sweep) and any(decision.state == "finished" for decision in store.decisions(sweep)):
                lease.check()
                track_report(store, sweep, write_report(store, sweep)[1], target, lease)
        except Exception as error:
            raise failure(target, error) from error
    say(
        console,
        f"{sweep}: {summary.ended} ended trials are in MLflow ({target.shown}, experiment {summary.experiment})",
    )
    if summary.gone:
        say(
            console, f"the results of {plural(summary.gone, 'more trial')} are gone; launch the sweep again to continue"
        )
    if summary.unended:
        say(console, f"{summary.unended} trials have not ended; launch the sweep again to continue")
