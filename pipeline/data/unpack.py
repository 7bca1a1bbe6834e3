"""Unpacks archives of unknown origin without trusting them."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections import Counter
from lzma import LZMAError
from pathlib import Path, PurePosixPath, PureWindowsPath

from sept_core.errors import InputError

__all__ = ["BROKEN", "check_archive", "is_safe", "unpack"]

BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
    MemoryError,
)
"""The library's exceptions for an archive or a member that is damaged or misstates its content."""

# NSynth has 306,043 notes.
_MOST_MEMBERS = 1_000_000
# Deflate reaches a factor of 1,030; a whole set of recordings, silent ones included, stays far below it.
_MOST_TIMES, _FROM_BYTES = 100, 1_000_000_000
_HEADER = 30  # bytes before a member's name
_FIX = "don't use it"


def is_safe(name: str) -> bool:
    """Whether a relative path stays in its folder, on any system."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    return bool(posix.parts) and not (
        posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts or "\0" in name
    )


def check_archive(archive: zipfile.ZipFile, where: str) -> None:
    """Refuse an archive that unpacks to far more bytes than it has.

    Args:
        archive: The archive.
        where: Its name in errors.

    Raises:
        InputError: It has too many members, members that share bytes, or unpacks to more than a hundred times its size.
    """
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        what = f"has {len(members):,} members, more than the {_MOST_MEMBERS:,} that a data set may have"
        raise InputError(what, where=where, fix=_FIX)
    # In the order of their positions; the table of contents comes last.
    ordered = sorted(members, key=lambda member: member.header_offset)
    ends = [*(member.header_offset for member in ordered[1:]), archive.start_dir]
    for member, end in zip(ordered, ends, strict=True):
        if member.header_offset + _HEADER + member.compress_size > end:
            raise InputError(f"'{member.filename}' overlaps with what follows it", where=where, fix=_FIX)
    packed = sum(member.compress_size for member in members)
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(_FROM_BYTES, _MOST_TIMES * packed):
        what = f"holds {packed / 1e6:.1f} MB that unpack to {unpacked / 1e9:.1f} GB"
        raise InputError(what, where=where, fix=_FIX)


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip archive into a folder.

    Everything is checked before anything is written. Files appear complete or not at all; existing files with the right
    size and checksum are left alone.

    Returns:
        The number of files in it, without the resource forks that macOS adds.

    Raises:
        InputError: It is not a sound zip archive, contains links, conflicting names or paths that leave the folder, is
            refused by `check_archive`, or needs more room than there is.
        OSError: It cannot be read, or the files cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            check_archive(source, str(archive))
            members = [member for member in source.infolist() if not member.is_dir() and _is_wanted(member.filename)]
            _check(archive, members, folder)
            for member in members:
                _extract(source, member, folder / member.filename)
    except BROKEN as error:
        raise InputError(
            f"is not a sound zip archive ({error})", where=str(archive), fix="download it again"
        ) from error
    return len(members)


def _is_wanted(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" not in parts and not (parts and parts[-1] in (".DS_Store", "Thumbs.db"))


def _check(archive: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    names = [PurePosixPath(member.filename) for member in members]
    files, folders = set(names), {parent for name in names for parent in name.parents}
    if len(files) < len(names) or files & folders:
        twice = next(name for name, times in Counter(names).items() if times > 1 or name in folders)
        raise InputError(f"'{twice}' is in it twice", where=str(archive), fix=_FIX)
    for member in members:
        if not is_safe(member.filename):
            raise InputError(f"'{member.filename}' would leave its folder", where=str(archive), fix=_FIX)
        # The upper half is the Unix mode, if the archive was made on Unix.
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"'{member.filename}' is a link", where=str(archive), fix=_FIX)
        if member.flag_bits & 1:
            raise InputError(f"'{member.filename}' is encrypted", where=str(archive), fix="unpack it yourself")
        if os.path.realpath(folder / member.filename) == os.path.realpath(archive):
            raise InputError("contains a file with its own name", where=str(archive), fix=_FIX)
    wanted = sum(member.file_size for member in members if not _is_there(member, folder / member.filename))
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise InputError(
            f"needs {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free", where=str(archive), fix="make room"
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
        # Read to the end, where zipfile compares the checksum.
        with source.open(member) as packed, partial.open("wb") as stream:
            shutil.copyfileobj(packed, stream, 1 << 20)
        if partial.stat().st_size != member.file_size:
            raise zipfile.BadZipFile(f"'{member.filename}' does not have the size that it states")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
