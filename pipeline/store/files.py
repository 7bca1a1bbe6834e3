"""Where bytes live: a folder (or, later, a bucket) behind one small door.

Everything that the store keeps goes through ``Files``. The door promises three things and the rest of the store relies
on nothing else: a reader sees a whole object or none, ``create`` has one winner, and what was written stays written.
A backend passes when the conformance suite in the tests passes on it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from sept_core.errors import InputError, SeptError

__all__ = ["Files", "LocalFiles", "StoreError", "check_key", "open_files"]

# A writer that is still alive has never needed this long for one object; older leftovers belong to killed writers.
STALE_TEMP_S = 3600.0
_TEMP_SUFFIX = ".tmp"
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


# ``Files.list`` hides the builtin's name inside its classes.
Keys = list[str]


class StoreError(SeptError):
    """The store's storage failed (disk full, no permission, input/output error); names the object and the reason."""


class Files(Protocol):
    """Objects by key. A key is a relative posix path such as ``sweeps/quickstart/spec.yaml``.

    Contract of every backend:

    * ``write`` and ``create`` publish atomically: a reader gets the old bytes, the new bytes or ``FileNotFoundError``,
      never a part, even if the writer is killed at any moment. When they return, the object survives a power cut.
    * Of any number of concurrent ``create`` calls for one key exactly one returns True.
    * Methods may be called from several threads and processes at once.
    * Failures of the storage itself raise ``StoreError``; a malformed key raises ``ValueError``.
    """

    def read(self, key: str) -> bytes:
        """The bytes of an object; ``FileNotFoundError`` when there is none."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Publish an object, replacing one that is there."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Publish an object only if there is none; returns whether it was this call that did."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is an object (a folder is none)."""
        ...

    def list(self, prefix: str = "") -> Keys:
        """Sorted keys of all objects under the folder ``prefix``, at any depth; empty when there is no such folder."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""
        ...

    def local_path(self, key: str) -> Path | None:
        """Where the object lies (or would lie) on this machine's disk; None where the backend has no such place."""
        ...


def check_key(key: str) -> str:
    """Return ``key`` if it is a relative posix path without hidden or climbing parts; else raise ``ValueError``."""
    parts = key.split("/")
    if not key or "\\" in key or "\0" in key or any(not part or part.startswith(".") for part in parts):
        raise ValueError(f"not a key of the store: {key!r}")
    return key


class LocalFiles:
    """``Files`` in a local folder. The folder is made by the first write, so that reading never leaves a trace.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._tidied: set[Path] = set()

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
            # Asked first only to spare the disk the temporary file; the link below is what decides.
            if path.exists():
                return False
            with self._temporary(path, data) as temporary:
                if not _publish_new(temporary, path):
                    return False
                _sync_folder(path.parent)
                return True

    def exists(self, key: str) -> bool:
        """See ``Files.exists``."""
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> Keys:
        """See ``Files.list``."""
        folder = self._path(prefix.rstrip("/")) if prefix.rstrip("/") else self.root
        with self._failing("list", prefix):
            return sorted(path.relative_to(self.root).as_posix() for path in _walk(folder))

    def delete(self, key: str) -> None:
        """See ``Files.delete``."""
        path = self._path(key)
        with self._failing("delete", key), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            _sync_folder(path.parent)

    def local_path(self, key: str) -> Path | None:
        """See ``Files.local_path``."""
        return self._path(key)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _failure(self, verb: str, key: str, error: OSError) -> StoreError:
        reason = error.strerror or str(error)
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        mend = "; free some space there and run the same command again" if full else ""
        return StoreError(f"cannot {verb} '{key}' in {self.root}: {reason}{mend}")

    @contextmanager
    def _failing(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(verb, key, error) from error

    @contextmanager
    def _temporary(self, path: Path, data: bytes) -> Iterator[Path]:
        """A complete, synced, invisible copy of ``data`` beside ``path``; gone at the end, whatever happened."""
        _make_folder(path.parent)
        self._tidy(path.parent)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_TEMP_SUFFIX}")
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

    def _tidy(self, folder: Path) -> None:
        """Remove what killed writers left in ``folder``: once per folder, for a scan at every write would add up."""
        if folder in self._tidied:
            return
        self._tidied.add(folder)
        for entry in os.scandir(folder):
            if entry.name.startswith(".") and entry.name.endswith(_TEMP_SUFFIX):
                with suppress(FileNotFoundError):
                    if time.time() - entry.stat().st_mtime > STALE_TEMP_S:
                        os.unlink(entry.path)


def open_files(uri: str | Path) -> Files:
    """Open the folder that a path or a ``file://`` address names; it need not exist yet.

    Raises:
        InputError: The address is of another kind, or a file stands where the folder should be.
    """
    text = str(uri)
    parts = urlsplit(text)
    if isinstance(uri, str) and "://" in text:
        if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
            raise InputError(f"cannot keep results at '{text}'", mend="give a folder or a file:// address")
        text = unquote(parts.path)
    if not text:
        raise InputError("the results folder has an empty name", mend="give a folder")
    root = Path(text).expanduser().absolute()
    if root.exists() and not root.is_dir():
        raise InputError(f"'{root}' is a file, not a folder", mend="give a folder for the results")
    return LocalFiles(root)


def _walk(folder: Path) -> Iterator[Path]:
    """All visible files under ``folder``; folders that vanish meanwhile are skipped."""
    try:
        entries = [*os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path))
        else:
            yield Path(entry.path)


def _make_folder(folder: Path) -> None:
    """``mkdir -p`` that lasts: every new folder's name is synced into its parent."""
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
    """Give the complete file ``temporary`` the name ``path`` unless something has it; returns whether it got it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
    else:
        return True
    # A filesystem without hard links (exFAT, some network mounts): the creators of one folder take turns instead.
    with open(path.with_name(".create.lock"), "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return False
        os.replace(temporary, path)
        return True
