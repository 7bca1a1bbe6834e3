"""Objects in a local folder: temporary files, renames and hard links, each synced to the disk."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.store.base import Keys, StoreDenied, StoreError, check_key
from pipeline.store.processes import mark_gone, own_mark

__all__ = ["LOCK_TIMEOUT_S", "STALE_TEMP_S", "LocalFiles"]

logger = logging.getLogger(__name__)

# No living writer needs this long for one object; older leftovers belong to killed writers.
STALE_TEMP_S = 3600.0
LOCK_TIMEOUT_S = 20.0
_TEMP_SUFFIX = ".tmp"
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class LocalFiles:
    """``Files`` in a local folder. The first write creates the folder, so that reading never changes anything.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._tidied: set[Path] = set()
        self._circles: set[str] = set()  # links that have been reported

    def __repr__(self) -> str:
        return f"LocalFiles({str(self.root)!r})"

    def read(self, key: str) -> bytes:
        """See ``Files.read``."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise FileNotFoundError(key) from None
        except OSError as error:
            raise self._failure("read", key, error) from error

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """See ``Files.read_many``."""
        found = {}
        for key in keys:
            with suppress(FileNotFoundError):
                found[key] = self.read(key)
        return found

    def write(self, key: str, data: bytes) -> None:
        """See ``Files.write``."""
        path = self._path(key)
        with self._failing("write", key), self._temporary(path, data) as temporary:
            os.replace(temporary, path)
            _sync_folder(path.parent)

    def create(self, key: str, data: bytes) -> bool:
        """See ``Files.create``."""
        path = self._path(key)
        with self._failing("write", key):
            # Checked first only to save a temporary file; the link below decides.
            if path.exists():
                return False
            with self._temporary(path, data) as temporary:
                if not _publish_new(temporary, path):
                    return False
                _sync_folder(path.parent)
                return True

    def replace(self, key: str, expected: bytes | None, data: bytes) -> bool:
        """See ``Files.replace``."""
        if expected is None:
            return self.create(key, data)
        path = self._path(key)
        # Without a folder there is nothing to replace.
        if not path.parent.is_dir():
            return False
        with self._failing("write", key), _turn(path.with_name(".replace.lock")):
            try:
                current = path.read_bytes()
            except FileNotFoundError:
                return False
            if current != expected:
                return False
            self.write(key, data)
            return True

    def exists(self, key: str) -> bool:
        """See ``Files.exists``."""
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> Keys:
        """See ``Files.list``."""
        folder = self._path(prefix.rstrip("/")) if prefix.rstrip("/") else self.root
        with self._failing("list", prefix):
            return sorted(path.relative_to(self.root).as_posix() for path in self._walk(folder))

    def delete(self, key: str) -> None:
        """See ``Files.delete``."""
        path = self._path(key)
        with self._failing("delete", key), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            _sync_folder(path.parent)

    def remove(self, key: str, expected: bytes) -> bool:
        """See ``Files.remove``."""
        path = self._path(key)
        with self._failing("delete", key):
            try:
                if path.read_bytes() != expected:
                    return False
                # Renamed first and then read again: what was put there in between is put back.
                taken = _hidden(path)
                os.rename(path, taken)
            except (FileNotFoundError, NotADirectoryError):
                return False
            try:
                removed = taken.read_bytes() == expected
                if not removed:
                    _publish_new(taken, path)
            finally:
                taken.unlink(missing_ok=True)
            _sync_folder(path.parent)
            return removed

    def local_path(self, key: str) -> Path | None:
        """See ``Files.local_path``."""
        return self._path(key)

    def address(self, key: str) -> str:
        """See ``Files.address``."""
        return str(self._path(key))

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _failure(self, verb: str, key: str, error: OSError) -> StoreError:
        reason = error.strerror or str(error)
        if error.errno in _DENIED:
            fix = "make the folder and all in it writable for this user, or give another one with --root"
            return StoreDenied(f"cannot {verb} '{key}' ({reason})", where=str(self.root), fix=fix)
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        fix = "; free some space there and run the same command again" if full else ""
        return StoreError(f"cannot {verb} '{key}' in {self.root}: {reason}{fix}")

    @contextmanager
    def _failing(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(verb, key, error) from error

    @contextmanager
    def _temporary(self, path: Path, data: bytes) -> Iterator[Path]:
        """A complete, synced, hidden copy of ``data`` next to ``path``; always removed at the end."""
        _make_folder(path.parent)
        self._tidy(path.parent)
        temporary = _hidden(path)
        try:
            # Not tempfile.mkstemp: its mode 0600 would shut out those who share the results folder.
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()

    def _walk(self, folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
        """All visible files under ``folder``; folders that vanish meanwhile, and links in a circle, are skipped.

        Args:
            folder: Where to begin.
            above: The real paths of the folders around it; the last one is ``folder`` itself.
        """
        try:
            entries = [*os.scandir(folder)]
        except (FileNotFoundError, NotADirectoryError):
            return
        above = above or (os.path.realpath(folder),)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            linked = entry.is_symlink()
            real = os.path.realpath(entry.path) if linked else os.path.join(above[-1], entry.name)
            # A link to itself is reported as neither file nor folder, with an error.
            if linked and (real in above or above[0].startswith(f"{real.rstrip('/')}/") or os.path.islink(real)):
                if entry.path not in self._circles:
                    self._circles.add(entry.path)
                    logger.warning(
                        "the link %s points to a folder that contains it and is skipped; remove it", entry.path
                    )
            elif entry.is_dir():
                yield from self._walk(Path(entry.path), (*above, real))
            else:
                yield Path(entry.path)

    def _tidy(self, folder: Path) -> None:
        """Remove what killed writers left in ``folder``: once per folder, since a scan at every write would be slow."""
        if folder in self._tidied:
            return
        self._tidied.add(folder)
        for entry in os.scandir(folder):
            if entry.name.startswith(".") and entry.name.endswith(_TEMP_SUFFIX):
                mark = ["", *entry.name.split(".")][-3]
                with suppress(FileNotFoundError):
                    if mark_gone(mark) or time.time() - entry.stat().st_mtime > STALE_TEMP_S:
                        os.unlink(entry.path)


def _hidden(path: Path) -> Path:
    """A name next to ``path`` that nothing lists, and that identifies the process it belongs to."""
    return path.with_name(f".{path.name}.{own_mark(os.getpid())}.{secrets.token_hex(4)}{_TEMP_SUFFIX}")


def _make_folder(folder: Path) -> None:
    """``mkdir -p`` that survives a power cut: every new folder's name is synced into its parent."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish_new(temporary: Path, path: Path) -> bool:
    """Give the complete file ``temporary`` the name ``path`` unless it exists; returns whether it did."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
    else:
        return True
    # A filesystem without hard links (exFAT, some network mounts): the creators in one folder take turns instead.
    with _turn(path.with_name(".create.lock")):
        if path.exists():
            return False
        os.replace(temporary, path)
        return True


@contextmanager
def _turn(lock: Path) -> Iterator[None]:
    """Hold a file lock: only one of the processes and threads that use this folder holds it.

    Never removed: a lock on a removed file protects nothing.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _flock(descriptor, lock)
        yield
    finally:
        # Closing alone would leave the lock with a child that was forked meanwhile.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _flock(descriptor: int, path: Path) -> None:
    """Lock, but do not wait forever: a lock is held for milliseconds, unless its process is suspended."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreError(f"{path} has been locked by another process for {LOCK_TIMEOUT_S:.0f} s") from None
            time.sleep(0.01)
