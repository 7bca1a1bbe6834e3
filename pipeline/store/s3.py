"""Objects in a bucket, under ``s3://bucket/prefix``, in S3 or any server that speaks its protocol.

S3 guarantees that a put is atomic, that every later read sees it, and that it can depend on the current object
(``If-None-Match``, ``If-Match``). It does not report whether a put whose answer was lost has happened. So every object
carries, as metadata, a token of the call that wrote it (a repeated put that finds its own token has won) and its
sha256, against which every read is checked. Objects that other tools have put there lack both and are accepted as they
are; those that matter carry a digest inside (documents, Parquet parts, checkpoints).

Every object is put by one request, never by a multipart upload, which not every server can make conditional and which
would leave parts behind: so an object has at most 5 GB. ``infra/s3-policy.json`` lists the permissions that the
credentials need.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from pipeline.store.base import Keys, StoreError, check_key
from pipeline.store.s3_client import THREADS, Connection, body_of, s3_connection, split_address
from pipeline.store.s3_failures import FAILURES, MISSING, Damaged, code_of

__all__ = ["S3Files"]

_TOKEN, _SHA256 = "sept-write", "sept-sha256"
_REFUSED = {"PreconditionFailed", "412", *MISSING}
_CONFLICT = {"ConditionalRequestConflict", "OperationAborted", "409"}
_CONFLICT_ATTEMPTS = 8


class S3Files:
    """``Files`` in a bucket.

    Args:
        connection: A connection of `s3_client`.
        bucket: Name of the bucket, which must exist.
        prefix: Prefix of all keys; may be empty.
    """

    def __init__(self, connection: Connection, bucket: str, prefix: str = "") -> None:
        self._connection = connection
        self._client = connection.client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._root = f"s3://{bucket}/{prefix}".rstrip("/")
        self._conditions_proven = False

    @classmethod
    def at(cls, address: str, known: bool = False) -> S3Files:
        """The store at ``s3://bucket/prefix``, with the connection of this process.

        Args:
            address: Where it is.
            known: Whether another process has reached the server already.

        Raises:
            InputError: This is not such an address, or the environment does not allow a connection.
        """
        bucket, prefix = split_address(address)
        connection = s3_connection()
        connection.known |= known
        connection.let_in |= known
        return cls(connection, bucket, prefix)

    def __repr__(self) -> str:
        return f"S3Files({self._root!r})"

    def read(self, key: str) -> bytes:
        """See ``Files.read``."""
        found = self._get(key)
        if found is None:
            raise FileNotFoundError(key)
        return found[0]

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """See ``Files.read_many``."""
        wanted = [*dict.fromkeys(keys)]
        with ThreadPoolExecutor(THREADS, thread_name_prefix="s3") as pool:
            found = zip(wanted, pool.map(self._get, wanted), strict=True)
            return {key: one[0] for key, one in found if one is not None}

    def write(self, key: str, data: bytes) -> None:
        """See ``Files.write``."""
        self._put(key, data, secrets.token_hex(8))

    def create(self, key: str, data: bytes) -> bool:
        """See ``Files.create``."""
        return self._put(key, data, secrets.token_hex(8), IfNoneMatch="*")

    def replace(self, key: str, expected: bytes | None, data: bytes) -> bool:
        """See ``Files.replace``."""
        token = secrets.token_hex(8)
        if expected is None:
            replaced = self._put(key, data, token, IfNoneMatch="*")
        else:
            current = self._get(key)
            if current is None or current[0] != expected:
                return False
            replaced = self._put(key, data, token, IfMatch=current[1])
        if replaced and not self._conditions_proven:
            self._prove_conditions(key, data, token)
        return replaced

    def exists(self, key: str) -> bool:
        """See ``Files.exists``."""
        return self._metadata(key) is not None

    def list(self, prefix: str = "") -> Keys:
        """See ``Files.list``."""
        folder = prefix.rstrip("/")
        start = f"{self._name(folder)}/" if folder else self._prefix
        with self._failing("list", prefix or "."):
            names = [one["Key"] for one in self._connection.list_objects(self._bucket, start)]
        return sorted(key for key in (name.removeprefix(self._prefix) for name in names) if _is_key(key))

    def delete(self, key: str) -> None:
        """See ``Files.delete``."""
        name = self._name(key)
        with self._failing("delete", key):
            self._connection.ask(lambda: self._client.delete_object(Bucket=self._bucket, Key=name))

    def remove(self, key: str, expected: bytes) -> bool:
        """See ``Files.remove``."""
        name, current = self._name(key), self._get(key)
        if current is None or current[0] != expected:
            return False
        request = {"Bucket": self._bucket, "Key": name}
        with self._failing("delete", key):
            try:
                self._connection.ask(lambda: self._client.delete_object(**request, IfMatch=current[1]))
            except ClientError as error:
                # A conflict: another process is writing it at this moment.
                if code_of(error) in _REFUSED | _CONFLICT:
                    return False
                if code_of(error) != "NotImplemented":
                    raise
                self._connection.ask(lambda: self._client.delete_object(**request))
        return True

    def local_path(self, key: str) -> Path | None:
        """See ``Files.local_path``."""
        check_key(key)
        return None

    def address(self, key: str) -> str:
        """See ``Files.address``."""
        return f"{self._root}/{check_key(key)}"

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _get(self, key: str) -> tuple[bytes, str] | None:
        """Bytes and ETag of an object, checked against the digest stored with them; None if there is no object."""
        name = self._name(key)

        def get() -> tuple[bytes, str]:
            answer = self._client.get_object(Bucket=self._bucket, Key=name)
            data = body_of(answer)
            stated = answer["Metadata"].get(_SHA256)
            if stated is not None and stated != hashlib.sha256(data).hexdigest():
                raise Damaged("the content does not match its sha256")
            return data, answer["ETag"]

        with self._failing("read", key):
            try:
                return self._connection.ask(get)
            except ClientError as error:
                if code_of(error) in MISSING:
                    return None
                raise

    def _metadata(self, key: str) -> dict[str, str] | None:
        """The metadata of an object; None if there is no object."""
        name = self._name(key)
        with self._failing("read", key):
            try:
                return dict(self._connection.head(self._bucket, name)["Metadata"])
            except ClientError as error:
                if code_of(error) in MISSING:
                    return None
                raise

    def _put(self, key: str, data: bytes, token: str, **condition: str) -> bool:
        """Put an object; returns whether the condition held, in this or an earlier, unanswered attempt."""
        request: dict[str, Any] = {
            "Bucket": self._bucket,
            "Key": self._name(key),
            "Body": data,
            "ContentMD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
            "Metadata": {_TOKEN: token, _SHA256: hashlib.sha256(data).hexdigest()},
            **self._connection.encryption,
            **condition,
        }
        with self._failing("write", key):
            for attempt in range(_CONFLICT_ATTEMPTS):
                try:
                    self._connection.ask(lambda: self._client.put_object(**request))
                except ClientError as error:
                    if not condition:
                        raise
                    if code_of(error) in _REFUSED:
                        return (self._metadata(key) or {}).get(_TOKEN) == token
                    if code_of(error) not in _CONFLICT:
                        raise
                    time.sleep(0.05 * 2**attempt)
                else:
                    return True
        raise StoreError(f"cannot write '{key}' in {self._root}: others keep writing it; run the same command again")

    def _prove_conditions(self, key: str, data: bytes, token: str) -> None:
        """Check that the server honours conditions: put the same object under false conditions, and under a true one.

        Raises:
            StoreError: It ignores them, so that two drivers of a sweep would not notice each other; or it refuses a put
                that it should accept, so that a driver would believe that another one has taken over.
        """
        for condition in ({"IfNoneMatch": "*"}, {"IfMatch": f'"{"0" * 32}"'}):
            # With another token, since a put that is refused must not find its own token.
            if self._put(key, data, f"{token}-again", **condition):
                raise StoreError(
                    f"the server of {self._root} ignores conditional writes, without which two drivers of one sweep "
                    "would not notice each other; use S3 itself or a server that honours If-Match and If-None-Match"
                )
        found = self._get(key)
        held = found is None or found[0] != data or self._put(key, data, f"{token}-kept", IfMatch=found[1])
        # Unless another writer wrote in between.
        if not held and self._get(key) == found:
            # Otherwise the next command would find the object and could not replace it.
            self.delete(key)
            raise StoreError(
                f"the server of {self._root} refuses conditional writes whose condition holds, as Ceph's gateway of "
                "release 16 does; use S3 itself or a server that honours If-Match and If-None-Match"
            )
        self._conditions_proven = True

    @contextmanager
    def _failing(self, verb: str, key: str) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            raise self._connection.failure(f"cannot {verb} '{key}' in {self._root}", error) from error


def _is_key(key: str) -> bool:
    """Whether a name in the bucket is a key of the store: neither a folder's marker nor hidden."""
    try:
        check_key(key)
    except ValueError:
        return False
    return True
