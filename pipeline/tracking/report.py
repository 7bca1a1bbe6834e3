"""The report of a sweep in MLflow: files of one run in the experiment of the sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.tracking.artifacts import digest_of, log_files
from pipeline.tracking.client import active_experiment
from pipeline.tracking.labels import NOTE

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["log_report"]

_NOTE = "The report of the sweep: *Artifacts*, `report/report.html`."
_ROLE = "tags.`sept.role` = 'sweep'"


def log_report(client: MlflowClient, sweep: str, files: Mapping[str, bytes]) -> bool:
    """Write the files of a report into the experiment of its sweep, unless the same files are already there.

    The run is found by its tags. If there are several, left by a request whose answer was lost, only the first stays.

    Args:
        client: MLflow's client.
        sweep: Name of the sweep and of its experiment.
        files: Content by name.

    Returns:
        Whether anything was written; False if the sweep has no experiment.

    Raises:
        Exception: Raised by MLflow if it cannot be reached.
    """
    experiment = active_experiment(client, sweep)
    if experiment is None:
        return False
    order = ["attributes.start_time ASC", "attributes.run_id ASC"]
    found = client.search_runs([experiment], _ROLE, order_by=order)
    for other in found[1:]:
        client.delete_run(other.info.run_id)
    digest = digest_of(files)
    if found and found[0].data.tags.get("sept.report") == digest:
        return False
    tags = {"sept.sweep": sweep, "sept.role": "sweep", NOTE: _NOTE}
    run = found[0] if found else client.create_run(experiment, tags=tags, run_name=f"{sweep} report")
    log_files(client, run.info.run_id, files, "report")
    # Last: without this tag the files are written again.
    client.set_tag(run.info.run_id, "sept.report", digest)
    client.set_terminated(run.info.run_id, "FINISHED")
    return True
