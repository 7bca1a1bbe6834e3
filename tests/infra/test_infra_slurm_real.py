"""infra/slurm.sbatch on a real Slurm: preempted, robbed of nodes, failing; and a sweep on real Ray that outlives it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from slurm_cluster import CPUS, Slurm, missing, running_slurm

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "chaos"), str(TESTS / "pipeline" / "search")]

from launching import PROGRAM, environment  # noqa: E402 (once its place is on the path)
from tiny_sweep import SHORT, outcome_of, run_inline  # noqa: E402

from pipeline.spec import parse_sweep  # noqa: E402
from pipeline.store import Lease, LocalFiles, TrialStore  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SCRIPT = TESTS.parent / "infra" / "slurm.sbatch"
STAND_INS = {
    # Ray, which a node has for as long as its process runs; on the node named in `broken` it never starts.
    "ray": """
case "$1" in
status) echo Active:; for node in "$STATE"/up.*; do [ -e "$node" ] && echo ' 1 node_x'; done;;
start) [ "$SLURMD_NODENAME" = "$(cat "$STATE/broken" 2>/dev/null)" ] && exit 1
    up="$STATE/up.$SLURMD_NODENAME"; touch "$up"; trap 'rm -f "$up"; exit 0' TERM
    while true; do sleep 0.1; done;;
esac
""",
    # A driver that ends with the code in `code`, or runs until it is told to stop.
    "sept": """
echo "started ${SLURM_RESTART_COUNT:-0}" >> "$STATE/log"
trap 'echo TERM >> "$STATE/log"; sleep 0.5; exit 75' TERM
while [ ! -e "$STATE/code" ]; do sleep 0.1; done
exit "$(cat "$STATE/code")"
""",
}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    why = missing()
    if why:
        pytest.skip(why)
    with running_slurm(tmp_path_factory.mktemp("slurm") / "cluster") as running:
        yield running


class Job:
    """The script as a job, in a folder of its own."""

    def __init__(self, slurm: Slurm, folder: Path, *options: str, programs: dict[str, str], **variables: str) -> None:
        self.slurm, self.folder = slurm, folder
        places = folder / "bin"
        places.mkdir()
        for name, program in programs.items():
            (places / name).write_text(f"#!/usr/bin/env bash\n{program}\n")
            (places / name).chmod(0o755)
        own = environment({"STATE": str(folder), "SEPT_HEAD_IP": "127.0.0.1"} | variables)
        own = {name: value for name, value in own.items() if not name.startswith("RAY_")}
        own["PATH"] = f"{places}:{Path(sys.executable).parent}:{own['PATH']}"
        size = (f"--cpus-per-task={CPUS // 2}", f"--output={folder}/said.txt")
        command = ("sbatch", "--parsable", "-p", "low", *size, str(SCRIPT), *options)
        self.number = slurm.run(*command, variables=own, cwd=folder).strip()

    @property
    def said(self) -> str:
        path = self.folder / "said.txt"
        return path.read_text() if path.exists() else ""

    @property
    def state(self) -> str:
        return self.slurm.job(self.number)["JobState"]

    @property
    def restarts(self) -> int:
        return int(self.slurm.job(self.number)["Restarts"])

    def steps(self) -> dict[str, str]:
        """Its steps, by node."""
        listed = self.slurm.run("squeue", "-h", "--steps", "-j", self.number, "-o", "%N %i").split("\n")
        return dict(line.split() for line in listed if line and line.rpartition(".")[2].isdecimal())

    def wait_for(self, condition: Callable[[], object], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{self.slurm.job(self.number)}\n{self.said}"
            time.sleep(0.2)

    def end(self, seconds: float = 120) -> str:
        """Wait for its end; the exit code."""
        self.wait_for(lambda: self.state in ("COMPLETED", "FAILED", "CANCELLED"), seconds)
        return self.slurm.job(self.number)["ExitCode"].partition(":")[0]


@pytest.fixture
def stand_in(slurm: Slurm, tmp_path: Path) -> Callable[..., Job]:
    return lambda **variables: Job(slurm, tmp_path, "full", programs=STAND_INS, **variables)


def starts(folder: Path) -> list[str]:
    log = folder / "log"
    return [line for line in log.read_text().splitlines() if line.startswith("started")] if log.exists() else []


@pytest.mark.parametrize("code", [0, 2, 3])
def test_a_sweep_that_is_done_refused_or_stopped_on_request_ends_the_job(
    stand_in: Callable[..., Job], tmp_path: Path, code: int
) -> None:
    (tmp_path / "code").write_text(str(code))
    job = stand_in()
    assert job.end() == str(code), job.said
    assert len(starts(tmp_path)) == 1
    assert job.restarts == 0


def test_a_driver_that_fails_again_and_again_is_not_started_for_ever(
    stand_in: Callable[..., Job], tmp_path: Path
) -> None:
    (tmp_path / "code").write_text("1")
    job = stand_in(SEPT_RETRIES="1")
    assert job.end() == "1", job.said
    assert starts(tmp_path) == ["started 0", "started 1"]
    assert "the driver ended with 1, 2 times in a row (SEPT_RETRIES): not requeued" in job.said


def test_a_cancelled_job_stays_cancelled(stand_in: Callable[..., Job], slurm: Slurm, tmp_path: Path) -> None:
    job = stand_in()
    job.wait_for(lambda: starts(tmp_path))
    slurm.run("scancel", job.number)
    job.end()
    job.wait_for(lambda: "not requeued" in job.said or not slurm.run("squeue", "-h", "-j", job.number).strip())
    time.sleep(2)
    assert job.state == "CANCELLED"
    assert starts(tmp_path) == ["started 0"]
    assert not list(tmp_path.glob("up.*")), "Ray was left behind"


def test_a_node_on_which_ray_does_not_start_is_done_without(stand_in: Callable[..., Job], tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("n2")
    (tmp_path / "code").write_text("0")
    job = stand_in(SEPT_RAY_START_S="4")
    assert job.end() == "0", job.said
    assert "Ray has started on 1 of 2 nodes within 4 s" in job.said
    assert "attempt 1 of 3" in job.said


# Slow enough to be disturbed several times: seconds for each of its trials.
SLOW = SHORT | {"training": {"epochs": 12, "report_every": 1, "batch_size": 8}}


class Sweep(Job):
    """A sweep on real Ray."""

    def __init__(self, slurm: Slurm, folder: Path, trials: int) -> None:
        self.text = yaml.safe_dump(SLOW | {"trials": trials})
        self.trials = trials
        (folder / "tiny.yaml").write_text(self.text)
        sept = f"exec {sys.executable} -c '{PROGRAM}' slow_inputs:provide \"$@\""
        super().__init__(slurm, folder, "tiny.yaml", "--root", "runs", programs={"sept": sept})
        self.files = LocalFiles(folder / "runs")

    def progress(self) -> None:
        """Until more is in the store than now."""
        before = self._objects()
        self.wait_for(lambda: self._objects() > before + 3, 240)
        assert self.state == "RUNNING", self.said

    def restarted(self, times: int) -> None:
        self.wait_for(lambda: self.restarts == times and self.state == "RUNNING", 150)

    def ends_as_if_undisturbed(self) -> None:
        assert self.end(400) == "0", self.said
        run_inline(parse_sweep(self.text, "tiny.yaml"), self.folder / "calm")
        assert outcome_of(self.folder / "runs") == outcome_of(self.folder / "calm")
        assert Lease(self.files, "tiny").holder() is None
        assert len(TrialStore(self.files).decisions("tiny")) == self.trials + 1  # and the one of zero-shot

    def _objects(self) -> int:
        return sum(path.suffix in (".json", ".safetensors") for path in self.folder.glob("runs/*/*/*/*"))


def test_a_sweep_outlives_a_lost_node_and_preemption_with_and_without_notice(slurm: Slurm, tmp_path: Path) -> None:
    sweep = Sweep(slurm, tmp_path, 12)
    sweep.progress()
    assert "Ray has started on 1 of 2 nodes" not in sweep.said, sweep.said
    slurm.run("scancel", sweep.steps()["n2"])
    sweep.progress()

    slurm.preempt()
    sweep.restarted(1)
    # It has ended by itself, with everything closed, long before its time was up.
    assert "TERM: stopping at the next checkpoint" in sweep.said
    assert "Stopped. Every finished step is kept" in sweep.said
    sweep.progress()

    slurm.run("scontrol", "update", "PartitionName=low", "GraceTime=0")
    try:
        slurm.preempt()
        sweep.restarted(2)
    finally:
        slurm.run("scontrol", "update", "PartitionName=low", "GraceTime=60")
    sweep.ends_as_if_undisturbed()


@pytest.mark.long
def test_a_sweep_outlives_its_time_limit_and_a_node_that_dies(slurm: Slurm, tmp_path: Path) -> None:
    sweep = Sweep(slurm, tmp_path, 60)
    sweep.progress()
    # The head's node is the first; the other one dies with everything on it that Slurm knows of.
    slurm.nodes["n2"].kill()
    slurm.nodes["n2"].wait()
    sweep.wait_for(lambda: sweep.restarts == 1, 120)
    slurm.start_node("n2")
    sweep.restarted(1)
    sweep.progress()
    slurm.run("scontrol", "update", f"JobId={sweep.number}", "TimeLimit=3")
    sweep.restarted(2)
    assert "TERM: stopping at the next checkpoint" in sweep.said
    # It goes on under the same limit, a minute of work at a time; a longer one saves the test's time.
    slurm.run("scontrol", "update", f"JobId={sweep.number}", "TimeLimit=60")
    sweep.ends_as_if_undisturbed()
