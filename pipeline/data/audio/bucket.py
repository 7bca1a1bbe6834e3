"""Audio under a prefix in a bucket, one object per file; it waits out outages like the rest of ``pipeline.store``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from pipeline.data.audio.source import AudioSource, check_size, is_hidden
from pipeline.store.base import check_key
from pipeline.store.s3_client import THREADS, Connection, body_of, s3_connection, split_address, tells_md5
from pipeline.store.s3_failures import FAILURES, MISSING, Damaged, code_of
from sept_core.errors import InputError

__all__ = ["BucketAudio"]


class BucketAudio(AudioSource):
    """The objects under an address in S3; see `open_audio`.

    Args:
        uri: ``s3://bucket/prefix``, or a whole bucket.
        known: Whether another process has reached the server already; then this one waits for it from the beginning.

    Raises:
        InputError: This is not such an address.
    """

    threads = THREADS

    def __init__(self, uri: str, known: bool = False) -> None:
        super().__init__(uri.rstrip("/"))
        self._bucket, prefix = split_address(uri)
        self._prefix = f"{prefix}/" if prefix else ""
        self._known = known

    def __reduce__(self) -> tuple[object, ...]:
        return (BucketAudio, (self.uri, self._connection().known))

    def read(self, path: str) -> bytes:
        """See ``AudioSource.read``."""
        try:
            name = self._prefix + check_key(path)
        except ValueError:
            raise self._missing(path) from None
        connection = self._connection()

        def get() -> bytes:
            answer = connection.client.get_object(Bucket=self._bucket, Key=name)
            size = answer["ContentLength"]
            try:
                check_size(size, path, self.uri)
            except InputError:
                answer["Body"].close()
                raise
            data = body_of(answer)
            if len(data) != size or not _matches(data, answer):
                raise Damaged(f"{len(data)} of {size} bytes, or they do not match its ETag")
            return data

        with self._failing(connection, path):
            try:
                return connection.ask(get)
            except ClientError as error:
                if code_of(error) in MISSING:
                    raise self._missing(path) from error
                raise

    def sizes(self) -> Mapping[str, int]:
        """See ``AudioSource.sizes``."""
        connection = self._connection()
        with self._failing(connection, "."):
            objects = connection.list_objects(self._bucket, self._prefix)
        found: dict[str, int] = {}
        for one in objects:
            path = one["Key"].removeprefix(self._prefix)
            # Some tools create empty objects in place of folders.
            if not path or path.endswith("/") or (is_hidden(path) and ".." not in path.split("/")):
                continue
            try:
                found[check_key(path)] = one["Size"]
            except ValueError:
                raise InputError(f"'{path}' cannot be a file's name here", where=self.uri, fix="rename it") from None
        if not found:
            raise InputError("there is nothing at this address", where=self.uri, fix="check the address")
        return found

    def _connection(self) -> Connection:
        connection = s3_connection()
        connection.known |= self._known
        return connection

    @contextmanager
    def _failing(self, connection: Connection, path: str) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            raise connection.failure(f"cannot read '{path}' in {self.uri}", error) from error


def _matches(data: bytes, answer: Mapping[str, Any]) -> bool:
    """Whether an object's bytes match its ETag, if that is their MD5."""
    return not tells_md5(answer["ETag"], answer) or hashlib.md5(data, usedforsecurity=False).hexdigest() == answer[
        "ETag"
    ].strip('"')
