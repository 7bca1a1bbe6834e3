"""Why workers are gone, as Ray reports it. Checked with Ray 2.60."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.execution import tune_controller

from pipeline.cluster.session import keep_logs

__all__ = ["bearing_every_loss", "settle_loss"]

# What Ray's account of a worker's end contains, and what it means.
_DEATHS = {
    "running low on memory": "Ray ended its worker because the machine ran out of memory",
    "node has died": "the machine of its worker is gone",
}


def settle_loss(trial: Any) -> str:
    """Why the worker of one of Tune's trials is gone.

    Called after Tune has recorded Ray's account of it, and before it asks the trial for its first result: if the worker
    never gave one, that request would raise again what the worker died of.
    """
    trial._default_result_or_future = None
    keep_logs()
    account = ""
    with suppress(OSError):
        account = Path(trial.error_file or os.devnull).read_text(encoding="utf-8", errors="replace")
    return next((why for sign, why in _DEATHS.items() if sign in account), "its worker process is gone")


class _ActorManager(RayActorManager):
    """Tune's own takes a worker that Ray ended for lack of memory for an error of Tune's, and breaks down."""

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, (RayActorError, RayTaskError)):
            exception = RayActorError(error_msg=str(exception))
        super()._actor_task_failed(tracked_actor_task, exception)


@contextmanager
def bearing_every_loss() -> Iterator[None]:
    """Within this context, Tune survives every way in which Ray can lose a worker."""
    name, before = "RayActorManager", tune_controller.RayActorManager
    setattr(tune_controller, name, _ActorManager)
    try:
        yield
    finally:
        setattr(tune_controller, name, before)
