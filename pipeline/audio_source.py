"""Where audio lies: a folder, a zip, a bucket, or a zip in a bucket; read alike, wherever it is.

    source = open_audio("s3://bucket/esc10")
    with source.tree() as folder:
        manifest = read_layout("ESC10", folder, digests=source.digests)
    data = source.read(manifest.clips[0].path)

A process that is to read it too opens it by its ``uri``.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.store.cache import cache_folder
from pipeline.store.files import is_remote, open_files
from pipeline.store.places import fetch
from sept_core.datasets.layouts.base import AUDIO_SUFFIXES
from sept_core.errors import InputError

__all__ = ["AudioSource", "open_audio"]

Progress = Callable[[int, int], None]

# What a table of a data set takes at most; NSynth's is the largest.
_TABLE_BYTES = 500_000_000
_MEMBER_BYTES = 2_000_000_000


def open_audio(place: str | Path) -> AudioSource:
    """The audio at a folder's path, a zip's path, or an ``s3://`` address of either. Nothing is read here.

    Raises:
        InputError: An address of another kind.
    """
    uri = str(place)
    if is_remote(uri):
        return _RemoteZip(uri) if uri.lower().endswith(".zip") else _Bucket(uri)
    if "://" in uri:
        raise InputError(f"cannot read audio at '{uri}'", mend="give a folder, a zip, or an s3:// address of either")
    path = Path(uri).expanduser()
    return _Zip(str(path)) if path.suffix.lower() == ".zip" and not path.is_dir() else _Folder(str(path))


class AudioSource(ABC):
    """Audio files by their paths, relative and with ``/`` between folders. May be used by several threads at once.

    Attributes:
        uri: What `open_audio` opens it by.
    """

    threads = 8  # files that are read at a time

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The bytes of a file.

        Raises:
            InputError: There is none, or it cannot be read.
            StoreError: The bucket cannot be reached.
        """

    @abstractmethod
    def tree(self) -> Any:
        """A context with a local folder (``Path``) that is laid out like the source.

        Where the files lie elsewhere, tables in it are real and audio files are empty: `digests` tells what they hold.
        """

    def digests(self, paths: Sequence[str], progress: Progress | None = None) -> dict[str, str]:
        """SHA-256 of each file, as 64 hex digits.

        Args:
            paths: Which.
            progress: Called with (files done, files in all).

        Raises:
            InputError: As `read`.
            StoreError: As `read`.
        """
        return self._hashed(paths, progress)

    def _hashed(self, paths: Sequence[str], progress: Progress | None = None, done: int = 0) -> dict[str, str]:
        found = {}
        with ThreadPoolExecutor(self.threads, thread_name_prefix="audio") as pool:
            for path, digest in zip(paths, pool.map(self._digest, paths), strict=True):
                found[path] = digest
                if progress is not None:
                    progress(done + len(found), done + len(paths))
        return found

    def _digest(self, path: str) -> str:
        return hashlib.sha256(self.read(path)).hexdigest()

    def _missing(self, path: str) -> InputError:
        return InputError("no such audio file", where=f"{self.uri.rstrip('/')}/{path}", mend="check the place given")


class _Folder(AudioSource):
    def read(self, path: str) -> bytes:
        file = Path(self.uri, path)
        try:
            return file.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise self._missing(path) from None
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror or error})", where=str(file)) from error

    @contextmanager
    def tree(self) -> Iterator[Path]:
        yield Path(self.uri)


class _Shadowed(AudioSource):
    """A source whose files lie elsewhere: its tree is a temporary folder."""

    @abstractmethod
    def _sizes(self) -> dict[str, int]:
        """Bytes of each file, by path."""

    @contextmanager
    def tree(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="sept-audio-") as name:
            root = Path(name)
            for path, size in self._sizes().items():
                file = root / path
                file.parent.mkdir(parents=True, exist_ok=True)
                audio = PurePosixPath(path).suffix.lower() in AUDIO_SUFFIXES
                file.write_bytes(b"" if audio or size > _TABLE_BYTES else self.read(path))
            yield root


class _Zip(_Shadowed):
    def read(self, path: str) -> bytes:
        member = self._members.get(path)
        if member is None:
            raise self._missing(path)
        try:
            return self._archive.read(member)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
            raise InputError(f"cannot be unpacked ({error})", where=f"{self.uri}/{path}") from error

    def _sizes(self) -> dict[str, int]:
        return {path: member.file_size for path, member in self._members.items()}

    def _file(self) -> Path:
        return Path(self.uri)

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self._file())
        except (zipfile.BadZipFile, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InputError(f"cannot be read as a zip ({reason})", where=self.uri) from error

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        for member in self._archive.infolist():
            name = member.filename
            if member.is_dir() or name.startswith("__MACOSX/"):
                continue
            fault = _fault(member) or ("it stands there twice" if name in found else "")
            if fault:
                raise InputError(f"'{name}' cannot be unpacked: {fault}", where=self.uri, mend="pack the zip anew")
            found[name] = member
        return found


class _RemoteZip(_Zip):
    def _file(self) -> Path:
        return fetch(self.uri)


def _fault(member: zipfile.ZipInfo) -> str:
    """Why a member of a zip is not read; empty where it may be."""
    pure = PurePosixPath(member.filename)
    if pure.is_absolute() or ".." in pure.parts or "\\" in member.filename:
        return "its path leads out of the zip"
    if member.flag_bits & 1:
        return "it is encrypted"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "it is a link"
    if member.file_size > _MEMBER_BYTES:
        return f"it has {member.file_size / 1e9:.1f} GB"
    return ""


class _Bucket(_Shadowed):
    threads = 32

    def read(self, path: str) -> bytes:
        try:
            return self._files.read(path)
        except (FileNotFoundError, ValueError):
            raise self._missing(path) from None

    def digests(self, paths: Sequence[str], progress: Progress | None = None) -> dict[str, str]:
        """As ``AudioSource.digests``; what was read before, by this machine, and has not changed is not read again."""
        known = self._remembered()
        tags = {path: etag for path, (etag, _) in self._objects.items()}
        found = {path: known[path][1] for path in paths if path in known and known[path][0] == tags.get(path)}
        found |= self._hashed([path for path in paths if path not in found], progress, len(found))
        self._remember({path: [tags.get(path, ""), digest] for path, digest in found.items()})
        return {path: found[path] for path in paths}

    def _sizes(self) -> dict[str, int]:
        return {path: size for path, (_, size) in self._objects.items()}

    @cached_property
    def _files(self) -> Any:
        return open_files(self.uri)

    @cached_property
    def _objects(self) -> dict[str, tuple[str, int]]:
        """ETag and size of each object, by path."""
        from pipeline.store.s3_client import connect, split_address
        from pipeline.store.s3_failures import FAILURES

        bucket, prefix = split_address(self.uri)
        start = f"{prefix}/" if prefix else ""
        connection = connect()
        try:
            listed = connection.list_objects(bucket, start)
        except FAILURES as error:
            raise connection.failure(f"cannot list '{self.uri}'", error) from error
        if not listed:
            raise InputError("nothing lies there", where=self.uri, mend="check the address")
        return {
            path: (one["ETag"], one["Size"])
            for one in listed
            if (path := one["Key"].removeprefix(start)) and not path.endswith("/") and _plain(path)
        }

    @property
    def _memory(self) -> Path:
        return cache_folder() / "digests" / f"{hashlib.sha256(self.uri.encode()).hexdigest()[:16]}.json"

    def _remembered(self) -> dict[str, list[str]]:
        try:
            content: dict[str, list[str]] = json.loads(self._memory.read_text(encoding="utf-8"))
            return {path: entry for path, entry in content.items() if len(entry) == 2}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _remember(self, entries: dict[str, list[str]]) -> None:
        # It only spares work: a disk that is full is no reason to stop.
        with suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._memory.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps(self._remembered() | entries), encoding="utf-8")
            temporary.replace(self._memory)


def _plain(path: str) -> bool:
    """Whether an object's name is a path that may be made in a folder, and not a hidden file."""
    parts: Iterable[str] = path.split("/")
    return "\\" not in path and all(part and not part.startswith(".") for part in parts)
