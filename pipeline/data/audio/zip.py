"""Audio in a zip archive, read without unpacking it; an archive in a bucket is downloaded once."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from pipeline.data.audio.source import AudioSource, check_size, is_hidden
from pipeline.data.unpack import BROKEN, check_archive, is_safe
from sept_core.errors import InputError

__all__ = ["ZipAudio"]


class ZipAudio(AudioSource):
    """A zip archive; see `open_audio`."""

    def read(self, path: str) -> bytes:
        """See ``AudioSource.read``."""
        archive, members = self._opened()
        member = members.get(path)
        if member is None:
            raise self._missing(path)
        try:
            data = archive.read(member)
        except (*BROKEN, OSError) as error:
            raise InputError(
                f"'{path}' is damaged in the archive ({error})", where=self.uri, fix="make or download it again"
            ) from error

        if len(data) != member.file_size:
            what = f"'{path}' is damaged in the archive ({len(data)} bytes instead of the stated {member.file_size})"
            raise InputError(what, where=self.uri, fix="make or download it again")
        return data

    def sizes(self) -> Mapping[str, int]:
        """See ``AudioSource.sizes``."""
        return {path: member.file_size for path, member in self._opened()[1].items()}

    def _opened(self) -> tuple[zipfile.ZipFile, Mapping[str, zipfile.ZipInfo]]:
        file = _fetched(self.uri, os.getpid()) if self.uri.startswith("s3://") else Path(self.uri)
        try:
            state = file.stat()
            # Per process: an open file's position must not be shared with a fork.
            return _open(str(file), self.uri, state.st_mtime_ns, state.st_size, os.getpid())
        except FileNotFoundError as error:
            raise InputError("no such archive", where=self.uri, fix="check the path") from error
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror or error})", where=self.uri) from error


@lru_cache(maxsize=8)
def _fetched(address: str, pid: int) -> Path:
    from pipeline.store.fetch import fetch

    file = fetch(address)
    if not file.is_file():
        raise InputError("is a folder, not an archive", where=address, fix="name it without .zip")
    return file


@lru_cache(maxsize=8)
def _open(
    file: str, uri: str, mtime_ns: int, size: int, pid: int
) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """An archive and its members by path, after checking that all of them are harmless."""
    try:
        archive = zipfile.ZipFile(file)
    except BROKEN as error:
        raise InputError(f"is not a sound zip archive ({error})", where=uri, fix="make or download it again") from error
    members: dict[str, zipfile.ZipInfo] = {}
    try:
        for member in archive.infolist():
            path = member.filename
            if not is_safe(path) or "\\" in path:
                raise InputError(f"'{path}' would leave its folder", where=uri, fix="don't use it")
            path = Path(path).as_posix()
            if member.is_dir() or is_hidden(path):
                continue
            _check(member, path, uri)
            if path in members:
                raise InputError(f"'{path}' is in it twice", where=uri, fix="make the archive again")
            members[path] = member
        check_archive(archive, uri)
    except InputError:
        archive.close()
        raise
    return archive, members


def _check(member: zipfile.ZipInfo, path: str, uri: str) -> None:
    if member.flag_bits & 1:
        raise InputError(f"'{path}' is encrypted", where=uri, fix="unpack it yourself")
    # The upper half is the Unix mode, if the archive was made on Unix.
    if stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"'{path}' is a link", where=uri, fix="put the file itself into the archive")
    # Never more than the stated size is unpacked: a member with more fails its checksum.
    check_size(member.file_size, path, uri)
