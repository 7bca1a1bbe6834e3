"""What can go wrong with a request to S3, and the one line that reports it."""

from __future__ import annotations

import os

from botocore import exceptions
from botocore.parsers import ResponseParserError

from pipeline.store.s3_credentials import expired, explain_credentials, profile, refused

__all__ = [
    "FAILURES",
    "MISSING",
    "Damaged",
    "cannot_encrypt",
    "code_of",
    "explain",
    "is_away",
    "is_denied",
    "is_expired",
    "is_locked_out",
    "line_of",
]


class Damaged(Exception):  # noqa: N818 (a state of a response, never shown)
    """A response that was cut short or garbled; the same request may succeed next time."""


FAILURES = (Damaged, ResponseParserError, exceptions.BotoCoreError, exceptions.ClientError)
"""All exceptions of a request that fails."""

MISSING = frozenset({"NoSuchKey", "NotFound", "404"})
"""Error codes for an object that does not exist."""

# Requests by which botocore gets credentials, before it asks S3.
_LOGINS = frozenset({"AssumeRole", "AssumeRoleWithWebIdentity", "GetRoleCredentials", "GetCallerIdentity"})
_NETWORK = "check the network and AWS_ENDPOINT_URL, and run the same command again"
_PROXY = "check HTTPS_PROXY and HTTP_PROXY, or add the host to NO_PROXY"
_DENIED = (
    "permission denied",
    "the credentials need s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject in it",
)
_BUSY = ("the server is overloaded or failing", "run the same command again later")
_CODES = {
    "NoSuchBucket": ("there is no such bucket", "check the name, or create the bucket first"),
    "SlowDown": _BUSY,
    "ServiceUnavailable": _BUSY,
    "InternalError": _BUSY,
    "PreconditionFailed": ("it was changed meanwhile", "run the same command again"),
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "set it: timedatectl set-ntp true"),
    "407": ("a proxy asks for a user and a password", _PROXY),
    "NotImplemented": ("the server lacks a function that the store needs", "use one with conditional writes"),
}
_DENIED_CODES = frozenset({"AccessDenied", "AllAccessDisabled", "Forbidden", "403"})
_REFUSED_CODES = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"})
_EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_ELSEWHERE_CODES = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
)
_AWAY_STATUS = frozenset({429, 500, 502, 503, 504})


def code_of(error: Exception) -> str:
    """S3's error code; empty for an error of another kind."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, exceptions.ClientError) else ""


def is_away(error: Exception) -> bool:
    """Whether the server cannot be reached or cannot answer now, but may be able to later."""
    if isinstance(error, (exceptions.SSLError, exceptions.ProxyConnectionError)):
        return False
    if isinstance(error, exceptions.ClientError):
        return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _AWAY_STATUS
    return isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError))


def cannot_encrypt(error: Exception) -> bool:
    """Whether a put failed in the way of servers that do not support the encryption it asks for."""
    codes = ("InternalError", "InvalidArgument", "InvalidRequest", "NotImplemented")
    return isinstance(error, exceptions.ClientError) and error.operation_name == "PutObject" and code_of(error) in codes


def is_expired(error: Exception) -> bool:
    """Whether the failure itself shows that the credentials were good once."""
    return code_of(error) in _EXPIRED_CODES


def is_locked_out(error: Exception) -> bool:
    """Whether a failure is about the credentials, or this machine's clock, and not about what was requested.

    If the same credentials were good before, they have expired: a key was replaced, a login has ended. A missing
    permission does not count, since it may have been missing all along.
    """
    if isinstance(error, exceptions.ClientError):
        codes = _EXPIRED_CODES | _REFUSED_CODES | {"RequestTimeTooSkewed"}
        return code_of(error) in codes or error.operation_name in _LOGINS
    away = (Damaged, ResponseParserError, exceptions.ConnectionError, exceptions.HTTPClientError)
    return not isinstance(error, away)


def is_denied(error: Exception) -> bool:
    """Whether these credentials do not have the permission."""
    return isinstance(error, exceptions.ClientError) and code_of(error) in _DENIED_CODES


def explain(error: Exception, host: str) -> str:
    """Why a request failed and what to do, in one line and without anything secret.

    Args:
        error: One of ``FAILURES``.
        host: The server that was asked.
    """
    if isinstance(error, exceptions.ClientError):
        what, fix = _answered(error, code_of(error))
    elif isinstance(error, exceptions.ProxyConnectionError):
        # Its address is not shown, since it may contain a password.
        what, fix = f"the proxy in front of {host} cannot be reached, or refuses the connection", _PROXY
    elif isinstance(error, exceptions.SSLError):
        what, fix = f"no secure connection to {host} ({type(error).__name__})", _NETWORK
    elif isinstance(error, exceptions.ReadTimeoutError):
        what, fix = f"{host} does not answer", _NETWORK
    elif isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
        what, fix = f"{host} cannot be reached", _NETWORK
    elif isinstance(error, (Damaged, ResponseParserError)):
        what, fix = f"{host} sends damaged answers", _NETWORK
    else:
        # Other errors of botocore are about credentials.
        what, fix = explain_credentials(error)
    return f"{what}; {fix}" if fix else what


def _answered(error: exceptions.ClientError, code: str) -> tuple[str, str]:
    """What a server's refusal means and what to do, in this environment."""
    if error.operation_name in _LOGINS:
        what = f"the AWS profile '{profile() or 'default'}' gets no credentials ({code} of {error.operation_name})"
        return what, "check that it may use the role that ~/.aws/config names, and that its own login has not expired"
    if code in _EXPIRED_CODES:
        return expired()
    if code in _REFUSED_CODES:
        return refused()
    if code in _DENIED_CODES:
        if os.environ.get("SEPT_S3_ANONYMOUS", "") not in ("", "0"):
            return "permission denied", "the bucket is not public: unset SEPT_S3_ANONYMOUS, and give credentials"
        return _DENIED
    if code in _ELSEWHERE_CODES:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = error.response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
        named = os.environ.get("AWS_REGION")
        there = f"in the region {region}" if region else f"in another region than {named}" if named else "elsewhere"
        return f"the bucket is {there}", f"set AWS_REGION={region}" if region else "set AWS_REGION to the bucket's"
    return _CODES.get(code, _BUSY if is_away(error) else (line_of(error), ""))


def line_of(error: Exception) -> str:
    """An error's own message, in one line of limited length."""
    return " ".join(str(error).split())[:200] or type(error).__name__
