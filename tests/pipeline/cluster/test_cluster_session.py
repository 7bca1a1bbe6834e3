"""The session folder of a private Ray goes with the command that started it, and only that one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pipeline.cluster.session import keep_logs, own_session
from sept_core.errors import InputError, SeptError

# What a command does until it is killed: its Ray has sockets and logs.
LIVES = """
import pathlib, sys, time
from pipeline.cluster.session import own_session
with own_session() as folder:
    session = pathlib.Path(folder) / "session_1"
    for name in ("logs", "sockets"):
        (session / name).mkdir(parents=True)
        (session / name / "file").write_text("x")
    (pathlib.Path(folder) / "session_latest").symlink_to(session)
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the folders of sessions are made; its path is short."""
    with TemporaryDirectory(prefix="s", dir="/tmp") as place:
        monkeypatch.setenv("RAY_TMPDIR", place)
        yield Path(place) / f"sept-ray-{os.getuid()}"


def fill(folder: str) -> Path:
    session = Path(folder) / "session_1"
    (session / "logs").mkdir(parents=True)
    (session / "logs" / "raylet.err").write_text("why")
    (session / "sockets").mkdir()
    return session


def test_it_is_gone_when_the_command_has_ended(sessions: Path) -> None:
    for error in (None, InputError("a wrong value"), KeyboardInterrupt()):
        try:
            with own_session() as folder:
                fill(folder)
                assert Path(folder).parent == sessions
                if error is not None:
                    raise error
        except (InputError, KeyboardInterrupt):
            pass
        assert list(sessions.iterdir()) == []


@pytest.mark.parametrize("lost", [False, True])
def test_its_logs_stay_and_are_named_where_the_command_failed_or_lost_a_worker(
    lost: bool, sessions: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    try:
        with own_session() as folder:
            session = fill(folder)
            if not lost:
                raise SeptError("Ray is gone")
            keep_logs()
    except SeptError:
        pass
    assert [path.name for path in session.iterdir()] == ["logs"]
    assert (session / "logs" / "raylet.err").read_text() == "why"
    assert f"Ray's logs stay for a day: {session / 'logs'}" in caplog.text
    with own_session() as other:
        fill(other)
    assert not Path(other).exists()


def test_the_next_command_removes_what_a_killed_one_left_and_a_day_later_its_logs(sessions: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", LIVES], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        try:
            with own_session():
                assert (folder / "session_1" / "sockets" / "file").exists()  # that of a command that runs
        finally:
            process.send_signal(signal.SIGKILL)
    with subprocess.Popen([sys.executable, "-c", "input()", f"--x={folder}/session_1"], stdin=subprocess.PIPE) as ray:
        # Its command line is there a moment after it has started.
        while str(folder).encode() not in Path(f"/proc/{ray.pid}/cmdline").read_bytes():
            time.sleep(0.01)
        with own_session():
            assert (folder / "session_1" / "sockets" / "file").exists()  # one of its Ray's processes still runs
        ray.kill()
    with own_session():
        assert sorted(path.name for path in folder.iterdir()) == ["owner", "session_1"]
        assert [path.name for path in (folder / "session_1").iterdir()] == ["logs"]
    os.utime(folder, (0, 0))
    with own_session():
        # A sweep may have run for days: what counts is when its logs were last written.
        assert (folder / "session_1" / "logs").exists()
    for log in (folder / "session_1" / "logs").iterdir():
        os.utime(log, (0, 0))
    os.utime(folder, (0, 0))
    with own_session() as last:
        assert list(sessions.iterdir()) == [Path(last)]


def test_nothing_that_is_not_provably_ours_is_touched(sessions: Path, tmp_path: Path) -> None:
    foreign = sessions.parent / "ray" / "session_2026-01-01_00-00-00_000000_1"
    fill(str(foreign))
    (tmp_path / "precious").mkdir()
    sessions.mkdir(mode=0o700)
    (sessions / "link").symlink_to(tmp_path)
    (sessions / "file").write_text("x")
    fill(str(sessions / "unmarked"))
    (sessions / "elsewhere").mkdir()
    (sessions / "elsewhere" / "owner").write_text("00000000-1-00000000")  # of another machine or container
    os.utime(sessions / "elsewhere", (0, 0))
    with own_session():
        pass
    assert sorted(path.name for path in sessions.iterdir()) == ["elsewhere", "file", "link", "unmarked"]
    assert (tmp_path / "precious").is_dir()
    assert (foreign / "session_1" / "sockets").is_dir()


def test_a_folder_that_others_may_write_to_is_not_used(sessions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions.mkdir()
    sessions.chmod(0o777)
    with own_session() as folder:
        assert Path(folder).parent != sessions
    monkeypatch.setenv("RAY_TMPDIR", str(sessions.parent / ("x" * 40)))
    with own_session() as folder:
        assert len(folder) < 45  # a socket's path has at most 107 bytes
