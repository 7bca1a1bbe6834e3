"""Where a private Ray keeps its session folder (sockets, logs), and how it is removed. Checked with Ray 2.60.

    TMP/sept-ray-UID/<random>/owner          which process it belongs to
                              session_.../   Ray's

Ray itself leaves the folder of every start behind. Here it is removed at the end of the command that started it. If
that command failed or lost a worker, it reports the folder of Ray's logs, which stay until a later command finds them a
day old. The next command also removes what a killed one left behind: only folders below our own whose process and whose
Ray are gone.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.store.processes import mark_gone, own_mark
from sept_core.errors import InputError

__all__ = ["keep_logs", "own_session"]

logger = logging.getLogger(__name__)

_OWNER = "owner"
# Paths of sockets have at most 107 bytes, of which Ray needs about 75 below its folder.
_LONGEST = 32
_LOGS_KEPT_S = 24 * 3600.0
# How long the last workers of a Ray that has been shut down take to end.
_PATIENCE_S = 5.0

_kept = False


def keep_logs() -> None:
    """Keep the logs of the current session, since something was lost in it."""
    global _kept
    _kept = True


@contextmanager
def own_session() -> Iterator[str]:
    """A folder for the session of a private Ray, which starts and shuts down within this context.

    Yields:
        Its path, for ``_temp_dir`` of ``ray.init``.

    Raises:
        InputError: No folder can be made.
    """
    global _kept
    _kept = False
    parent = _parent()
    _remove_left(parent)
    folder = Path(tempfile.mkdtemp(prefix="", dir=parent))
    (folder / _OWNER).write_text(own_mark(os.getpid()), encoding="ascii")
    try:
        yield str(folder)
    except (InputError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        _kept = True
        raise
    finally:
        if _kept:
            _remove_but_logs(folder)
            for logs in _logs_in(folder):
                logger.warning("Ray's logs stay for a day: %s", logs)
        else:
            _remove(folder)


def _parent() -> Path:
    """The folder of all sessions of this user, which nobody else can write to."""
    wanted = [os.environ.get("RAY_TMPDIR", ""), tempfile.gettempdir(), "/tmp"]  # noqa: S108 (below it the folder is ours)
    for place in filter(None, wanted):
        folder = Path(place).absolute() / f"sept-ray-{os.getuid()}"
        if len(os.fsencode(folder)) > _LONGEST:
            continue
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            state = folder.lstat()
            if not folder.is_symlink() and state.st_uid == os.getuid() and not state.st_mode & 0o022:
                return folder
    raise InputError(
        f"no folder for Ray's session in {' or '.join(dict.fromkeys(filter(None, wanted)))}",
        fix="set RAY_TMPDIR to a folder with a short path (at most 12 characters) that you can write to",
    )


def _remove_left(parent: Path) -> None:
    """Remove what ended commands have left behind."""
    for folder in parent.iterdir():
        with suppress(OSError):
            if not _abandoned(folder):
                continue
            if time.time() - _last_change(folder) > _LOGS_KEPT_S:
                _remove(folder, patience=0.0)
            else:
                _remove_but_logs(folder)


def _last_change(folder: Path) -> float:
    """When something was last written there, as seconds since the epoch."""
    logs = (file for place in _logs_in(folder) for file in place.iterdir())
    return max(entry.stat().st_mtime for entry in (folder, *logs))


def _abandoned(folder: Path) -> bool:
    """Whether the process that a folder belongs to is gone, and its whole Ray."""
    try:
        owner = (folder / _OWNER).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        # Killed between creating the folder and writing the file; or just about to write it.
        return time.time() - folder.stat().st_mtime > _LOGS_KEPT_S
    return mark_gone(owner) and not _in_use(folder)


def _in_use(folder: Path) -> bool:
    """Whether a process has the folder in its command line, as all processes of Ray do."""
    name = os.fsencode(folder)
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if name in process.read_bytes():
                return True
    return False


def _logs_in(folder: Path) -> list[Path]:
    return [logs for logs in folder.glob("session_*/logs") if logs.is_dir() and not logs.parent.is_symlink()]


def _remove_but_logs(folder: Path) -> None:
    kept = {_OWNER, *(logs.parent.name for logs in _logs_in(folder))}
    for entry in folder.iterdir():
        if entry.name not in kept:
            _remove(entry, patience=0.0)
    for logs in _logs_in(folder):
        for entry in logs.parent.iterdir():
            if entry != logs:
                _remove(entry, patience=0.0)


def _remove(entry: Path, patience: float = _PATIENCE_S) -> None:
    """Remove a file, link or folder; if others still write into it, try again for some seconds."""
    deadline = time.monotonic() + patience
    while True:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
        if time.monotonic() >= deadline or not os.path.lexists(entry):
            return
        time.sleep(0.05)
