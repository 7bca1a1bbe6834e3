"""What can go wrong with a request to S3, and the one line that says so."""

from __future__ import annotations

from botocore import exceptions
from botocore.parsers import ResponseParserError

__all__ = ["FAILURES", "MISSING", "Damaged", "code_of", "explain", "is_away", "line_of"]


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
    "PreconditionFailed": ("it was changed meanwhile", "run the same command again"),
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "set it"),
    "NotImplemented": ("the server lacks what the store needs", "use one with conditional writes"),
}
_AWAY_STATUS = frozenset({429, 500, 502, 503, 504})


def code_of(error: Exception) -> str:
    """S3's error code; empty for an error of another kind."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, exceptions.ClientError) else ""


def is_away(error: Exception) -> bool:
    """Whether a failure says that the server cannot be reached or cannot answer now, and may be able to later."""
    if isinstance(error, (exceptions.SSLError, exceptions.ProxyConnectionError)):
        return False
    if isinstance(error, exceptions.ClientError):
        return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _AWAY_STATUS
    return isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError))


def explain(error: Exception, host: str) -> str:
    """Why a request failed and what to do, in one line and without anything secret.

    Args:
        error: One of ``FAILURES``.
        host: The server that was asked.
    """
    code = code_of(error)
    if code:
        what, mend = _CODES.get(code, _BUSY if is_away(error) else (line_of(error), ""))
    elif isinstance(error, exceptions.NoCredentialsError):
        what, mend = "no AWS credentials found", f"{_CREDENTIALS}, or SEPT_S3_ANONYMOUS=1 for a public bucket"
    elif isinstance(error, (exceptions.SSLError, exceptions.ProxyConnectionError)):
        what, mend = f"no secure connection to {host} ({type(error).__name__})", _NETWORK
    elif isinstance(error, exceptions.ReadTimeoutError):
        what, mend = f"{host} does not answer", _NETWORK
    elif isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
        what, mend = f"{host} cannot be reached", _NETWORK
    elif isinstance(error, (Damaged, ResponseParserError)):
        what, mend = f"{host} sends damaged answers", _NETWORK
    else:
        # Other errors of botocore are about credentials; their text may quote what a login program printed.
        what, mend = f"the AWS credentials cannot be used ({type(error).__name__})", _CREDENTIALS
    return f"{what}; {mend}" if mend else what


def line_of(error: Exception) -> str:
    """An error's own words, in one line that is not too long."""
    return " ".join(str(error).split())[:200] or type(error).__name__
