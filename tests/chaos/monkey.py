"""A seeded monkey that runs sweeps on a Ray cluster and kills driver, workers, nodes and the head's processes.

Ray's nodes are processes of this machine (`ray.cluster_utils.Cluster`): a node dies like one that loses power, with
everything on it. Processes are killed by their ids.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from launching import environment, launched, said
from tiny_sweep import worker_pids

from pipeline.spec import load_sweep
from pipeline.store import Lease, LocalFiles
from pipeline.tracking import default_target, mlflow_client

HERE = Path(__file__).parent
CLUSTER = {
    # Ray listens on the network here, like a cluster: no other user may use it.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
HEAD = ("gcs_server", "raylet")
KINDS = {"worker": 4, "driver": 3, "node": 2, "stop": 1} | dict.fromkeys(HEAD, 1)
"""What the monkey does, and how often. ``stop`` is SIGTERM to the driver, the one thing here that is no kill."""


class Nodes:
    """A head without CPUs and some nodes of one CPU each (`nodes.py`), whose workers find the tests' modules."""

    def __init__(self, count: int, log: Path) -> None:
        self._count = count
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "nodes.py"), str(count)],
                env=environment(CLUSTER),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
        self.address = self._answer()

    def kill(self, index: int) -> None:
        """SIGKILL all processes of a node, and have another one join."""
        assert self._process.stdin is not None
        print("kill", index, file=self._process.stdin, flush=True)
        assert self._answer() == "killed"

    def add(self, gpus: int = 0) -> None:
        """Have one more join, which calls so many GPUs its own."""
        assert self._process.stdin is not None
        print("add", gpus, file=self._process.stdin, flush=True)
        assert self._answer() == "added"

    def lose(self, program: str) -> None:
        """SIGKILL a process of the head: its control plane or its raylet."""
        assert self._process.stdin is not None
        print("lose", program, file=self._process.stdin, flush=True)
        assert self._answer() == "lost"

    def anew(self) -> None:
        """Another cluster in place of this one, of which everything is killed."""
        assert self._process.stdin is not None
        print("anew", self._count, file=self._process.stdin, flush=True)
        self.address = self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@dataclass
class Monkey:
    """Runs one sweep to its end, with so many kills on the way.

    Args:
        nodes: Where it runs.
        folder: Holds the sweep's YAML (``sweep.yaml``) and its results (``runs``).
        seed: Decides what is done and when, as far as the machine's own timing lets it.
        kills: SIGKILLs before it is left alone.
        script: What is done, in this order, in place of chance; only the moments are then left to it.
    """

    nodes: Nodes
    folder: Path
    seed: int
    kills: int
    script: Sequence[str] = ()
    done: Counter[str] = field(default_factory=Counter)
    launches: int = 0

    @property
    def root(self) -> Path:
        return self.folder / "runs"

    @property
    def log(self) -> str:
        return said(self.folder)

    def run(self) -> None:
        """The sweep ends with exit code 0, after every kind of death."""
        chance = random.Random(self.seed)
        while self._killed < self.kills:
            with self._launched() as driver:
                self._torment(driver, chance)
        with self._launched() as driver:
            assert driver.wait(400) == 0, self.log

    @property
    def _killed(self) -> int:
        return self.done.total() - self.done["stop"]

    def _torment(self, driver: subprocess.Popen[bytes], chance: random.Random) -> None:
        while self._killed < self.kills:
            self._wait_for_progress(driver)
            time.sleep(chance.uniform(0, 1.0))
            assert driver.poll() is None, f"ended with {driver.returncode} after {self.done}:\n{self.log}"
            (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
            if self.script:
                kind = self.script[self.done.total() % len(self.script)]
            if kind == "driver":
                driver.send_signal(signal.SIGKILL)
                assert driver.wait(30) == -signal.SIGKILL
            elif kind == "stop":
                driver.send_signal(signal.SIGTERM)
                assert driver.wait(60) == 75, self.log
            elif kind in HEAD:
                self._lose(kind, driver)
            elif kind == "node":
                self.nodes.kill(chance.randrange(100))
            elif not self._kill_worker(chance):
                continue
            self.done[kind] += 1
            if kind in ("driver", "stop", *HEAD):
                return

    def _lose(self, program: str, driver: subprocess.Popen[bytes]) -> None:
        """The driver ends by itself, long before Ray would end it, with everything closed."""
        self.nodes.lose(program)
        assert driver.wait(40) == 75, self.log
        assert "is gone; every finished step is kept, the same command continues" in self.log.splitlines()[-1]
        name = load_sweep(self.folder / "sweep.yaml").name
        assert Lease(LocalFiles(self.root), name).holder() is None
        client = mlflow_client(default_target(str(self.root)))
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
        assert not client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
        self.nodes.anew()

    def _kill_worker(self, chance: random.Random) -> bool:
        running = worker_pids(self.root)
        if not running:
            return False
        with suppress(ProcessLookupError):
            os.kill(chance.choice(running), signal.SIGKILL)
            return True
        return False

    def _wait_for_progress(self, driver: subprocess.Popen[bytes]) -> None:
        """Until some epoch more is trained: then the sweep moves, whatever is done to it."""
        before, deadline = self._trained(), time.monotonic() + 180
        while self._trained() <= before and driver.poll() is None:
            assert time.monotonic() < deadline, f"no progress after {self.done}:\n{self.log}"
            time.sleep(0.02)

    def _trained(self) -> int:
        return sum(path.stat().st_size for path in self.root.glob("trained/*"))

    @contextmanager
    def _launched(self) -> Iterator[subprocess.Popen[bytes]]:
        self.launches += 1
        command = ("sweep", "launch", "sweep.yaml", "--root", "runs", "--address", self.nodes.address)
        with launched(self.folder, "monkey_inputs:provide", *command, variables=CLUSTER) as driver:
            yield driver
