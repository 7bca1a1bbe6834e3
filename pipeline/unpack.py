"""Archives of unknown origin, unpacked without trusting them."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from sept_core.errors import InputError

__all__ = ["is_safe", "unpack"]


def is_safe(name: str) -> bool:
    """Whether a relative path stays in its folder, on any system."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    return bool(posix.parts) and not (
        posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts or "\0" in name
    )


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip archive into a folder.

    Everything is looked at before anything is written. Files appear whole or not at all, and those that are there
    with the right size and checksum already are left as they are.

    Returns:
        The number of files in it, without the resource forks that macOS adds.

    Raises:
        InputError: It is no sound zip archive, holds links or paths that leave the folder, or needs more room than
            there is.
        OSError: It cannot be read, or the files cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            members = [member for member in source.infolist() if not member.is_dir() and _is_wanted(member.filename)]
            _check(archive, members, folder)
            for member in members:
                _extract(source, member, folder / member.filename)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"is not a sound zip archive ({error})", where=str(archive), mend="download it again"
        ) from error
    return len(members)


def _is_wanted(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" not in parts and not (parts and parts[-1] in (".DS_Store", "Thumbs.db"))


def _check(archive: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    for member in members:
        if not is_safe(member.filename):
            raise InputError(f"'{member.filename}' would leave its folder", where=str(archive), mend="don't use it")
        # The upper half holds the Unix mode, where the archive was made on Unix.
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"'{member.filename}' is a link", where=str(archive), mend="don't use it")
        if member.flag_bits & 1:
            raise InputError(f"'{member.filename}' is encrypted", where=str(archive), mend="unpack it yourself")
    wanted = sum(member.file_size for member in members if not _is_there(member, folder / member.filename))
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise InputError(
            f"needs {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free", where=str(archive), mend="make room"
        )


def _is_there(member: zipfile.ZipInfo, target: Path) -> bool:
    if not target.is_file() or target.stat().st_size != member.file_size:
        return False
    checksum = 0
    with target.open("rb") as stream:
        while block := stream.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum == member.CRC


def _extract(source: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    if _is_there(member, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        # Read to its end, which is when zipfile compares the checksum.
        with source.open(member) as packed, partial.open("wb") as stream:
            shutil.copyfileobj(packed, stream, 1 << 20)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
