"""`sept embed` on Ray, its driver and its workers killed at random: it always ends at the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from launching import launched, said

from pipeline.embed import embed
from pipeline.spec import EncoderFiles

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

RATE = 8000
CLIPS = 1280


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FSDD's layout with so many clips that they are five parts, some of them damaged."""
    folder = tmp_path_factory.mktemp("audio") / "recordings"
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(CLIPS):
        name = f"{number % 10}_{('theo', 'lucas', 'george', 'jackson')[number % 4]}_{number // 20}.wav"
        soundfile.write(folder / name, noise.normal(0, 0.1, RATE).astype("float32"), RATE)
        if number % 200 == 7:
            (folder / name).write_bytes((folder / name).read_bytes()[:900])
    return folder.parent


@pytest.fixture(scope="module")
def undisturbed(audio: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("undisturbed")
    (summary,) = embed(["fsdd"], audio, EncoderFiles(name="mini"), root, concurrency=2, skip_bad=True)
    assert summary.skipped == 7
    return bytes_below(root)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long  # the tests of `embed` kill workers, too
@pytest.mark.parametrize(("seed", "kills"), [(1, 3), (2, 12), (3, 12), (4, 12)])
def test_it_ends_at_the_same_bytes_whatever_is_killed(
    audio: Path, undisturbed: dict[str, bytes], tmp_path: Path, seed: int, kills: int
) -> None:
    chance, root = random.Random(seed), tmp_path / "runs"
    command = ("embed", "fsdd", "--audio", str(audio), "--store", str(root), "--concurrency", "2", "--skip-bad")
    done = {"driver": 0, "worker": 0}
    while sum(done.values()) < kills:
        with launched(tmp_path, "tiny_inputs:provide", *command) as process:
            while process.poll() is None and sum(done.values()) < kills:
                kind = "driver" if done["driver"] <= done["worker"] else "worker"
                workers = wait_for_workers(process)
                time.sleep(chance.uniform(0, 2.0))
                if process.poll() is not None:
                    break
                if kind == "driver":
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                elif workers:
                    with suppress(ProcessLookupError):
                        os.kill(chance.choice(workers), signal.SIGKILL)
                done[kind] += 1
            if process.returncode not in (None, -signal.SIGKILL):
                # Done before the last kill: it starts again.
                assert process.returncode == 0, said(tmp_path)
                command = (*command, "--force") if "--force" not in command else command
    with launched(tmp_path, "tiny_inputs:provide", *command) as process:
        assert process.wait(300) == 0, said(tmp_path)
    assert bytes_below(root) == undisturbed
    assert not list(root.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("happens", "line"),
    [
        # By the kills above and the tests of the watch on Ray they are covered in every run.
        pytest.param(signal.SIGTERM, "interrupted; run the same command again", marks=pytest.mark.long),
        pytest.param(signal.SIGINT, "interrupted; run the same command again", marks=pytest.mark.long),
        pytest.param(
            b"gcs_server", " is gone; every finished step is kept, the same command continues", marks=pytest.mark.long
        ),
        pytest.param(
            b"raylet", " is gone; every finished step is kept, the same command continues", marks=pytest.mark.long
        ),
    ],
)
def test_a_signal_and_the_loss_of_ray_end_it_with_the_exit_code_that_says_that_it_goes_on(
    audio: Path, undisturbed: dict[str, bytes], tmp_path: Path, happens: signal.Signals | bytes, line: str
) -> None:
    root = tmp_path / "runs"
    command = ("embed", "fsdd", "--audio", str(audio), "--store", str(root), "--concurrency", "2", "--skip-bad")
    with launched(tmp_path, "tiny_inputs:provide", *command) as process:
        deadline = time.monotonic() + 120
        while not list(root.rglob("part-*.parquet")) and process.poll() is None:
            assert time.monotonic() < deadline, said(tmp_path)
            time.sleep(0.02)
        if isinstance(happens, bytes):
            (lost,) = [pid for pid in descendants(process.pid) if title(pid).split(b"\0")[0].endswith(b"/" + happens)]
            os.kill(lost, signal.SIGKILL)
        else:
            process.send_signal(happens)
        assert process.wait(60) == 75, said(tmp_path)
    assert said(tmp_path).strip().endswith(line)
    made = len(list(root.rglob("part-*.parquet")))
    assert 0 < made < 5
    with launched(tmp_path, "tiny_inputs:provide", *command) as process:
        assert process.wait(300) == 0, said(tmp_path)
    assert f"{256 * made} of them before" in said(tmp_path)
    assert bytes_below(root) == undisturbed


def wait_for_workers(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that encode, once there are some; none where the command has ended."""
    deadline = time.monotonic() + 120
    while process.poll() is None:
        found = [pid for pid in descendants(process.pid) if b"MapWorker" in title(pid)]
        if found:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return []


def descendants(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        children = [child for child, its in parents.items() if its == parent]
        found += children
        waiting += children
    return found


def title(pid: int) -> bytes:
    with suppress(OSError):
        return Path("/proc", str(pid), "cmdline").read_bytes()
    return b""
