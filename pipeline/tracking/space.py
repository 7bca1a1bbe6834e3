"""The prompt space of a trial in MLflow: metrics and pictures of the trial's run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.tracking.artifacts import digest_of, log_files
from pipeline.tracking.client import active_experiment

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["log_space"]

_TAG = "sept.space"


def log_space(
    client: MlflowClient,
    sweep: str,
    study: str,
    number: int,
    metrics: Mapping[str, float],
    pictures: Mapping[str, bytes],
) -> bool:
    """Write the prompt space of a trial into its run, unless the same is already there.

    Args:
        client: MLflow's client.
        sweep: Name of the sweep and of its experiment.
        study: Study of the trial.
        number: Its number.
        metrics: Values by name.
        pictures: SVG files by name.

    Returns:
        Whether anything was written; False if the trial has no run.

    Raises:
        Exception: Raised by MLflow if it cannot be reached.
    """
    from mlflow.entities import Metric

    experiment = active_experiment(client, sweep)
    if experiment is None:
        return False
    wanted = f"tags.`sept.study` = '{study}' and tags.`sept.number` = '{number}'"
    found = client.search_runs([experiment], wanted, max_results=1)
    digest = digest_of({**pictures, "metrics": json.dumps(dict(metrics), sort_keys=True).encode()})
    if not found or found[0].data.tags.get(_TAG) == digest:
        return False
    run, step = found[0].info.run_id, int(found[0].data.params.get("epochs", 0))
    stamp = found[0].info.end_time or found[0].info.start_time
    client.log_batch(run, metrics=[Metric(name, value, stamp, step) for name, value in sorted(metrics.items())])
    log_files(client, run, pictures)
    # Last: without this tag all of it is written again.
    client.set_tag(run, _TAG, digest)
    return True
