"""Workers that are gone, as Ray tells it. Checked against Ray 2.60."""

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

# What Ray's account of a worker's end holds, and what it comes to.
_DEATHS = {
    "running low on memory": "Ray ended its worker, for the machine ran out of memory",
    "node has died": "the machine of its worker is gone",
}


def settle_loss(trial: Any) -> str:
    """Why the worker of one of Tune's trials is gone.

    Called when Tune has just written Ray's account of it down, and before it asks the trial for its first result: where
    the worker never gave one, that request for it would raise once more what it died of.
    """
    trial._default_result_or_future = None
    keep_logs()
    account = ""
    with suppress(OSError):
        account = Path(trial.error_file or os.devnull).read_text(encoding="utf-8", errors="replace")
    return next((why for sign, why in _DEATHS.items() if sign in account), "its worker process is gone")


class _ActorManager(RayActorManager):
    """Tune's own takes a worker that Ray has ended for want of memory for a fault of its own and breaks down."""

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, (RayActorError, RayTaskError)):
            exception = RayActorError(error_msg=str(exception))
        super()._actor_task_failed(tracked_actor_task, exception)


@contextmanager
def bearing_every_loss() -> Iterator[None]:
    """Let Tune, within, outlive every way in which Ray loses a worker."""
    name, before = "RayActorManager", tune_controller.RayActorManager
    setattr(tune_controller, name, _ActorManager)
    try:
        yield
    finally:
        setattr(tune_controller, name, before)
