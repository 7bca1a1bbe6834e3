"""Checks that MLflow answers, has a compatible version, and accepts a run.

MLflow deletes experiments and runs only by marking them. The doctor writes one experiment, ``sept-doctor``, with a run
in it, marks both as deleted at once, and uses the same experiment each time. ``mlflow gc`` removes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.cluster.ray_cluster import environment_variables
from pipeline.doctor.checks import Check, Status
from pipeline.text import one_line
from pipeline.tracking.client import TrackingTarget, default_target, mlflow_client
from pipeline.tracking.failures import failure
from sept_core.errors import InputError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["EXPERIMENT", "check_mlflow"]

EXPERIMENT = "sept-doctor"
_TIMEOUT_S = 5


def check_mlflow(root: str, uri: str | None) -> Sequence[Check]:
    """Check the tracking target that a sweep with this root would use.

    Raises:
        InputError: MLflow does not support this kind of target.
    """
    target = default_target(root, uri)
    file = target.database
    if file is not None and not file.exists():
        return [Check("MLflow", "green", f"{file} does not exist yet; the first sweep creates it")]
    with environment_variables({"MLFLOW_HTTP_REQUEST_TIMEOUT": str(_TIMEOUT_S)}):
        return _ask(target)


def _ask(target: TrackingTarget) -> Sequence[Check]:
    try:
        client = mlflow_client(target)
        client.search_experiments(max_results=1)
    except Exception as error:
        known = failure(target, error)
        if isinstance(known, InputError):
            return [Check("MLflow", "red", f"{known.where}: {known.what}", known.fix)]
        said = f"{target.shown} cannot be used: {one_line(error)}"
        fix = "start it (mlflow server), or name another: --mlflow URI" if target.served else "mlflow db upgrade URI"
        return [Check("MLflow", "red", said, fix)]
    checks = [Check("MLflow", "green", f"{target.shown} answers")]
    if target.served:
        checks.append(_version(target))
    return [*checks, _write(client, target)]


def _version(target: TrackingTarget) -> Check:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request
    from mlflow.version import VERSION

    try:
        server = http_request(get_default_host_creds(target.uri), "/version", "GET").text.strip()
        theirs, ours = (tuple(int(part) for part in text.split(".")[:2]) for text in (server, VERSION))
    except (OSError, ValueError, MlflowException):
        said = f"the server does not report its version; {VERSION} here"
        return Check(
            "MLflow: version", "yellow", said, f"make sure that it is at least 3: pip install mlflow=={VERSION}"
        )
    said = f"{one_line(server)} there, {VERSION} here"
    if theirs == ours:
        return Check("MLflow: version", "green", said)
    status: Status = "red" if theirs[0] != ours[0] else "green" if theirs > ours else "yellow"
    fix = "" if status == "green" else f"on the server: pip install mlflow=={VERSION} && mlflow db upgrade URI"
    return Check("MLflow: version", status, said, fix)


def _write(client: MlflowClient, target: TrackingTarget) -> Check:
    experiment = run = ""
    try:
        known = client.get_experiment_by_name(EXPERIMENT)
        if known is None:
            experiment = client.create_experiment(EXPERIMENT)
        else:
            experiment = known.experiment_id
            if known.lifecycle_stage != "active":
                client.restore_experiment(experiment)
        run = client.create_run(experiment, run_name="sept doctor").info.run_id
        client.log_metric(run, "probe", 1.0)
        client.set_terminated(run)
        if client.get_run(run).data.metrics != {"probe": 1.0}:
            return Check(
                "MLflow: write", "red", "what is read differs from what was written", "look at the server's log"
            )
    except Exception as error:
        said = f"a run cannot be written: {one_line(error)}"
        return Check("MLflow: write", "red", said, "give this user EDIT permission, or look at the server's log")
    finally:
        _remove(client, experiment, run)
    return Check("MLflow: write", "green", f"a run was written and deleted (experiment '{EXPERIMENT}', deleted too)")


def _remove(client: Any, experiment: str, run: str) -> None:
    for identity, delete in ((run, client.delete_run), (experiment, client.delete_experiment)):
        try:
            if identity:
                delete(identity)
        except Exception:  # noqa: S110 (the problem has been reported already)
            pass
