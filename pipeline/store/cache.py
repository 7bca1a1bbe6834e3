"""This machine's copies of remote files, in one folder of bounded size that all its processes share.

    $SEPT_CACHE/s3/<name>/                 weights that were fetched (`fetch`)
    $SEPT_CACHE/embeddings/<key>/          embeddings, ready to be mapped (`node_cache`)

Next to each entry is a lock file, ``.<its name>.lock``: a process that makes or removes the entry holds the lock, and
the file's time is when the entry was last used. What a killed process leaves behind is hidden, ends in ``.tmp``, and is
removed by the next trim. ``SEPT_CACHE_GB`` limits the whole (default 50): the least recently used entries are removed
first.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.store.settings import number_setting

__all__ = [
    "FOLDERS",
    "cache_folder",
    "cache_limit",
    "lock_of",
    "mark_used",
    "remove_entry",
    "remove_leftovers",
    "temporary",
    "trim",
    "turn",
]

logger = logging.getLogger(__name__)

FOLDERS = ("embeddings", "s3")
"""The folders in the cache whose entries share one limit."""

DEFAULT_GB = 50.0
# Weights are read by their path, some of them long after they were fetched; a mapped file outlives its name.
_BY_PATH, _BY_PATH_AGE_S = "s3", 24 * 3600.0


@dataclass(frozen=True)
class _Kept:
    """An entry: its path, when it was last used (seconds since the epoch) and its size in bytes."""

    path: Path
    used: float
    size: int


def cache_folder() -> Path:
    """Where copies are kept: ``$SEPT_CACHE``, or ``~/.cache/sept-sweep``."""
    return Path(os.environ.get("SEPT_CACHE") or "~/.cache/sept-sweep").expanduser().absolute()


def cache_limit() -> int:
    """Bytes that the cache may take: ``$SEPT_CACHE_GB``, in 10^9 bytes.

    Raises:
        InputError: It is not a number from 0 on.
    """
    return int(1e9 * number_setting("SEPT_CACHE_GB", DEFAULT_GB, "give the cache's size in GB, or leave it out"))


def lock_of(path: Path) -> Path:
    """The lock file of an entry."""
    return path.with_name(f".{path.name}.lock")


@contextmanager
def turn(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold an entry's lock; waits as long as another process of this machine makes or removes the entry.

    Args:
        path: The entry.
        shared: Whether others that ask for a shared lock may hold it at the same time.

    Raises:
        OSError: The lock file cannot be made, or the file system has no locks.
    """
    # The file is never removed: a lock on a removed file protects nothing.
    with open(lock_of(path), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def mark_used(path: Path) -> None:
    """Record that an entry is used now, if that can be recorded."""
    with suppress(OSError):
        os.utime(lock_of(path))


def temporary(path: Path) -> Path:
    """A new hidden name next to an entry, under which to make it; `remove_leftovers` finds it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes have left of an entry. The caller holds its lock."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        _delete(left)


def remove_entry(path: Path) -> None:
    """Remove an entry by one rename, since a process that finds it expects it to be complete.

    Raises:
        OSError: It cannot be removed.
    """
    hidden = temporary(path)
    os.rename(path, hidden)
    _delete(hidden)


def trim(just_made: Path) -> None:
    """Remove the least recently used entries until the rest fits.

    Mapped embeddings may be removed: processes that have mapped them keep them, only the name is gone. Weights stay for
    a day after their last use, and an entry that is being made stays too.

    Args:
        just_made: An entry that stays whatever its size.

    Raises:
        InputError: As `cache_limit`.
    """
    excess = -cache_limit()
    entries = []
    for name in FOLDERS:
        with suppress(OSError):
            for path in sorted((cache_folder() / name).iterdir()):
                if not path.name.startswith("."):
                    entries.append(_Kept(path, _last_used(path), _size(path)))
                elif path.name.endswith(".tmp"):
                    _remove_left(path)
    excess += sum(entry.size for entry in entries)
    for entry in sorted(entries, key=lambda entry: entry.used):
        if excess <= 0:
            return
        if entry.path != just_made and _remove(entry):
            excess -= entry.size
            logger.info("removed %s (%.1f MB) from the cache, last used long ago", entry.path, entry.size / 1e6)


def _remove(entry: _Kept) -> bool:
    """Remove an entry, unless a process is making it or has used it meanwhile; returns whether it was removed."""
    with suppress(OSError), _free(entry.path) as free:
        if not free or _last_used(entry.path) != entry.used:
            return False
        if entry.path.parent.name == _BY_PATH and time.time() - entry.used < _BY_PATH_AGE_S:
            return False
        remove_entry(entry.path)
        return True
    return False


def _remove_left(hidden: Path) -> None:
    """Remove a hidden name unless the process that made it still works on it."""
    path = hidden.with_name(hidden.name.removeprefix(".").rpartition(".")[0].rpartition(".")[0])
    with suppress(OSError), _free(path) as free:
        if free:
            _delete(hidden)


@contextmanager
def _free(path: Path) -> Iterator[bool]:
    """Hold an entry's lock if nobody else does; yields whether it is held."""
    with open(lock_of(path), "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    try:
        return lock_of(path).stat().st_mtime
    except OSError:
        return path.stat().st_mtime


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
