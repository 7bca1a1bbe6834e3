"""``sept ablate``: train variants of a study's chosen configuration, and compare them with it."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import say
from pipeline.cli.errors import EXIT_FAILED
from pipeline.cli.options import DEFAULT_ROOT, JsonOption, MlflowOption, RootOption, WorkersOption, rest, root_option
from pipeline.text import duration, plural

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.reports.ablation import AblationTable
    from pipeline.reports.records import RowRecords
    from pipeline.spec import SweepSpec
    from pipeline.store import TrialStore

__all__ = ["ablate"]


def ablate(
    sweep: Annotated[str, typer.Argument(help="Name of the sweep.")],
    study: Annotated[str, typer.Argument(help="A row of its report with SEPT, such as ESC10.coop+sept.")],
    root: RootOption = DEFAULT_ROOT,
    workers: WorkersOption = None,
    mlflow: MlflowOption = None,
    address: Annotated[
        str, typer.Option("--address", help="'local' starts a Ray; auto and HOST:PORT use a running one.")
    ] = "local",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed trials once more, after the cause is fixed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train what was chosen with one thing changed: SEPT off, one hinge, no margins, ... The same command resumes it.

    The variants are trained for the test folds of the chosen trials and compared replica by replica. The table is also
    in the report of the sweep. Nothing is chosen among the variants.
    """
    from rich.console import Console

    started = time.monotonic()
    # With --json, only the JSON goes to the standard output.
    console = Console(stderr=as_json)
    with console.status("Reading the sweep") if console.is_terminal else nullcontext():
        from pipeline.cluster.address import check_reachable
        from pipeline.reports.ablation import ablation_row
        from pipeline.store import TrialStore, check_writable, open_files

        check_reachable(address)
        store = TrialStore(open_files(root))
        row = ablation_row(store, sweep, study)
        check_writable(root)
        spec = _spec(store, root, sweep, row, workers)
    _announce(console, spec, row, root)
    command = f"sept ablate {quote(sweep)} {quote(study)}{root_option(root)}"
    command += f" --address {quote(address)}" if address != "local" else ""
    command += rest(workers, mlflow)
    from pipeline.cli.launching import run_to_the_end, write_tracked_report
    from pipeline.reports import read_records, write_report
    from pipeline.reports.ablation import read_ablations
    from pipeline.tracking import default_target

    target = default_target(root, mlflow)
    tracked = run_to_the_end(console, spec, root, target, command=command, address=address, retry_failed=retry_failed)
    _, files = write_report(store, sweep)
    if tracked:
        write_tracked_report(console, root, sweep, files, target)

    (table,) = read_ablations(store, read_records(store, sweep), [row])
    if as_json:
        typer.echo(json.dumps(table.to_json(), indent=1))
    else:
        _show(console, table)
        say(console, f"\nReport  {store.files.address(files.page)}")
        say(console, f"Took {duration(time.monotonic() - started)}.")
    if any(one.state != "finished" for one in table.rows):
        raise typer.Exit(EXIT_FAILED)


def _spec(store: TrialStore, root: str, sweep: str, row: RowRecords, workers: int | None) -> SweepSpec:
    """The stored spec of the ablation, or a new one."""
    from pipeline.data.stored_spec import stored_spec
    from pipeline.spec import ablation_name

    chosen = {pick.fold: pick.proposal.config for pick in row.picks}
    name = ablation_name(sweep, row.key, chosen)
    if store.read_spec(name) is not None:
        spec = stored_spec(store, name)
    else:
        from pipeline.search.ablation import ablation_spec, check_unchanged
        from pipeline.search.inputs import load_inputs
        from pipeline.search.trial_context import trial_place

        source = stored_spec(store, sweep)
        first = row.picks[0].proposal
        # Not the embeddings that the chosen trials read, if others have been made since: those that the variants read.
        inputs = load_inputs(root, replace(trial_place(store, sweep, first.study, first.config).inputs, embeddings={}))
        for one in {pick.proposal.signature: pick.proposal for pick in row.picks}.values():
            check_unchanged(source, one.study, one.config, inputs)
        spec = ablation_spec(row.key, source, chosen, inputs)
    if workers is None:
        return spec
    return spec.model_copy(update={"resources": spec.resources.model_copy(update={"workers": workers})})


def _announce(console: Console, spec: SweepSpec, row: RowRecords, root: str) -> None:
    """What is going to be trained, and how long that takes as far as the chosen trials tell."""
    assert spec.ablation is not None
    trials = spec.ablation.trials
    variants = list(dict.fromkeys(name for one in trials for name in one.folds.values()))
    say(console, f"{row.key}: {plural(len(variants), 'variant')} of what was chosen, each with one thing changed")
    say(console, f"  variants {', '.join(variants)}")
    for name, remark in spec.ablation.remarks.items():
        say(console, f"  {name}: {remark}")
    replicas = sum(len(one.folds) for one in trials) * len(spec.seeds)
    times = {pick.result.signature: pick for pick in row.picks}
    each = sum(
        pick.result.train_seconds
        * sum(other.result.signature == signature for other in row.picks)
        / len(pick.proposal.config.folds)
        for signature, pick in times.items()
    )
    work = sum(len(one.folds) for one in trials) / len(row.picks)
    say(console, f"  work     {plural(len(trials), 'trial')} with {plural(replicas, 'replica')} in all,")
    say(console, f"           about {duration(work * each)} one after the other, at the pace of the chosen ones")
    say(console, f"  results  {root}, sweep '{spec.name}'")


def _show(console: Console, table: AblationTable) -> None:
    from pipeline.cli.console import plain_table
    from pipeline.reports.ablation import ablation_cells, ablation_notes, without_sept

    columns, rows = ablation_cells(table)
    shown = plain_table()
    for name in columns:
        shown.add_column(name, justify="left" if name == "variant" else "right", no_wrap=True)
    for cells in rows:
        shown.add_row(*cells)
    say(console)
    console.print(shown)
    say(console)
    for line in (
        *without_sept(table),
        *ablation_notes([table]),
        *(f"{name}: {remark}." for name, remark in table.remarks.items()),
    ):
        say(console, line)
