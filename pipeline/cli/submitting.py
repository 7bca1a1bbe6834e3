"""The work of ``sept sweep submit``: submit a sweep to a running cluster, and follow it until it ends or Ctrl-C."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import typer

from pipeline.cli.console import say, working
from pipeline.cli.errors import EXIT_RESUMABLE
from pipeline.text import masked
from sept_core.errors import InputError, SeptError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.cluster.jobs import Request
    from pipeline.spec import SweepSpec

__all__ = ["submit_sweep"]


def submit_sweep(
    source: str,
    root: str,
    *,
    address: str,
    command: str,
    overrides: Mapping[str, Any],
    mlflow: str | None = None,
    retry_failed: bool = False,
    wait: bool = True,
    stop: str = "",
) -> None:
    """Submit a sweep, or attach to its running job, and follow it.

    Args:
        source: A YAML file, or the name of a sweep that ships.
        root: The results folder, as the cluster sees it.
        address: Address of the cluster's job server.
        command: The command line, to print it as the command that follows or resumes.
        overrides: Values that replace the file's, by dotted key.
        mlflow: Tracking URI, as the cluster sees it.
        retry_failed: Whether trials that failed are run once more.
        wait: Whether to follow the job to its end.
        stop: The command that stops it, if it must be run elsewhere.

    Raises:
        typer.Exit: With the job's exit code if it is not 0; 75 if Ctrl-C ended following it.
        SeptError: As raised by the called modules.
    """
    from rich.console import Console

    console = Console()
    name = ""
    try:
        with working("Reading the sweep, and connecting to the cluster"):
            from pipeline.cluster.following import follow
            from pipeline.cluster.jobs import cluster_root, job_client, refused, submit

            root = cluster_root(root, address)
            request = _request(_load(source, root, overrides), root, mlflow, retry_failed)
            stop = stop or f"sept sweep stop {request.sweep} --root {quote(request.root)}"
            client = job_client(address)
        with refused(address):
            job = submit(client, request, lambda line: say(console, line))
        name = job.name
        done = "Attached to job" if job.attached else "Submitted job"
        say(console, f"{done} {name} at {masked(address)}; it keeps running without this command")
        if not wait:
            _say_how(console, command, stop)
            return
        code = follow(
            client, masked(address), name, lambda said: typer.echo(said, nl=False), lambda line: say(console, line)
        )
    except KeyboardInterrupt:
        if not name:
            raise
        say(console, f"\nDetached; job {name} keeps running.")
        _say_how(console, command, stop)
        code = EXIT_RESUMABLE
    if code:
        raise typer.Exit(code)


def _say_how(console: Console, command: str, stop: str) -> None:
    say(console, f"  follow  {command}")
    say(console, f"  stop    {stop}")


def _load(source: str, root: str, overrides: Mapping[str, Any]) -> SweepSpec:
    """The sweep; its results folder, which may not be accessible from here, is read only for the user's own
    datasets."""
    from pipeline.data.prepared import own_datasets
    from pipeline.spec import load_sweep

    try:
        return load_sweep(source, overrides)
    except InputError:
        own = []
        with suppress(SeptError):
            own = own_datasets(root)
        if not own:
            raise
        return load_sweep(source, overrides, own)


def _request(spec: SweepSpec, root: str, mlflow: str | None, retry_failed: bool) -> Request:
    from pipeline.cluster.jobs import Request

    options = ["--retry-failed"] if retry_failed else []
    if mlflow:
        if masked(mlflow) != mlflow:
            # Everybody who can see the dashboard sees the command of a job.
            raise InputError(
                "a user, password or token would be shown with the job",
                where="--mlflow",
                fix="leave it out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "MLFLOW_TRACKING_URI, where the cluster's head is started",
            )
        options += ["--mlflow", mlflow]
    # Local lists of neighbours are sent along; a sweep's relative paths start from its own folder.
    files: dict[str, Path] = {}

    def carried(paths: Mapping[str, str], *label: str) -> dict[str, str]:
        names = {dataset: "-".join(("neighbors", *label, dataset)) + ".json" for dataset in paths}
        files.update({names[dataset]: Path(path) for dataset, path in paths.items() if Path(path).is_file()})
        return {dataset: names[dataset] if names[dataset] in files else path for dataset, path in paths.items()}

    changes: dict[str, Any] = {"neighbors": carried(spec.neighbors)}
    if axis := spec.axes.get("neighbors"):
        changes["axes"] = spec.axes | {"neighbors": {label: carried(paths, label) for label, paths in axis.items()}}
    text = spec.model_copy(update=changes).text()
    return Request(spec.name, text, root, tuple(options), files)
