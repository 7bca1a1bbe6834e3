"""``sept quickstart``: the bundled sweep, from embeddings that ship with the package to a ranked result."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import DEFAULT_ROOT, MlflowOption, RootOption, WorkersOption, rest, root_option

__all__ = ["quickstart"]


def quickstart(
    root: RootOption = DEFAULT_ROOT,
    workers: WorkersOption = None,
    mlflow: MlflowOption = None,
    compose: Annotated[
        bool,
        typer.Option(
            "--compose", help="On a small cluster of containers: Ray, MLflow, PostgreSQL, SeaweedFS (a checkout)."
        ),
    ] = False,
) -> None:
    """Run a small sweep: zero-shot, CoOp and CoOp + SEPT on three small datasets. Resumes where it was stopped."""
    if compose:
        from pipeline.cli.quickstart_compose import quickstart_on_compose

        quickstart_on_compose(root, workers, mlflow)
        return
    from pipeline.cli.launching import run_sweep

    overrides = {} if workers is None else {"resources.workers": workers}
    run_sweep(
        "quickstart",
        root,
        command="sept quickstart" + root_option(root) + rest(workers, mlflow),
        overrides=overrides,
        mlflow=mlflow,
        remark="a small budget for a first look, not the paper's protocol",
    )
