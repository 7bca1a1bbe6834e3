"""Opens the place where results are stored, a folder or a bucket, by its address.

    files = open_files("sept-runs")
    files = open_files("s3://bucket/prefix")

`protocol.Files` states what an opened store promises.
"""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from shlex import quote
from urllib.parse import unquote, urlsplit

from pipeline.store.base import Files, Keys, StoreAway, StoreError, check_key
from pipeline.store.local import STALE_TEMP_S, LocalFiles
from pipeline.text import DEFAULT_ROOT
from sept_core.errors import InputError

__all__ = [
    "STALE_TEMP_S",
    "Files",
    "Keys",
    "LocalFiles",
    "StoreAway",
    "StoreError",
    "check_key",
    "check_writable",
    "is_remote",
    "local_folder",
    "open_files",
    "root_option_of",
]


def is_remote(root: str | Path) -> bool:
    """Whether ``root`` is a bucket rather than a folder."""
    return isinstance(root, str) and root.startswith("s3://")


def local_folder(root: str | Path) -> Path:
    """The local folder for what accompanies results: MLflow's database, and a language model's answers.

    Returns:
        The results folder itself, absolute; for results in a bucket ``sept-runs`` in the current folder.

    Raises:
        InputError: As `open_files`.
    """
    return Path(open_files("sept-runs" if is_remote(root) else root).address("x")).parent


def check_writable(root: str | Path) -> None:
    """Check that a folder can be written to or created; a bucket is not checked.

    Raises:
        InputError: It cannot.
    """
    if is_remote(root):
        return
    folder = Path(open_files(root).address("x")).parent
    there = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        # By writing: permissions alone show neither read-only disks nor what an administrator may do.
        with tempfile.TemporaryFile(dir=there):
            return
    except OSError as error:
        if error.errno == errno.ENOSPC:
            # There may be room again when it is needed; if not, that is reported then.
            return
        reason = error.strerror or str(error)
        fix = f"make {there} writable, or give another folder"
        raise InputError(f"cannot be written to ({reason})", where=str(root), fix=fix) from error


def open_files(uri: str | Path, *, known: bool = False) -> Files:
    """Open the folder or bucket that a path, a ``file://`` or an ``s3://`` address names.

    A folder need not exist yet; a bucket must. No request is made here: the first method that makes one reports a
    bucket that cannot be reached.

    Args:
        uri: The address.
        known: Whether another process has used it already; then this one waits for a server that does not answer.

    Raises:
        InputError: The address is of another kind, or a file is in the folder's place.
    """
    text = str(uri)
    if is_remote(uri):
        from pipeline.store.s3 import S3Files

        return S3Files.at(text, known)
    if text.startswith("s3:"):
        # `Path` has reduced the two slashes to one; nobody means a folder of this name.
        raise InputError(f"'{text}' is not an S3 address", fix="give s3://BUCKET or s3://BUCKET/PREFIX")
    parts = urlsplit(text)
    if isinstance(uri, str) and "://" in text:
        if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
            raise InputError(f"cannot keep results at '{text}'", fix="give a folder or an s3://BUCKET/PREFIX address")
        text = unquote(parts.path)
    if not text:
        raise InputError("the results folder has an empty name", fix="give a folder")
    root = Path(text).expanduser().absolute()
    if root.exists() and not root.is_dir():
        raise InputError(f"'{root}' is a file, not a folder", fix="give a folder for the results")
    return LocalFiles(root)


def root_option_of(files: Files) -> str:
    """The option that names this place in a suggested command; empty for the default folder."""
    root = files.address("trials").removesuffix("/trials")
    return "" if root == str(Path(DEFAULT_ROOT).absolute()) else f" --root {quote(root)}"
