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
    "TextModelOption",
    "WeightsOption",
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
        help="Parallel trials; by default as many as fit.",
    ),
]
CpusOption = Annotated[
    int | None,
    typer.Option("--cpus", min=1, help="Maximum CPUs of an autoscaling cluster; by default those that it has now."),
]
GpusOption = Annotated[
    int | None,
    typer.Option("--gpus", min=0, help="Maximum GPUs of an autoscaling cluster; by default those that it has now."),
]
MlflowOption = Annotated[
    str | None,
    typer.Option(
        "--mlflow",
        metavar="URI",
        help="MLflow server or database; by default an SQLite file in the root. For a root in S3: "
        "MLFLOW_TRACKING_URI, else a file in ./sept-runs.",
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="OURS=YOURS,...",
        help="The column names of the CSV, as in path=filename,classname=category.",
    ),
]
WeightsOption = Annotated[
    str | None, typer.Option("--weights", help="Weights of the encoder; default: as in the sweep.")
]
TextModelOption = Annotated[
    str | None, typer.Option("--text-model", help="Folder of its tokenizer; default: as in the sweep.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def root_option(root: str) -> str:
    """The option for this root in a suggested command; nothing for the default."""
    return "" if root == DEFAULT_ROOT else f" --root {quote(root)}"


def rest(workers: int | None, mlflow: str | None) -> str:
    """The other given options, for a suggested command that resumes."""
    said = f" --workers {workers}" if workers is not None else ""
    return said + (mlflow_option(mlflow) if mlflow else "")


def mlflow_option(uri: str) -> str:
    """The option for this tracking URI in a printed command, with USER:PASSWORD instead of credentials."""
    return f" --mlflow {quote(fillable(uri))}"
