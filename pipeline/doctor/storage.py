"""Checks the store: reads, writes, conditional writes, its clock. Whatever is written there is removed again."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime

from pipeline.doctor.checks import Check, failed
from pipeline.store import Files, LocalFiles, StoreError, is_remote, open_files

__all__ = ["CLOCK_RED_S", "CLOCK_YELLOW_S", "check_store"]

CLOCK_YELLOW_S, CLOCK_RED_S = 10.0, 300.0
"""How many seconds two clocks may differ: times of reports become misleading, and S3 refuses from 15 minutes."""

_CONDITIONAL = "use S3 itself or a server that honours If-Match and If-None-Match, such as SeaweedFS"
_SET_CLOCK = "set the clock: timedatectl set-ntp true"


def check_store(root: str) -> Sequence[Check]:
    """Check the store at an address.

    Raises:
        InputError: This is not such an address.
    """
    return _bucket(root) if is_remote(root) else _folder(root)


def _folder(root: str) -> Sequence[Check]:
    files = open_files(root)
    assert isinstance(files, LocalFiles)
    folder = files.root
    if not folder.exists():
        there = next(path for path in folder.parents if path.exists())
        if os.access(there, os.W_OK | os.X_OK):
            return [Check("store", "green", f"{folder} does not exist yet and can be created")]
        return [Check("store", "red", f"{folder} cannot be created: {there} cannot be written", "give another --root")]
    name = f"doctor/{secrets.token_hex(8)}"
    try:
        checks = _exercise(files, f"{name}/probe", root)
        # By the file's time, which a network drive takes from its server.
        key = f"{name}/clock"
        before = time.time()
        files.write(key, b"sept doctor")
        middle = (before + time.time()) / 2
        checks.append(_clock((folder / key).stat().st_mtime - middle, 0.0))
        return checks
    except StoreError as error:
        return [failed("store: read and write", error, f"make {folder} writable, or give another --root")]
    finally:
        shutil.rmtree(folder / name, ignore_errors=True)
        with suppress(OSError):
            (folder / "doctor").rmdir()


def _bucket(root: str) -> Sequence[Check]:
    from pipeline.store.s3 import S3Files
    from pipeline.store.s3_client import Connection, make_client, s3_connection, split_address

    bucket, prefix = split_address(root)
    # Reports invalid settings now; and the client waits less than a sweep's.
    encryption = s3_connection().encryption
    connection = Connection(make_client(attempts=1, connect_s=3.0, read_s=5.0), 0.0, encryption)
    files = S3Files(connection, bucket, prefix)
    key = f"doctor/{secrets.token_hex(8)}"
    fix = "check AWS_ENDPOINT_URL and the credentials; infra/s3-policy.json lists what they need"
    clock = _bucket_clock(connection.client, bucket)
    try:
        checks = _exercise(files, key, root)
    except StoreError as error:
        checks = [failed("store: read and write", error, fix)]
    finally:
        with suppress(StoreError):
            files.delete(key)
    return [*checks, *([clock] if clock is not None else [])]


def _exercise(files: Files, key: str, root: str) -> list[Check]:
    """Write, read, list, write conditionally, delete: everything that a sweep needs of a store.

    Raises:
        StoreError: One of these fails.
    """
    data = b"written by sept doctor, and removed at once"
    began = time.monotonic()
    created = files.create(key, data)
    same, listed = files.read(key) == data, key in files.list(key.rpartition("/")[0])
    took = 1000 * (time.monotonic() - began) / 3
    if not (created and same and listed):
        what = "a new object is not created" if not created else "what is read or listed differs from what was written"
        return [Check("store: read and write", "red", f"{root}: {what}", _CONDITIONAL)]
    checks = [Check("store: read and write", "green", f"{root}, {took:.0f} ms per request")]
    # A server that ignores conditions answers both of these as if the conditions held.
    twice = files.create(key, data + b", twice")
    try:
        kept = not twice and files.replace(key, data, data + b", in its place")
        wrong = files.replace(key, b"something else", data)
    except StoreError as error:
        if "ignores conditional" not in str(error):
            raise
        twice, kept, wrong = True, False, True
    files.delete(key)
    if not (twice or wrong or kept):
        said = "the server refuses conditional writes whose condition holds: a driver could not keep its lease"
        return [*checks, Check("store: conditional writes", "red", said, _CONDITIONAL)]
    if twice or wrong:
        said = "the server ignores conditional writes: two drivers of one sweep would not notice each other"
        return [*checks, Check("store: conditional writes", "red", said, _CONDITIONAL)]
    said = "a second creation is refused, and so is a write that expects other bytes"
    return [*checks, Check("store: conditional writes", "green", said)]


def _bucket_clock(client: object, bucket: str) -> Check | None:
    """Compare the Date of an answer with this machine's clock; None if there is no answer."""
    from botocore.exceptions import BotoCoreError, ClientError

    before = time.time()
    try:
        answer = client.head_bucket(Bucket=bucket)  # type: ignore[attr-defined]
    except ClientError as error:
        answer = error.response  # a refusal has a date too, in particular one because of the clock
    except BotoCoreError:
        return None
    middle = (before + time.time()) / 2
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        # Whole seconds, rounded down.
        return _clock(parsedate_to_datetime(date).timestamp() + 0.5 - middle, 0.5)
    except (TypeError, ValueError):
        return Check("store: clock", "yellow", "the server does not report the time", "check its clock yourself")


def _clock(skew: float, within: float) -> Check:
    about = f"{abs(skew):.0f} s" if abs(skew) >= 1 else "less than a second"
    if abs(skew) - within <= CLOCK_YELLOW_S:
        return Check("store: clock", "green", f"differs from this machine's by {about}")
    said = f"is {about} {'ahead of' if skew > 0 else 'behind'} this machine's"
    return Check("store: clock", "red" if abs(skew) > CLOCK_RED_S else "yellow", said, f"{_SET_CLOCK} (here and there)")
