"""A sweep's report in MLflow: files of one run, which stands beside those of the sweep's studies."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["log_report"]

_ROLE = "tags.`sept.role` = 'sweep'"


def log_report(client: MlflowClient, sweep: str, files: Mapping[str, bytes]) -> bool:
    """Put the files of a report into the experiment of its sweep; nothing where the same ones are there.

    The run is found again by its tags; of several, which a request whose answer got lost may leave, the first stays.

    Args:
        client: MLflow's client.
        sweep: Name of the sweep and of its experiment.
        files: By name.

    Returns:
        Whether anything was written; not where the sweep has no experiment.

    Raises:
        Exception: What MLflow raises where it cannot be reached.
    """
    experiment = client.get_experiment_by_name(sweep)
    if experiment is None or experiment.lifecycle_stage != "active":
        return False
    order = ["attributes.start_time ASC", "attributes.run_id ASC"]
    found = client.search_runs([experiment.experiment_id], _ROLE, order_by=order)
    for other in found[1:]:
        client.delete_run(other.info.run_id)
    digest = _digest(files)
    if found and found[0].data.tags.get("sept.report") == digest:
        return False
    tags = {"sept.sweep": sweep, "sept.role": "sweep"}
    run = found[0] if found else client.create_run(experiment.experiment_id, tags=tags, run_name=f"{sweep} report")
    with tempfile.TemporaryDirectory(prefix="sept-mlflow-") as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        client.log_artifacts(run.info.run_id, folder, "report")
    # Last: without it the files are written again.
    client.set_tag(run.info.run_id, "sept.report", digest)
    client.set_terminated(run.info.run_id, "FINISHED")
    return True


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()
