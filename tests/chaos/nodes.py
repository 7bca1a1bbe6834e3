"""A Ray cluster of several nodes in a process of its own, told by lines on its standard input to kill nodes.

python nodes.py COUNT

Prints the cluster's address, then a line for every ``kill INDEX`` or ``add GPUS``; ends with the input. Ray reads its
settings when it is first imported, so they have to be there before: hence a process.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

# With nothing of the dashboard and the smallest object store.
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


def main(count: int) -> None:
    head = {"num_cpus": 0, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(**NODE) for _ in range(count)]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        what, number = line.split()
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
