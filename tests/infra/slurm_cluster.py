"""A real Slurm of this machine's own: two nodes, a partition for everybody, and one whose jobs preempt it.

Key, ports and folders are its own: what the machine has of Slurm besides is not touched.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Slurm", "missing", "running_slurm"]

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
CPUS = 4
CONF = """
ClusterName=sept
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=preempt_send_user_signal,sched_interval=1,bf_interval=1
KillWait=3
SlurmdTimeout=10
SlurmdParameters=config_overrides
ReturnToService=2
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs={cpus} RealMemory=1000
PartitionName=low Nodes=ALL Default=YES State=UP PriorityTier=1 GraceTime=60
PartitionName=high Nodes=ALL State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str:
    """Why it cannot run here; empty where it can."""
    absent = [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]
    if absent:
        return f"no {', '.join(absent)} here (Debian: apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "a Slurm of one's own needs root"


@dataclass
class Slurm:
    """One that runs.

    Attributes:
        folder: Where everything of it is.
        nodes: The process of each node's ``slurmd``.
    """

    folder: Path
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, *command: str, variables: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        """What one of Slurm's commands says."""
        ran = subprocess.run(
            command, env=self._environment(variables), cwd=cwd, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, f"{command}: {ran.stderr}"
        return ran.stdout

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        return dict(re.findall(r"(\w+)=(.*?)(?= \w+=|$)", self.run("scontrol", "show", "job", "-o", number).strip()))

    def preempt(self) -> str:
        """A job of the upper partition that takes all nodes for a second; its number."""
        size = ("-N2", "--ntasks-per-node=1", f"--cpus-per-task={CPUS}", "--output=/dev/null")
        return self.run("sbatch", "--parsable", "-p", "high", *size, "--wrap", "sleep 1").strip()

    def start_node(self, name: str) -> None:
        """Start a node's ``slurmd``."""
        command = ["slurmd", "-D", "-N", name]
        quiet = subprocess.DEVNULL
        self.nodes[name] = subprocess.Popen(command, env=self._environment(), stdout=quiet, stderr=quiet)

    def _environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        # What tests of this process have set for its own Ray is not meant for a job's.
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return own | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()} | dict(more or {})


@contextmanager
def running_slurm(folder: Path) -> Iterator[Slurm]:
    """Run one, within; at the end everything of it is killed."""
    slurm = Slurm(folder)
    (folder / "state").mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(CONF.format(host=host, folder=folder, ports=_ports(3), cpus=CPUS))
    places = [f"--{what}-file={folder}/munge.{what}" for what in ("key", "pid", "log", "seed")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    munge = ["munged", "--force", "--foreground", f"--socket={folder}/munge.socket", *places]
    processes = [subprocess.Popen(munge, env=slurm._environment(), **quiet)]
    try:
        processes.append(subprocess.Popen(["slurmctld", "-D", "-c"], env=slurm._environment(), **quiet))
        for node in ("n1", "n2"):
            slurm.start_node(node)
        _wait_for_nodes(slurm)
        yield slurm
    finally:
        with suppress(AssertionError, subprocess.TimeoutExpired):
            slurm.run("scancel", "--partition=low")
            slurm.run("scancel", "--partition=high")
            # Ray is ended by what has started it, seconds after its step.
            deadline = time.monotonic() + 15
            while slurm.run("squeue", "-h").strip() and time.monotonic() < deadline:
                time.sleep(0.2)
            time.sleep(2)
        for pid in _jobs_processes(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in (*slurm.nodes.values(), *reversed(processes)):
            process.send_signal(signal.SIGKILL)
            process.wait()


def _wait_for_nodes(slurm: Slurm) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(AssertionError):
            if slurm.run("sinfo", "-h", "-p", "low", "-t", "idle", "-o", "%D").strip() == "2":
                return
        assert time.monotonic() < deadline, (slurm.folder / "slurmctld.log").read_text()
        time.sleep(0.2)


def _jobs_processes(folder: Path) -> list[int]:
    """What a job has left behind: it knows this Slurm from its environment."""
    mark = f"SLURM_CONF={folder}/".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            told = (process / "environ").read_bytes()
            if mark in told and b"SLURM_JOB_ID=" in told:
                found.append(int(process.name))
    return found


def _ports(count: int) -> list[int]:
    """Ports in a row that nobody listens at."""
    for first in range(21000 + os.getpid() % 1000, 30000, count):
        found = []
        with suppress(OSError):
            for port in range(first, first + count):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
                found.append(port)
            return found
    raise AssertionError("no free ports")


def _path() -> str:
    """Slurm's daemons are where not everybody looks."""
    return os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"))
