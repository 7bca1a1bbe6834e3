"""The local folder behind the door: the conformance suite, and what only a disk can do to a writer."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from files_conformance import FilesConformance

from pipeline.store.files import STALE_TEMP_S, LocalFiles, StoreError, check_writable, open_files
from pipeline.store.processes import own_mark
from pipeline.store.trials import TrialStore
from sept_core.errors import InputError

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path / "store")


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs ``code`` on the repository, with piped output."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class TestLocalFiles(FilesConformance):
    """The folder passes the suite."""


def test_what_is_written_between_the_look_and_the_removal_stays(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_away = os.rename

    def late(source: Path, target: Path) -> None:
        source.write_bytes(b"somebody else's")
        take_away(source, target)

    files.write("a/key", b"judged")
    monkeypatch.setattr(os, "rename", late)
    assert not files.remove("a/key", b"judged")
    assert files.read("a/key") == b"somebody else's"
    assert [entry.name for entry in (files.root / "a").iterdir()] == ["key"]


class TestLocalFilesWithoutHardLinks(FilesConformance):
    """So does a folder on a filesystem that cannot link (exFAT, some network mounts)."""

    @pytest.fixture(autouse=True)
    def _no_links(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)

    def test_creators_take_turns_even_when_publishing_is_slow(
        self, files: LocalFiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish = os.replace

        def slowly(*arguments: Path) -> None:
            time.sleep(0.02)
            publish(*arguments)

        monkeypatch.setattr(os, "replace", slowly)
        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(lambda me: files.create("race", f"{me}".encode()), range(6)))
        assert won.count(True) == 1
        assert files.read("race") == f"{won.index(True)}".encode()


def test_reading_an_absent_store_leaves_no_trace(files: LocalFiles) -> None:
    assert files.list() == []
    assert not files.exists("a")
    assert not files.root.exists()


def test_links_in_a_circle_are_named_once_and_passed_over(
    files: LocalFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for key in ("sweeps/a/spec.yaml", "sweeps/b/spec.yaml", "trials/s/result.json"):
        files.write(key, b"x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/spec.yaml").write_bytes(b"x")
    links = {"a/up": "..", "a/root": "../..", "a/itself": "itself", "a/one": "two", "a/two": "one", "b/a": "../a"}
    for name, target in (links | {"linked": "../../elsewhere", "gone": "../nowhere"}).items():
        (files.root / "sweeps" / name).symlink_to(target)
    for _ in range(2):
        found = files.list("sweeps")
        assert [*files.read_many(found)] == [
            *("sweeps/a/spec.yaml", "sweeps/b/a/spec.yaml", "sweeps/b/spec.yaml", "sweeps/linked/spec.yaml"),
        ]
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == len(set(named))
    for name in ("a/up", "a/root", "a/itself", "a/one", "a/two"):
        assert (
            f"the link {files.root}/sweeps/{name} points to a folder that contains it and is skipped; remove it"
            in named
        )


def test_temporary_files_are_invisible_and_removed_when_old(files: LocalFiles) -> None:
    files.write("a/key", b"x")
    old, young = files.root / "a/.key.00.tmp", files.root / "a/.key.01.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    past = time.time() - STALE_TEMP_S - 60
    os.utime(old, (past, past))
    assert files.list() == ["a/key"]
    LocalFiles(files.root).write("a/other", b"y")
    assert not old.exists()
    assert young.exists()


def test_temporary_files_of_dead_processes_are_removed_at_once(files: LocalFiles) -> None:
    files.write("a/key", b"x")
    with subprocess.Popen(["sleep", "60"]) as process:
        mark = own_mark(process.pid)
        left = files.root / f"a/.key.{mark}.00.tmp"
        left.write_bytes(b"half")
        LocalFiles(files.root).write("a/other", b"y")
        assert left.exists()
        process.kill()
    # An id that another process has by now, and one of another machine.
    machine, pid, began = own_mark(os.getpid()).split("-")
    reused, foreign = files.root / f"a/.key.{machine}-{pid}-{began[::-1]}.00.tmp", files.root / "a/.key.0-1-2.00.tmp"
    for path in (reused, foreign):
        path.write_bytes(b"half")
    LocalFiles(files.root).write("a/other", b"y")
    assert (left.exists(), reused.exists(), foreign.exists()) == (False, False, True)


def test_a_full_disk_is_a_clear_error_and_leaves_the_old_object_alone(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write("a/key", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for call in (files.write, files.create):
            with pytest.raises(StoreError, match=r"cannot write 'a/key2?'.*No space left on device.*free some space"):
                call("a/key2", b"new")
        with pytest.raises(StoreError):
            files.write("a/key", b"new")
    assert files.read("a/key") == b"old"
    assert [path.name for path in (files.root / "a").iterdir()] == ["key"]


def test_a_real_write_that_the_system_cuts_short_leaves_nothing_behind(tmp_path: Path) -> None:
    # A file size limit fails in the middle of the data, as a full disk or a quota does.
    code = """
import resource, signal, sys
from pathlib import Path
from pipeline.store.files import LocalFiles, StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
files = LocalFiles(Path(sys.argv[1]))
files.write("a/key", b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    files.write("a/key", b"new" * 100_000)
except StoreError as error:
    print(error)
"""
    done = start(code, tmp_path)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    assert "cannot write 'a/key'" in out
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["key"]
    assert (tmp_path / "a/key").read_bytes() == b"old"


def test_a_writer_killed_at_any_moment_never_shows_a_part(tmp_path: Path) -> None:
    # Contents say their own length, so that a cut one gives itself away.
    code = """
import sys
from itertools import count
from pathlib import Path
from pipeline.store.files import LocalFiles
files = LocalFiles(Path(sys.argv[1]))
print("ready", flush=True)
for number in count():
    size = 1 + number * 7919 % 200_000
    files.write("a/key", f"{size:08d}".encode() + b"x" * size)
    files.create(f"made/{sys.argv[2]}-{number}", f"{size:08d}".encode() + b"y" * size)
"""

    def whole(data: bytes) -> bool:
        return len(data) == 8 + int(data[:8])

    files = LocalFiles(tmp_path)
    draw = random.Random(0)
    for kill in range(6):
        writer = start(code, tmp_path, kill)
        assert writer.stdout is not None
        writer.stdout.readline()
        deadline = time.monotonic() + draw.uniform(0.02, 0.15)
        while time.monotonic() < deadline:
            if files.exists("a/key"):
                assert whole(files.read("a/key"))
        writer.kill()
        writer.communicate()
    made = files.list("made")
    assert made
    assert all(whole(files.read(key)) for key in ["a/key", *made])


def test_of_competing_processes_exactly_one_creates(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from pipeline.store.files import LocalFiles
files = LocalFiles(Path(sys.argv[1]))
time.sleep(max(0.0, float(sys.argv[3]) - time.time()))
print(sum(files.create(f"race/{number}", sys.argv[2].encode() * 3000) for number in range(50)))
"""
    together = time.time() + 1.0
    racers = [start(code, tmp_path, me, together) for me in range(4)]
    wins = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert sum(wins) == 50
    files = LocalFiles(tmp_path)
    contents = [files.read(key) for key in files.list("race")]
    assert all(data == data[:1] * 3000 for data in contents)
    assert wins == [contents.count(f"{me}".encode() * 3000) for me in range(4)]


def test_a_folder_without_permission_is_a_clear_error(files: LocalFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, whom no mode stops: the refusal is put into the call instead.
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    files.write("key", b"x")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StoreError, match=r"cannot read 'key' \(Permission denied\); make"):
        files.read("key")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_store_that_may_only_be_read_is_a_persons_to_mend_and_can_be_read(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damages: list[str]
) -> None:
    files = LocalFiles(tmp_path)
    files.write("trials/s/0000/result.json", b"damaged")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(LocalFiles, "_temporary", refuse)
    for call in (files.write, files.create):
        with pytest.raises(StoreError) as refusal:
            call("a/key", b"x")
        assert isinstance(refusal.value, InputError)
        assert str(refusal.value).startswith(f"{tmp_path}: cannot write 'a/key' ({os.strerror(number)}); make")
    store = TrialStore(files)
    assert store.read_result("s", "0000") is None
    assert [line.partition(":")[0] for line in damages] == [
        "damaged 'trials/s/0000/result.json' counts as absent, and stays because it cannot be moved"
    ]
    assert files.exists("trials/s/0000/result.json")


def test_writes_from_threads_into_one_new_folder_all_arrive(files: LocalFiles) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: files.write(f"deep/er/{number}", b"x"), range(50)))
    assert len(files.list("deep/er")) == 50


class TestOpenFiles:
    def test_takes_paths_and_file_addresses(self, tmp_path: Path) -> None:
        for uri in (tmp_path / "a b", str(tmp_path / "a b"), (tmp_path / "a b").as_uri()):
            files = open_files(uri)
            assert isinstance(files, LocalFiles)
            assert files.root == tmp_path / "a b"

    def test_a_relative_folder_is_fixed_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        files = open_files("runs")
        monkeypatch.chdir("/")
        files.write("key", b"x")
        assert (tmp_path / "runs/key").exists()

    @pytest.mark.parametrize("uri", ["https://host/x", "file://elsewhere/x", ""])
    def test_refuses_other_addresses(self, uri: str) -> None:
        with pytest.raises(InputError, match="folder"):
            open_files(uri)

    def test_refuses_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "taken").write_bytes(b"")
        with pytest.raises(InputError, match="is a file, not a folder"):
            open_files(tmp_path / "taken")


class TestCheckWritable:
    def test_a_folder_that_is_there_or_can_be_made_passes_and_nothing_stays(self, tmp_path: Path) -> None:
        check_writable(tmp_path)
        check_writable(tmp_path / "new" / "deeper")
        check_writable("s3://bucket/prefix")
        assert not list(tmp_path.iterdir())

    def test_one_that_cannot_be_written_to_is_told_with_what_to_do(self) -> None:
        # Nobody, root included, makes files there.
        with pytest.raises(
            InputError, match=r"/proc/results: cannot be written to \(.*\); make /proc writable, or give"
        ):
            check_writable("/proc/results")
