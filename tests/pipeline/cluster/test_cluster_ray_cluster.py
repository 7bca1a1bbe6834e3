"""A private Ray, and what its command leaves behind in its process."""

from __future__ import annotations

import subprocess
import sys

USES = """
import os
from pipeline.cluster.ray_cluster import cluster, import_ray
import_ray("local")
before = dict(os.environ)
with cluster("local", cpus=1):
    import ray
    print(*(node["NodeManagerAddress"] for node in ray.nodes()))
changed = {name for name in {**before, **os.environ} if before.get(name) != os.environ.get(name)}
changed -= {"RAY_AUTH_MODE", "PYTHONBREAKPOINT"}  # Ray's own doing
print("changed:", *changed)
"""


def test_it_is_reached_from_this_machine_only_and_later_programs_know_nothing_of_it() -> None:
    ran = subprocess.run([sys.executable, "-c", USES], capture_output=True, text=True, timeout=120)
    assert ran.stdout.splitlines() == ["127.0.0.1", "changed:"], ran.stderr
