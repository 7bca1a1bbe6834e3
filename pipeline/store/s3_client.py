"""The connection to S3: one client a process, patient but not for ever, and its failures as one line.

Endpoint, region and credentials come from where every AWS tool finds them: ``AWS_ENDPOINT_URL``, ``AWS_REGION``,
``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ``~/.aws``, the machine's own role.
``SEPT_S3_ANONYMOUS=1`` asks for public buckets without any.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED, exceptions
from botocore.config import Config
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from pipeline.store.door import check_key
from sept_core.errors import InputError

__all__ = [
    "FAILURES",
    "MISSING",
    "THREADS",
    "Damaged",
    "body_of",
    "code_of",
    "connect",
    "explain",
    "list_objects",
    "make_client",
    "split_address",
    "whole",
]

# Requests at a time, where many are to be made.
THREADS = 32

# A server that cannot be connected to is given up after about 40 s, one that accepts and says nothing after about two
# minutes. The waits between attempts double from 50 ms, and from 1 s where the server asks to slow down.
CONNECT_S = 3.0
READ_S = 15.0
ATTEMPTS = 9
_DAMAGED_ATTEMPTS = 5

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}")
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu")

T = TypeVar("T")


class Damaged(Exception):  # noqa: N818 (a state of a response, never shown)
    """A response that came cut short or garbled; the same request may be answered well."""


FAILURES = (Damaged, ResponseParserError, exceptions.BotoCoreError, exceptions.ClientError)
"""All that a request raises where it fails."""

MISSING = frozenset({"NoSuchKey", "NotFound", "404"})
"""Codes for an object that is not there."""

_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_NETWORK = "check the network and AWS_ENDPOINT_URL, and run the same command again"
_EXPIRED = ("the credentials have expired", "renew them and run the same command again")
_REFUSED = ("the credentials are not accepted", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
_DENIED = (
    "permission denied",
    "the credentials need s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject in it",
)
_BUSY = ("the server is overloaded or failing", "run the same command again later")
_ELSEWHERE = ("the bucket lies in another region", "name it in AWS_REGION")
_CODES = {
    "NoSuchBucket": ("there is no such bucket", "check the name, or make the bucket first"),
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "Forbidden": _DENIED,
    "403": _DENIED,
    "InvalidAccessKeyId": _REFUSED,
    "SignatureDoesNotMatch": _REFUSED,
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "PermanentRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "301": _ELSEWHERE,
    "SlowDown": _BUSY,
    "ServiceUnavailable": _BUSY,
    "InternalError": _BUSY,
    "500": _BUSY,
    "503": _BUSY,
    "PreconditionFailed": ("it was changed meanwhile", "run the same command again"),
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "set it"),
    "NotImplemented": ("the server lacks what the store needs", "use one with conditional writes"),
}


def connect() -> Any:
    """The S3 client of this process for its present environment. No request is made to S3.

    Raises:
        InputError: The environment or ``~/.aws`` name a profile or an endpoint that cannot be.
    """
    settings = frozenset((name, value) for name, value in os.environ.items() if name.startswith(("AWS_", "SEPT_S3_")))
    # By process: connections must not be shared with a fork.
    return _cached(settings, os.getpid())


@lru_cache(maxsize=4)
def _cached(settings: frozenset[tuple[str, str]], pid: int) -> Any:
    return make_client()


def make_client(*, attempts: int = ATTEMPTS, connect_s: float = CONNECT_S, read_s: float = READ_S) -> Any:
    """A new client; see `connect`.

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
        # A ValueError quotes the whole endpoint, which may hold a password.
        reason = "the endpoint is no address" if isinstance(error, ValueError) else _line(error)
        raise InputError(
            f"cannot set up the connection to S3: {reason}",
            mend="check AWS_PROFILE, AWS_ENDPOINT_URL and ~/.aws/config",
        ) from error
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
        raise InputError(f"'{address}' is no address in S3", mend="give s3://BUCKET or s3://BUCKET/PREFIX") from None
    return bucket, path


def whole(request: Callable[[], T]) -> T:
    """What ``request`` returns, made again where its answer came damaged; all other failures botocore has repeated.

    Raises:
        Exception: Any of ``FAILURES``.
    """
    for attempt in range(_DAMAGED_ATTEMPTS - 1):
        try:
            return request()
        except (Damaged, ResponseParserError):
            time.sleep(0.05 * 2**attempt)
    return request()


def body_of(answer: Mapping[str, Any], size: int | None = None) -> bytes:
    """The bytes of an answer with a body, all that are left or the next ``size``.

    Raises:
        Damaged: The body came cut short, or too slowly.
    """
    try:
        return bytes(answer["Body"].read(size))
    except (exceptions.IncompleteReadError, exceptions.HTTPClientError, HTTPError, OSError) as error:
        raise Damaged(_line(error)) from error


def list_objects(client: Any, bucket: str, prefix: str) -> list[dict[str, Any]]:
    """``Key``, ``ETag``, ``Size`` and more of every object whose name begins with ``prefix``: a thousand a request.

    Raises:
        Exception: Any of ``FAILURES``.
    """
    found: list[dict[str, Any]] = []
    request = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = whole(partial(client.list_objects_v2, **request))
        found += page.get("Contents", ())
        if not page["IsTruncated"]:
            return found
        request["ContinuationToken"] = page["NextContinuationToken"]


def code_of(error: Exception) -> str:
    """S3's error code; empty for an error of another kind."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, exceptions.ClientError) else ""


def explain(error: Exception, client: Any) -> str:
    """Why a request failed and what to do, in one line and without anything secret.

    Args:
        error: One of ``FAILURES``.
        client: The client that made it.
    """
    code = code_of(error)
    if code:
        what, mend = _CODES.get(code, (_line(error), ""))
    elif isinstance(error, exceptions.NoCredentialsError):
        what, mend = "no AWS credentials found", f"{_CREDENTIALS}, or SEPT_S3_ANONYMOUS=1 for a public bucket"
    elif isinstance(error, (exceptions.SSLError, exceptions.ProxyConnectionError)):
        what, mend = f"no secure connection to {_host(client)} ({type(error).__name__})", _NETWORK
    elif isinstance(error, exceptions.ReadTimeoutError):
        what, mend = f"{_host(client)} does not answer", _NETWORK
    elif isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
        what, mend = f"{_host(client)} cannot be reached", _NETWORK
    elif isinstance(error, (Damaged, ResponseParserError)):
        what, mend = f"{_host(client)} sends damaged answers", _NETWORK
    else:
        # Other errors of botocore are about credentials; their text may quote what a login program printed.
        what, mend = f"the AWS credentials cannot be used ({type(error).__name__})", _CREDENTIALS
    return f"{what}; {mend}" if mend else what


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


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
