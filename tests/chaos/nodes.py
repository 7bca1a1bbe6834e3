"""A Ray cluster of several nodes in a process of its own, told by lines on its standard input to kill nodes.

python nodes.py COUNT

Prints the cluster's address, then a line for every ``kill INDEX``, ``add GPUS`` or ``lose PROGRAM`` (of the head); with
``anew COUNT`` all of it is made again, at another address. Ends with the input. Ray reads its
settings when it is first imported, so they have to be there before: hence a process.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from ray.cluster_utils import Cluster

# With nothing of the dashboard and the smallest object store.
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


def start(count: int) -> tuple[Cluster, list[Any]]:
    head = {"num_cpus": 0, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    return cluster, [cluster.add_node(**NODE) for _ in range(count)]


def main(count: int) -> None:
    cluster, nodes = start(count)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        what, number = line.split()
        if what == "lose":
            # By its id, as everything here.
            for process in cluster.head_node.all_processes[number]:
                os.kill(process.process.pid, signal.SIGKILL)
            print("lost", flush=True)
            continue
        if what == "anew":
            for node in cluster.list_all_nodes():
                node.kill_all_processes(check_alive=False, allow_graceful=False)
            cluster, nodes = start(int(number))
            print(cluster.address, flush=True)
            continue
        if what == "add":
            nodes.append(cluster.add_node(**NODE, num_gpus=int(number)))
            print("added", flush=True)
            continue
        index = int(number)
        # SIGKILL for all of its processes; another one joins.
        cluster.remove_node(nodes.pop(index % len(nodes)), allow_graceful=False)
        nodes.append(cluster.add_node(**NODE))
        print("killed", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
