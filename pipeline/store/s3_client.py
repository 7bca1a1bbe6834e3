"""The connection to S3: one client per process, which waits out short outages and reports failures in one line.

Endpoint, region and credentials come from where every AWS tool looks for them: ``AWS_ENDPOINT_URL``, ``AWS_REGION``,
``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ``~/.aws``, the machine's own role.
``SEPT_S3_ANONYMOUS=1`` reads public buckets without credentials; ``SEPT_S3_PATIENCE_S`` is how long to wait out an
outage; ``SEPT_S3_SSE`` (``AES256`` or ``aws:kms``, then also ``SEPT_S3_KMS_KEY``) has the server encrypt what is put.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED, exceptions
from botocore.config import Config
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from pipeline.store.base import StoreAway, StoreDenied, StoreError, check_key
from pipeline.store.s3_credentials import explain_setup
from pipeline.store.s3_failures import (
    FAILURES,
    MISSING,
    Damaged,
    cannot_encrypt,
    code_of,
    explain,
    is_away,
    is_denied,
    is_expired,
    is_locked_out,
    line_of,
)
from pipeline.store.settings import number_setting
from sept_core.errors import InputError

__all__ = ["THREADS", "Connection", "body_of", "make_client", "s3_connection", "split_address", "tells_md5"]

logger = logging.getLogger(__name__)

# Concurrent requests.
THREADS = 32

# A server that has never answered is given up after about 15 s if no connection succeeds, and after a minute and a half
# if it accepts connections but does not answer. botocore's waits between attempts double, from 1 s if the server asks
# to slow down.
CONNECT_S = 3.0
READ_S = 15.0
ATTEMPTS = 6
_DAMAGED_ATTEMPTS = 5
# Seconds to wait for a server that has answered before: a restart, a failing network.
PATIENCE_S = 180.0
_LONGEST_PAUSE_S = 8.0

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}")
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu")

T = TypeVar("T")


class Connection:
    """A client, and what this process knows about its server. May be used by several threads at once.

    If a server that has answered before cannot be reached or cannot answer, all threads wait for it together. Once that
    wait is over without success, each further request fails at once.

    Args:
        client: The client.
        patience_s: Seconds to wait out an outage.
        encryption: Parameters of every put for how the server must encrypt it; none leaves it to the bucket.
    """

    def __init__(
        self, client: Any, patience_s: float = PATIENCE_S, encryption: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.client = client
        self.encryption = encryption
        self.known = False  # whether the server has answered this process, or the process that sent it the work
        self.let_in = False  # whether it has accepted the credentials, for either of them
        self._patience_s = patience_s
        self._away_since = 0.0  # when the current outage began; 0 if there is none
        self._turn = threading.Lock()

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return _host(self.client)

    def ask(self, request: Callable[[], T]) -> T:
        """The result of ``request``, which is repeated while its answers are damaged or the server is away.

        Raises:
            Exception: Any of ``FAILURES``.
        """
        pause, began = 0.25, 0.0
        while True:
            try:
                answer = _undamaged(request)
            except FAILURES as error:
                if not is_away(error):
                    # A refusal is an answer.
                    if isinstance(error, exceptions.ClientError):
                        self._heard()
                        # A server reports a missing object only to callers whose credentials it accepts.
                        self.let_in |= code_of(error) in MISSING
                    raise
                began = began or time.monotonic()
                if not self._wait(error, pause, began):
                    raise
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                self._heard()
                self.let_in = True
                return answer

    def head(self, bucket: str, key: str) -> dict[str, Any]:
        """The metadata of an object, without its bytes.

        Raises:
            Exception: Any of ``FAILURES``.
        """
        try:
            return dict(self.ask(lambda: self.client.head_object(Bucket=bucket, Key=key)))
        except exceptions.ClientError as error:
            # An answer to HEAD has no body, so expired credentials give a bare 400, and unknown ones a 403.
            if code_of(error) in ("400", "403"):
                self.ask(lambda: self.client.get_object(Bucket=bucket, Key=key))["Body"].close()
            raise

    def list_objects(self, bucket: str, prefix: str) -> list[dict[str, Any]]:
        """``Key``, ``ETag``, ``Size`` and more of objects whose names begin with ``prefix``; a thousand per request.

        Raises:
            Exception: Any of ``FAILURES``.
        """
        found: list[dict[str, Any]] = []
        request = {"Bucket": bucket, "Prefix": prefix}
        while True:
            page = self.ask(partial(self.client.list_objects_v2, **request))
            found += page.get("Contents", ())
            if not page["IsTruncated"]:
                return found
            request["ContinuationToken"] = page["NextContinuationToken"]

    def failure(self, what: str, error: Exception) -> StoreError:
        """The error to raise for one of ``FAILURES``.

        It is `StoreAway` if the server has answered before and is away now, or if it no longer accepts credentials that
        were good before: with new ones the same command resumes.
        """
        line = f"{what}: {explain(error, self.host)}"
        if self.encryption and cannot_encrypt(error):
            line += "; if that does not help, unset SEPT_S3_SSE: the server may not support that encryption"
        if self.known and is_away(error):
            return StoreAway(line)
        if is_expired(error) or (self.let_in and is_locked_out(error)):
            again = "run the same command again"
            return StoreAway(line if again in line else f"{line}, and {again}")
        return StoreDenied(line) if is_denied(error) else StoreError(line)

    def _wait(self, error: Exception, pause: float, began: float) -> bool:
        """Wait a little for a server that is away; False if it has never answered, or has been away for too long.

        Also False if it answers others, but not the request that first failed at ``began``.
        """
        with self._turn:
            if not self.known:
                return False
            now = time.monotonic()
            if not self._away_since:
                self._away_since = now
                reason = explain(error, self.host).partition(";")[0]
                logger.warning("%s; waiting up to %.0f s for it", reason, self._patience_s)
            left = min(self._away_since, began) + self._patience_s - now
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        return True

    def _heard(self) -> None:
        if self.known and not self._away_since:
            return
        with self._turn:
            if self._away_since:
                logger.warning("%s is back after %.0f s", self.host, time.monotonic() - self._away_since)
            self.known, self._away_since = True, 0.0


def s3_connection() -> Connection:
    """The connection of this process for its present environment. No request is made to S3.

    Raises:
        InputError: The environment or ``~/.aws`` contain an invalid profile, endpoint, patience or encryption.
    """
    settings = frozenset((name, value) for name, value in os.environ.items() if name.startswith(("AWS_", "SEPT_S3_")))
    # Per process: connections must not be shared with a fork.
    return _cached(settings, os.getpid())


@lru_cache(maxsize=4)
def _cached(settings: frozenset[tuple[str, str]], pid: int) -> Connection:
    patience_s = number_setting("SEPT_S3_PATIENCE_S", PATIENCE_S, "give seconds, or leave it out")
    encryption = _encryption()
    return Connection(make_client(), patience_s, encryption)


def _encryption() -> dict[str, str]:
    """The encryption that the environment asks for, as parameters of a put.

    Raises:
        InputError: It asks for an encryption that does not exist.
    """
    kind, key = os.environ.get("SEPT_S3_SSE", ""), os.environ.get("SEPT_S3_KMS_KEY", "")
    if kind not in ("", "AES256", "aws:kms"):
        raise InputError(f"SEPT_S3_SSE is '{kind}'", fix="give AES256 or aws:kms, or leave it out")
    if key and kind != "aws:kms":
        raise InputError(
            "SEPT_S3_KMS_KEY names a key that nothing uses", fix="set SEPT_S3_SSE=aws:kms, or leave it out"
        )
    found = {"ServerSideEncryption": kind} if kind else {}
    return found | ({"SSEKMSKeyId": key} if key else {})


def make_client(*, attempts: int = ATTEMPTS, connect_s: float = CONNECT_S, read_s: float = READ_S) -> Any:
    """A new client.

    Args:
        attempts: How often a request is made at most.
        connect_s: Seconds to wait for a connection.
        read_s: Seconds to wait for the next bytes of an answer.
    """
    anonymous = os.environ.get("SEPT_S3_ANONYMOUS", "") not in ("", "0")
    config = Config(
        connect_timeout=connect_s,
        read_timeout=read_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=THREADS,
        signature_version=UNSIGNED if anonymous else None,
        # Objects carry our own checksums, which every server of the protocol can store.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        # botocore itself reads only the older name of the variable.
        session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
        client = session.client("s3", config=config)
        if not _host(client).endswith(_AWS_HOSTS):
            # Few other servers support host names like bucket.host.
            client = session.client("s3", config=config.merge(Config(s3={"addressing_style": "path"})))
    except (exceptions.BotoCoreError, ValueError) as error:
        what, fix = explain_setup(error)
        raise InputError(f"cannot set up the connection to S3: {what}", fix=fix) from error
    client.meta.events.register("before-parse.s3", _check_length)
    return client


def split_address(address: str) -> tuple[str, str]:
    """Bucket and path of ``s3://bucket/some/path``; the path may be empty.

    Raises:
        InputError: Not such an address.
    """
    bucket, _, path = address.removeprefix("s3://").partition("/")
    path = path.rstrip("/")
    try:
        if not address.startswith("s3://") or not _BUCKET.fullmatch(bucket):
            raise ValueError
        if path:
            check_key(path)
    except ValueError:
        raise InputError(f"'{address}' is not an S3 address", fix="give s3://BUCKET or s3://BUCKET/PREFIX") from None
    return bucket, path


def tells_md5(etag: str, answer: Mapping[str, Any]) -> bool:
    """Whether an object's ETag is the MD5 of its bytes.

    For objects that were put in parts or encrypted with their own key, and on some servers, it is something else.
    """
    plain = answer.get("ServerSideEncryption") in (None, "AES256")
    return plain and re.fullmatch(r'"?[0-9a-f]{32}"?', etag) is not None


def body_of(answer: Mapping[str, Any], size: int | None = None) -> bytes:
    """The bytes of an answer's body, the rest of it or the next ``size``.

    Raises:
        Damaged: The body was cut short, or came too slowly.
    """
    try:
        return bytes(answer["Body"].read(size))
    except (exceptions.IncompleteReadError, exceptions.HTTPClientError, HTTPError, OSError) as error:
        raise Damaged(line_of(error)) from error


def _undamaged(request: Callable[[], T]) -> T:
    """The result of ``request``, which is repeated if its answer is damaged; botocore retries other failures."""
    for attempt in range(_DAMAGED_ATTEMPTS - 1):
        try:
            return request()
        except (Damaged, ResponseParserError):
            time.sleep(0.05 * 2**attempt)
    return request()


def _host(client: Any) -> str:
    """Host and port, without anything else in the address."""
    parts = urlsplit(client.meta.endpoint_url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _check_length(operation_model: Any, response_dict: Mapping[str, Any], **_: Any) -> None:
    """Refuse a body that was cut short: botocore would take an empty one for an empty list."""
    stated = response_dict["headers"].get("content-length")
    checked = operation_model.http["method"] != "HEAD" and isinstance(response_dict["body"], bytes)
    if checked and stated is not None and int(stated) != len(response_dict["body"]):
        raise Damaged(f"{len(response_dict['body'])} of {stated} bytes")
