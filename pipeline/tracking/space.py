"""The prompt space of a trial in MLflow: metrics and pictures of the trial's run."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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

    experiment = client.get_experiment_by_name(sweep)
    if experiment is None or experiment.lifecycle_stage != "active":
        return False
    wanted = f"tags.`sept.study` = '{study}' and tags.`sept.number` = '{number}'"
    found = client.search_runs([experiment.experiment_id], wanted, max_results=1)
    digest = hashlib.sha256(json.dumps(dict(metrics), sort_keys=True).encode())
    for name, data in sorted(pictures.items()):
        digest.update(f"\n{name} {len(data)}\n".encode() + data)
    if not found or found[0].data.tags.get(_TAG) == digest.hexdigest():
        return False
    run, step = found[0].info.run_id, int(found[0].data.params.get("epochs", 0))
    stamp = found[0].info.end_time or found[0].info.start_time
    client.log_batch(run, metrics=[Metric(name, value, stamp, step) for name, value in sorted(metrics.items())])
    with tempfile.TemporaryDirectory(prefix="sept-mlflow-") as folder:
        for name, data in pictures.items():
            (Path(folder) / name).write_bytes(data)
        client.log_artifacts(run, folder)
    # Last: without this tag all of it is written again.
    client.set_tag(run, _TAG, digest.hexdigest())
    return True
