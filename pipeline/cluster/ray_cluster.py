"""The Ray that a command runs on: a private one on this machine, or a running one. Checked with Ray 2.60."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from pipeline.cluster.address import check_reachable, fix_for, resolve, use_token
from pipeline.cluster.liveness import RayLost, ray_is_lost
from pipeline.cluster.session import own_session
from pipeline.text import one_line
from sept_core.errors import InputError, SeptError

__all__ = ["cluster", "environment_variables", "import_ray"]

# What Ray reads when it is imported. The driver reports a lost worker or node in one line; Ray would write paragraphs.
_AT_IMPORT = {
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^(A worker died or was killed|Raylet is terminated|The node with node id)",
    # A call after Ray's end would start another Ray.
    "RAY_ENABLE_AUTO_CONNECT": "0",
}


def import_ray(address: str) -> None:
    """Import Ray, with the environment that it reads then.

    Args:
        address: Of the cluster that is used next.
    """
    use_token(address)
    with environment_variables(_AT_IMPORT):
        import ray  # noqa: F401 (for what its import reads)


@contextmanager
def cluster(
    address: str,
    *,
    cpus: int | None = None,
    object_store_bytes: int | None = None,
    started: Callable[[], None] = lambda: None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """A Ray to run on: the one that this process is connected to already, a running one, or a private one.

    Args:
        address: ``local`` for a private one on this machine that ends with the command, ``auto`` for the one running on
            this machine, or ``host:port``.
        cpus: CPUs of a private one; as many as there are, unless given.
        object_store_bytes: Size of a private one's object store; Ray's choice, unless given.
        started: Called once Ray has started, since Ray replaces the process's SIGTERM handler.
        variables: Environment variables for it.

    Raises:
        InputError: This is not an address that a driver can use, or there is no Ray.
        RayLost: A private one does not start, but may at another attempt.
        SeptError: A private one cannot start here.
    """
    import ray

    check_reachable(address)
    if ray.is_initialized():
        with environment_variables({"RAY_USAGE_STATS_ENABLED": "0"}):
            yield
        return
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options["include_dashboard"] = False
        if cpus is not None:
            options["num_cpus"] = cpus
        if object_store_bytes is not None:
            options["object_store_memory"] = object_store_bytes
    with environment_variables({"RAY_USAGE_STATS_ENABLED": "0"} | dict(variables or {})), ExitStack() as stack:
        if address == "local":
            stack.enter_context(_on_loopback())
            options["_temp_dir"] = stack.enter_context(own_session())
        try:
            _start(options)
        except Exception as error:
            if address != "local":
                where = f"address {resolve(address)}"
                raise InputError(
                    f"no Ray cluster: {one_line(error)}", where=where, fix=fix_for(address, error)
                ) from error
            what = f"Ray does not start on this machine: {one_line(error)}"
            # A full disk or an invalid setting is the same the next time.
            if isinstance(error, (OSError, ValueError)) and not isinstance(error, (ConnectionError, TimeoutError)):
                raise SeptError(what) from error
            raise RayLost(f"{what}; run the same command again") from error
        try:
            started()
            yield
        finally:
            # Shutting down a Ray that is gone would wait for it.
            if not ray_is_lost():
                ray.shutdown()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Within this context, a Ray that starts listens on the loopback interface only.

    Ray's switch is named after the systems on which that is the default. Its processes read it from the environment;
    this one read it when it imported Ray. Later it may connect to a cluster, or start a program that does.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    with environment_variables({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
        ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            yield
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = before


def _start(options: Mapping[str, Any]) -> None:
    """Start Ray or connect to it; on a busy machine a private one does not always start at the first attempt."""
    import ray

    try:
        ray.init(**options)
    except Exception as error:
        if options["address"] != "local" or isinstance(error, ValueError):
            raise
        ray.shutdown()
        ray.init(**options)


@contextmanager
def environment_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Within this context, these variables are set."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
