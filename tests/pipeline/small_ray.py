"""A small Ray for tests, of this process's own; its workers find the tests' modules."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from pipeline.cluster.session import own_session

__all__ = ["small_ray"]


@contextmanager
def small_ray(cpus: int, *places: Path, object_store_bytes: int = 80_000_000) -> Iterator[None]:
    """Run one, within.

    Args:
        cpus: How many it believes to have.
        places: Folders of modules that its workers import.
        object_store_bytes: Size of its object store.
    """
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (*map(str, places), before)))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        with own_session() as folder:
            ray.init(
                "local",  # never another one that happens to run on this machine
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=object_store_bytes,
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
            )
            try:
                yield
            finally:
                ray.shutdown()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
