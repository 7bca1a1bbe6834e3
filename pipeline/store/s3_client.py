"""The connection to S3: one client a process, patient but not for ever, and its failures as one line.

Endpoint, region and credentials come from where every AWS tool finds them: ``AWS_ENDPOINT_URL``, ``AWS_REGION``,
``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ``~/.aws``, the machine's own role.
``SEPT_S3_ANONYMOUS=1`` asks for public buckets without any; ``SEPT_S3_PATIENCE_S`` is how long an outage is waited out;
``SEPT_S3_SSE`` (``AES256`` or ``aws:kms``, then also ``SEPT_S3_KMS_KEY``) has the server encrypt what is put.
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

from pipeline.store.protocol import StoreAway, StoreDenied, StoreError, check_key
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

# Requests at a time, where many are to be made.
THREADS = 32

# A server that was never met is given up after some 15 s where it cannot be connected to, and after a minute and a half
# where it accepts and says nothing. botocore's waits between attempts double, from 1 s where the server asks to slow
# down.
CONNECT_S = 3.0
READ_S = 15.0
ATTEMPTS = 6
_DAMAGED_ATTEMPTS = 5
# Seconds that one that was met is waited for, when it goes away: a restart, a failing network.
PATIENCE_S = 180.0
_LONGEST_PAUSE_S = 8.0

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}")
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu")

T = TypeVar("T")


class Connection:
    """A client and what this process knows of the server behind it. May be used by several threads at once.

    A server that has answered before, and then cannot be reached or cannot answer, is waited for, by all threads
    together: an outage has one end, after which each further request is given up at once.

    Args:
        client: The client.
        patience_s: Seconds that an outage is waited out.
        encryption: Parameters of every put that say how the server is to encrypt it; none leaves it to the bucket.
    """

    def __init__(
        self, client: Any, patience_s: float = PATIENCE_S, encryption: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.client = client
        self.encryption = encryption
        self.known = False  # whether the server was there, for this process or for the one that has sent it here
        self.let_in = False  # whether it has accepted the credentials, likewise
        self._patience_s = patience_s
        self._away_since = 0.0  # when the present outage began; 0 while there is none
        self._turn = threading.Lock()

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return _host(self.client)

    def ask(self, request: Callable[[], T]) -> T:
        """What ``request`` returns, made again while its answers come damaged or the server is away.

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
                        # It says that something is not there to those alone whom it knows.
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
        """What is known of an object, without its bytes.

        Raises:
            Exception: Any of ``FAILURES``.
        """
        try:
            return dict(self.ask(lambda: self.client.head_object(Bucket=bucket, Key=key)))
        except exceptions.ClientError as error:
            # An answer to HEAD has no body, so that expired credentials are a bare 400, and unknown ones a 403.
            if code_of(error) in ("400", "403"):
                self.ask(lambda: self.client.get_object(Bucket=bucket, Key=key))["Body"].close()
            raise

    def list_objects(self, bucket: str, prefix: str) -> list[dict[str, Any]]:
        """``Key``, ``ETag``, ``Size`` and more of every object whose name begins with ``prefix``: a thousand a request.

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

        It is of the kind that passes where the server has been met and is away, and where it no longer accepts
        credentials that were good: with new ones the same command goes on.
        """
        line = f"{what}: {explain(error, self.host)}"
        if self.encryption and cannot_encrypt(error):
            line += "; if it stays so, unset SEPT_S3_SSE: the server may not be able to encrypt as it asks"
        if self.known and is_away(error):
            return StoreAway(line)
        if is_expired(error) or (self.let_in and is_locked_out(error)):
            again = "run the same command again"
            return StoreAway(line if again in line else f"{line}, and {again}")
        return StoreDenied(line) if is_denied(error) else StoreError(line)

    def _wait(self, error: Exception, pause: float, began: float) -> bool:
        """Wait a little for a server that is away; False where it was never met, or has been away for too long.

        That is also where it answers others, and not the request that first failed at ``began``.
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
        InputError: The environment or ``~/.aws`` name a profile, an endpoint, a patience or an encryption that cannot
            be.
    """
    settings = frozenset((name, value) for name, value in os.environ.items() if name.startswith(("AWS_", "SEPT_S3_")))
    # By process: connections must not be shared with a fork.
    return _cached(settings, os.getpid())


@lru_cache(maxsize=4)
def _cached(settings: frozenset[tuple[str, str]], pid: int) -> Connection:
    patience_s = number_setting("SEPT_S3_PATIENCE_S", PATIENCE_S, "give seconds, or leave it out")
    encryption = _encryption()
    return Connection(make_client(), patience_s, encryption)


def _encryption() -> dict[str, str]:
    """The encryption that the environment asks for, as parameters of a put.

    Raises:
        InputError: It asks for none that there is.
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
        # Objects carry checksums of our own, which every server of the protocol can keep.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        # botocore itself knows only the older name of the variable.
        session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
        client = session.client("s3", config=config)
        if not _host(client).endswith(_AWS_HOSTS):
            # Few other servers answer to names like bucket.host.
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
        raise InputError(f"'{address}' is no address in S3", fix="give s3://BUCKET or s3://BUCKET/PREFIX") from None
    return bucket, path


def tells_md5(etag: str, answer: Mapping[str, Any]) -> bool:
    """Whether an object's ETag is the MD5 of its bytes.

    Of objects that were put in parts, or encrypted with a key of their own, and on some servers, it is something else.
    """
    plain = answer.get("ServerSideEncryption") in (None, "AES256")
    return plain and re.fullmatch(r'"?[0-9a-f]{32}"?', etag) is not None


def body_of(answer: Mapping[str, Any], size: int | None = None) -> bytes:
    """The bytes of an answer with a body, all that are left or the next ``size``.

    Raises:
        Damaged: The body came cut short, or too slowly.
    """
    try:
        return bytes(answer["Body"].read(size))
    except (exceptions.IncompleteReadError, exceptions.HTTPClientError, HTTPError, OSError) as error:
        raise Damaged(line_of(error)) from error


def _undamaged(request: Callable[[], T]) -> T:
    """What ``request`` returns, made again where its answer came damaged; other failures botocore has repeated."""
    for attempt in range(_DAMAGED_ATTEMPTS - 1):
        try:
            return request()
        except (Damaged, ResponseParserError):
            time.sleep(0.05 * 2**attempt)
    return request()


def _host(client: Any) -> str:
    """Host and port, without what else may stand in an address."""
    parts = urlsplit(client.meta.endpoint_url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _check_length(operation_model: Any, response_dict: Mapping[str, Any], **_: Any) -> None:
    """Refuse a body that was cut short: botocore takes an empty one for an empty list."""
    stated = response_dict["headers"].get("content-length")
    checked = operation_model.http["method"] != "HEAD" and isinstance(response_dict["body"], bytes)
    if checked and stated is not None and int(stated) != len(response_dict["body"]):
        raise Damaged(f"{len(response_dict['body'])} of {stated} bytes")
