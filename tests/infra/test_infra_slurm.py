"""infra/slurm.sbatch, run with programs of those names that record their calls: requeues on 75, passes TERM on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra" / "slurm.sbatch"
PROGRAMS = {
    "scontrol": """
echo "scontrol $*" >> "$LOG"
[ "$1 $2" = "show hostnames" ] && printf "n1\\nn2\\nn3\\n"
[ "$1 $2" = "show job" ] && echo "JobState=RUNNING"
true
""",
    # Steps run until they are told to end, as Ray's processes do.
    "srun": """
echo "srun ${*//$'\\n'/ }" >> "$LOG"
trap "exit 0" USR1
while true; do /bin/sleep 0.05; done
""",
    # A node is active once its step runs; one that is pending does not count.
    "ray": 'echo Active:; grep "^srun " "$LOG" | sed "s/.*/ 1 node_x/"; printf "Pending:\\n 1 node_y\\n"',
    "sleep": "exec /bin/sleep 0.05",
    "sept": 'echo "sept $*" >> "$LOG"; echo "$RAY_AUTH_MODE ${#RAY_AUTH_TOKEN}" >> "$LOG"; exit "$CODE"',
}
# Needs some time for its last checkpoints after the first TERM, and would be ended by a second one.
SLOW = """
trap 'echo "sept TERM" >> "$LOG"; trap "exit 143" TERM; /bin/sleep 0.5; exit 75' TERM
echo started >> "$LOG"
while true; do /bin/sleep 0.05; done
"""

Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.txt"


@pytest.fixture
def run(tmp_path: Path, log: Path) -> Run:
    def start(
        *arguments: str, code: int = 0, script: Path = SCRIPT, start_s: int = 20, **programs: str
    ) -> subprocess.Popen[str]:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, program in (PROGRAMS | programs).items():
            (folder / name).write_text(f"#!/usr/bin/env bash\n{program}\n")
            (folder / name).chmod(0o755)
        job = {"SLURM_JOB_ID": "14711", "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_CPUS_PER_TASK": "4"}
        more = {"LOG": str(log), "CODE": str(code), "SEPT_HEAD_IP": "10.0.0.1", "SEPT_RAY_START_S": str(start_s)}
        return subprocess.Popen(
            ["bash", str(script), *arguments],
            env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"} | job | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, True), (2, False), (3, False), (137, True), (75, True)])
def test_it_starts_ray_on_every_node_launches_and_requeues_any_end_but_the_sweeps_own(
    run: Run, log: Path, code: int, requeued: bool
) -> None:
    process = run("full", "--root", "s3://a b/c", code=code)
    said = process.communicate(timeout=20)[0]
    assert process.returncode == code, said
    calls = log.read_text().splitlines()
    starts = [line for line in calls if line.startswith("srun ")]
    assert len(starts) == 3
    assert all("--nodes=1 --ntasks=1 --overlap" in line and "--num-cpus=4" in line for line in starts)
    head = [line for line in starts if "--head --node-ip-address=10.0.0.1 --port=24711" in line]
    assert len(head) == 1
    assert "--nodelist=n1 " in head[0]
    assert sum(line.endswith(" --address=10.0.0.1:24711") for line in starts) == 2
    assert "sept sweep launch full --root s3://a b/c --address 10.0.0.1:24711" in calls
    assert "token 64" in calls
    assert ("scontrol requeue 14711" in calls) is requeued


def test_term_is_passed_on_once_the_driver_is_waited_for_and_the_job_requeued(run: Run, log: Path) -> None:
    process = run("full", sept=SLOW)
    deadline = time.monotonic() + 20
    while not log.exists() or "started" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=20)[0]
    assert process.returncode == 75, said
    calls = log.read_text().splitlines()
    assert calls.count("sept TERM") == 1
    assert "scontrol requeue 14711" in calls


def test_where_ray_starts_on_no_node_the_job_is_tried_again(run: Run, log: Path) -> None:
    process = run("full", ray="exit 1", start_s=1)
    said = process.communicate(timeout=20)[0]
    assert process.returncode == 1
    assert "Ray has started on 0 of 3 nodes" in said
    assert "sept sweep" not in log.read_text()
    assert "scontrol requeue 14711" in log.read_text()


def test_where_ray_starts_on_some_nodes_the_sweep_is_launched_on_these(run: Run, log: Path) -> None:
    process = run("full", ray='printf "Active:\\n 1 node_x\\n 1 node_y\\n"', start_s=1)
    said = process.communicate(timeout=20)[0]
    assert process.returncode == 0
    assert "Ray has started on 2 of 3 nodes within 1 s" in said
    assert "sept sweep launch full" in log.read_text()


def test_what_is_refused_after_a_requeue_may_be_refused_for_now(
    run: Run, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert run("full", code=2).wait(20) == 2
    assert "scontrol requeue 14711" in log.read_text()


@pytest.mark.parametrize(
    ("job", "restarts", "why"),
    [
        ("JobState=COMPLETING", 1, "Slurm has ended the job"),
        ("JobState=RUNNING", 500, "requeued 500 times already"),
    ],
)
def test_a_job_that_is_cancelled_or_was_requeued_too_often_is_not_requeued(
    run: Run, log: Path, monkeypatch: pytest.MonkeyPatch, job: str, restarts: int, why: str
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
    process = run("full", code=75, scontrol=PROGRAMS["scontrol"].replace("JobState=RUNNING", job))
    assert why in process.communicate(timeout=20)[0]
    assert "scontrol requeue" not in log.read_text()


@pytest.mark.parametrize(("failed", "requeued"), [(4, True), (5, False)])
def test_a_driver_that_fails_is_tried_again_a_bounded_number_of_times(
    run: Run, log: Path, failed: int, requeued: bool
) -> None:
    counted = PROGRAMS["scontrol"].replace(
        "JobState=RUNNING", f"JobState=RUNNING Comment=sept failed {failed} times in"
    )
    process = run("full", code=1, scontrol=counted)
    said = process.communicate(timeout=20)[0]
    assert ("scontrol requeue 14711" in log.read_text()) is requeued
    assert ("6 times in a row (SEPT_RETRIES): not requeued" in said) is not requeued
    counts = "update JobId=14711 Comment=sept failed 5 times in a row" in log.read_text()
    assert counts is requeued


def test_a_job_without_a_sweep_says_how_it_is_meant(run: Run) -> None:
    process = run()
    assert "usage: sbatch infra/slurm.sbatch SWEEP" in process.communicate(timeout=20)[0]
    assert process.returncode == 2


def test_slurm_is_asked_to_send_term_early_and_to_requeue() -> None:
    options = re.findall(r"^#SBATCH (--\S+)$", SCRIPT.read_text(), re.MULTILINE)
    assert {"--requeue", "--signal=B:TERM@120", "--open-mode=append", "--ntasks-per-node=1"} <= set(options)
    # Behind the first command Slurm does not look for any.
    assert "#SBATCH" not in SCRIPT.read_text().partition("\nset -uo pipefail\n")[2]


@pytest.mark.parametrize(
    ("before", "after"), [("wait_for \"$driver\"", "wait \"$driver\""), ("requeue \"$SLURM_JOB_ID\"", "release 1")]
)  # fmt: skip
def test_these_tests_find_a_broken_script(run: Run, log: Path, tmp_path: Path, before: str, after: str) -> None:
    text = SCRIPT.read_text()
    assert before in text
    (tmp_path / "broken.sbatch").write_text(text.replace(before, after))
    with pytest.raises(AssertionError):
        test_term_is_passed_on_once_the_driver_is_waited_for_and_the_job_requeued(
            lambda *arguments, **more: run(*arguments, script=tmp_path / "broken.sbatch", **more), log
        )


def test_shellcheck_finds_nothing() -> None:
    found = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip("no shellcheck here (extra `test` brings it)")
    checked = subprocess.run([found, SCRIPT], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
