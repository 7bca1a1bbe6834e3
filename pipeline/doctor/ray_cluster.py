"""Checks that Ray can be imported, or that a cluster answers, and reports its resources.

Ray keeps trying for minutes and cannot be interrupted, so a separate process asks it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from pipeline.cluster.address import check_reachable, fix_for, resolve
from pipeline.doctor.checks import Check, failed
from pipeline.doctor.requirements import install
from pipeline.text import one_line
from sept_core.errors import InputError

__all__ = ["RAY_S", "check_ray", "main"]

RAY_S = 45.0
"""Time limit of that process, in seconds."""

_CONNECT_S = 3.0


def check_ray(address: str, seconds: float = RAY_S) -> Sequence[Check]:
    """Check the Ray that a sweep would run on.

    Args:
        address: As for ``sept sweep launch``.
        seconds: How long it may take.
    """
    place = resolve(address)
    try:
        check_reachable(address, _CONNECT_S)
    except InputError as error:
        return [failed("Ray", error, "")]
    answer = _ask(address, seconds)
    if "error" in answer:
        fix = install("ray") if address == "local" else fix_for(address, answer["error"])
        return [Check("Ray", "red", f"{place}: {one_line(answer['error'])}", fix)]
    if address == "local":
        return [Check("Ray", "green", f"Ray {answer['ray']}, started on this machine by each launch")]
    gpus, nodes = answer["gpus"], answer["nodes"]
    said = f"{place}: Ray {answer['ray']}, {nodes} nodes alive, {answer['cpus']:g} CPUs, {gpus:g} GPUs"
    if gpus:
        return [Check("Ray", "green", said + (f" ({', '.join(answer['kinds'])})" if answer["kinds"] else ""))]
    fix = "add nodes with GPUs if trials need any: ray start --address HEAD --num-gpus N"
    return [Check("Ray", "yellow", said, fix)]


def main(address: str) -> None:
    """Ask Ray, and print the result as one line of JSON."""
    from pipeline.cluster.ray_cluster import import_ray

    try:
        import_ray(address)
        import ray

        found: dict[str, object] = {"ray": ray.__version__}
        if address != "local":
            import logging

            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
            resources = ray.cluster_resources()
            found |= {
                "nodes": sum(bool(node["Alive"]) for node in ray.nodes()),
                "cpus": resources.get("CPU", 0.0),
                "gpus": resources.get("GPU", 0.0),
                "kinds": sorted(name.partition(":")[2] for name in resources if name.startswith("accelerator_type:")),
            }
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(f"\n{json.dumps(found)}\n")
    sys.stdout.flush()
    os._exit(0)  # without waiting for Ray


def _ask(address: str, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-c", f"import sys; from {__name__} import main; main(sys.argv[1])", address]
    # The package where this process found it: a relative entry of the path may lead elsewhere by now.
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    with TemporaryFile() as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(filter(None, places))},
            start_new_session=True,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return {"error": f"no answer within {seconds:.0f} s"}
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        lines = out.read().decode("utf-8", "replace").strip().splitlines()
    try:
        return dict(json.loads(lines[-1]))
    except (ValueError, IndexError, TypeError):
        return {"error": f"the process that asked ended with code {process.returncode}"}
