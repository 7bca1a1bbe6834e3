"""Options that several commands share."""

from __future__ import annotations

from shlex import quote
from typing import Annotated

import typer

from pipeline import DEFAULT_ROOT
from pipeline.text import fillable

__all__ = [
    "DEFAULT_ROOT",
    "ColumnsOption",
    "CpusOption",
    "GpusOption",
    "JsonOption",
    "MlflowOption",
    "RootOption",
    "StoreOption",
    "WorkersOption",
    "mlflow_option",
    "rest",
    "root_option",
]

# A text, not a path: paths make one slash of the two in s3://.
RootOption = Annotated[
    str,
    typer.Option(
        "--root", metavar="FOLDER", envvar="SEPT_ROOT", help="Folder or s3:// address of all results.", show_envvar=True
    ),
]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        "--root",
        metavar="FOLDER",
        envvar="SEPT_ROOT",
        help="Folder or s3:// address of all results.",
        show_envvar=True,
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Trials at a time; as many as fit unless given.",
    ),
]
CpusOption = Annotated[
    int | None,
    typer.Option("--cpus", min=1, help="CPUs that a running cluster grows to; those that it has now unless given."),
]
GpusOption = Annotated[
    int | None,
    typer.Option("--gpus", min=0, help="GPUs that a running cluster grows to; those that it has now unless given."),
]
MlflowOption = Annotated[
    str | None,
    typer.Option(
        "--mlflow",
        metavar="URI",
        help="MLflow server or database; an SQLite file in the root unless given. For a root in S3: what "
        "MLFLOW_TRACKING_URI says, else a file in ./sept-runs.",
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="OURS=YOURS,...",
        help="What a CSV calls these columns, as in path=filename,classname=category.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def root_option(root: str) -> str:
    """How to name this root in a command that is printed as the next one; nothing for the default."""
    return "" if root == DEFAULT_ROOT else f" --root {quote(root)}"


def rest(workers: int | None, mlflow: str | None) -> str:
    """How to say again what else was asked for, in a command that is printed as the one that goes on."""
    said = f" --workers {workers}" if workers is not None else ""
    return said + (mlflow_option(mlflow) if mlflow else "")


def mlflow_option(uri: str) -> str:
    """How to name this tracking URI in a printed command, where USER:PASSWORD stands for what it has of these."""
    return f" --mlflow {quote(fillable(uri))}"
