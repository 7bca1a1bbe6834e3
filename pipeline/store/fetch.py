"""Downloads files from S3, such as an encoder's weights, to this machine once.

    fetch("s3://bucket/msclap/CLAP_weights_2023.pth")   # a file
    fetch("s3://bucket/gpt2")                           # a folder: every object below it

They are stored under ``$SEPT_CACHE`` (``~/.cache/sept-sweep`` unless set), in a folder named after the address and the
ETags and sizes of the objects: objects that have changed are fetched again, and what was fetched before stays for at
least a day for processes that still read it (see `cache`). Of several processes one fetches and the others wait. A copy
appears complete or not at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pipeline.store.base import StoreError, check_key
from pipeline.store.cache import cache_folder, cache_limit, lock_of, mark_used, remove_leftovers, temporary, trim, turn
from sept_core.errors import InputError

if TYPE_CHECKING:
    from pipeline.store.s3_client import Connection

__all__ = ["cache_folder", "fetch"]

logger = logging.getLogger(__name__)

# Larger downloads are announced on a terminal.
_ANNOUNCED_BYTES = 20_000_000
_CHUNK_BYTES = 1 << 20
_ATTEMPTS = 3


@dataclass(frozen=True)
class _Object:
    """An object to fetch: its key in the bucket, its path in the copy, and which version it is."""

    key: str
    path: str
    etag: str
    size: int


def fetch(address: str) -> Path:
    """The local copy of the file or folder at an ``s3://`` address.

    Returns:
        A file if the address names an object, else the folder with the objects below it. Do not change it: others read
        the same copy.

    Raises:
        InputError: This is not such an address, there is nothing at it, or ``SEPT_CACHE_GB`` is not a number.
        StoreError: The bucket cannot be reached or read, or the cache cannot be written.
    """
    from pipeline.store.s3_client import s3_connection, split_address

    bucket, key = split_address(address)
    if not key:
        raise InputError(f"'{address}' names a whole bucket", fix="give s3://BUCKET/FILE or s3://BUCKET/FOLDER")
    cache_limit()  # a wrong setting is reported before anything is fetched
    connection = s3_connection()
    with _failing(connection, address):
        objects = _objects(connection, bucket, key)
    if not objects:
        raise InputError(f"there is nothing at '{address}'", fix="check the address")
    try:
        folder = _copy(connection, bucket, objects, address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"cannot keep '{address}' in {cache_folder()}: {reason}; SEPT_CACHE names another") from error
    return folder / objects[0].path if objects[0].key == key else folder


def _objects(connection: Connection, bucket: str, key: str) -> list[_Object]:
    """The object with this key, or those below it; sorted."""
    from botocore.exceptions import ClientError

    from pipeline.store.s3_failures import MISSING, code_of

    try:
        head = connection.head(bucket, key)
    except ClientError as error:
        if code_of(error) not in MISSING:
            raise
    else:
        return [_Object(key, key.rpartition("/")[2], head["ETag"], head["ContentLength"])]
    found = [
        _Object(one["Key"], one["Key"].removeprefix(f"{key}/"), one["ETag"], one["Size"])
        for one in connection.list_objects(bucket, f"{key}/")
        if not one["Key"].endswith("/")
    ]
    for one in found:
        try:
            check_key(one.path)
        except ValueError:
            raise InputError(f"'{one.key}' cannot be a file's name here", where=f"s3://{bucket}/{key}") from None
    return sorted(found, key=lambda one: one.key)


def _copy(connection: Connection, bucket: str, objects: list[_Object], address: str) -> Path:
    """The folder with the copies of these versions of the objects, fetched if they are not there."""
    version = json.dumps([[one.path, one.etag, one.size] for one in objects])
    name = f"{_digest(address)}-{_digest(version)}"
    folder = cache_folder() / "s3" / name
    if _is_there(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with turn(folder):
        if folder.is_dir():
            mark_used(folder)
            return folder
        size = sum(one.size for one in objects)
        _announce(f"fetching {address} ({size / 1e6:.1f} MB) to {folder}", size)
        # Leftovers of a killed process; nobody else holds the lock.
        remove_leftovers(folder)
        hidden = temporary(folder)
        hidden.mkdir()
        try:
            with _failing(connection, address):
                for one in objects:
                    _download(connection, bucket, one, hidden / one.path)
            os.rename(hidden, folder)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
        mark_used(folder)
    trim(folder)
    return folder


def _is_there(folder: Path) -> bool:
    """Whether the copy exists; if so, it stays for a day."""
    if not lock_of(folder).exists():
        return folder.is_dir()
    try:
        with turn(folder, shared=True):
            mark_used(folder)
            return folder.is_dir()
    except OSError:
        # A read-only cache is never trimmed.
        return folder.is_dir()


def _download(connection: Connection, bucket: str, one: _Object, target: Path) -> None:
    """Fetch one object, in exactly the version that was listed.

    Raises:
        Exception: Any of `s3_failures.FAILURES`.
    """
    from pipeline.store.s3_failures import Damaged

    target.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_ATTEMPTS):
        with open(target, "wb") as file:
            if _fill(connection, bucket, one, file):
                return
    raise Damaged(f"'{one.key}' does not match its size and ETag")


def _fill(connection: Connection, bucket: str, one: _Object, file: BinaryIO) -> bool:
    """Write an object to an empty file, resuming if an answer breaks off; returns whether it matches its ETag."""
    from pipeline.store.s3_client import body_of, tells_md5
    from pipeline.store.s3_failures import Damaged

    digest, is_md5 = hashlib.md5(usedforsecurity=False), False

    def go_on() -> None:
        nonlocal is_md5
        began = file.tell()
        answer = connection.client.get_object(Bucket=bucket, Key=one.key, IfMatch=one.etag, Range=f"bytes={began}-")
        is_md5 = tells_md5(one.etag, answer)
        try:
            while chunk := body_of(answer, _CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
        except Damaged:
            # Only attempts that yield nothing count.
            if file.tell() == began:
                raise

    while file.tell() < one.size:
        connection.ask(go_on)
    file.flush()
    os.fsync(file.fileno())
    return file.tell() == one.size and (not is_md5 or digest.hexdigest() == one.etag.strip('"'))


@contextmanager
def _failing(connection: Connection, address: str) -> Iterator[None]:
    from pipeline.store.s3_failures import FAILURES

    try:
        yield
    except FAILURES as error:
        raise connection.failure(f"cannot fetch '{address}'", error) from error


def _announce(line: str, size: int) -> None:
    if size >= _ANNOUNCED_BYTES and sys.stderr.isatty():
        sys.stderr.write(f"{line}\n")
    else:
        logger.info("%s", line)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
