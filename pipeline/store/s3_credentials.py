"""What is wrong with AWS credentials, and how to fix it, depending on where this environment takes them from."""

from __future__ import annotations

import os
from shlex import quote

from botocore import exceptions
from botocore.session import Session

from sept_core.suggestions import nearest_hint

__all__ = ["expired", "explain_credentials", "explain_setup", "profile", "refused"]

_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_GIVE = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_AGAIN = "run the same command again"

_NOT_LOGGED_IN = (
    exceptions.SSOError,
    exceptions.LoginError,
    exceptions.NoAuthTokenError,
    exceptions.TokenRetrievalError,
)


def profile() -> str | None:
    """The profile that the environment names; None if it names none, or keys, which take precedence."""
    if any(os.environ.get(name) for name in _KEYS):
        return None
    return os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or None


def explain_credentials(error: Exception) -> tuple[str, str]:
    """What an error of botocore's before any answer means for the credentials, and what to do.

    Its own text is never shown: it may quote what a login program printed.
    """
    name = profile()
    whose = f"the AWS profile '{name}'" if name else "the default AWS profile"
    if isinstance(error, exceptions.NoCredentialsError):
        if name:
            return f"{whose} holds no credentials", f"log in: {_login(name)}, or: aws configure{_option(name)}"
        return "no AWS credentials found", f"{_GIVE}, or SEPT_S3_ANONYMOUS=1 for a public bucket"
    if isinstance(error, exceptions.PartialCredentialsError):
        missing = str(error.kwargs.get("cred_var", "")).upper() or "one of the two keys"
        return f"the AWS credentials lack {missing}", f"set it as well as the other one: {_place(name)}"
    if isinstance(error, exceptions.LoginInsufficientPermissions):
        return f"{whose} may not renew its login", "it needs the permission signin:CreateOAuth2Token"
    if isinstance(error, _NOT_LOGGED_IN):
        return f"{whose} is not logged in, or its login has ended", f"{_login(name, error)}, and {_AGAIN}"
    if isinstance(error, exceptions.RefreshWithMFAUnsupportedError):
        fix = "get keys for a session (aws sts get-session-token) and set them with AWS_SESSION_TOKEN"
        return f"{whose} asks for a code of a second factor, which cannot be renewed", fix
    if isinstance(error, exceptions.CredentialRetrievalError):
        fix = f"run what ~/.aws/config names for it (credential_process, say) and see what it answers, then {_AGAIN}"
        return f"{whose} could not get its credentials", fix
    # What is left are settings that contradict each other.
    return f"the AWS credentials cannot be used ({type(error).__name__})", f"check {_place(name)} and ~/.aws/config"


def explain_setup(error: Exception) -> tuple[str, str]:
    """Why there can be no client at all, and what to do."""
    if isinstance(error, exceptions.ProfileNotFound):
        name, known = str(error.kwargs.get("profile")), sorted(Session().full_config.get("profiles", {}))
        listed = f"known: {', '.join(known)}" if known else "there is none: aws configure makes one"
        what = f"~/.aws/config and ~/.aws/credentials have no profile '{name}'"
        return what, f"check AWS_PROFILE; {nearest_hint(name, known)}{listed}"
    if isinstance(error, exceptions.MissingDependencyException):
        return f"the login of profile '{profile() or 'default'}' needs another package", "pip install 'botocore[crt]'"
    if isinstance(error, ValueError):
        # Its text quotes the whole endpoint, which may hold a password.
        return "the endpoint is no address", "check AWS_ENDPOINT_URL, or endpoint_url in ~/.aws/config"
    if isinstance(error, (exceptions.InvalidConfigError, exceptions.ConfigParseError)):
        set_here = [name for name in ("AWS_PROFILE", "AWS_CONFIG_FILE") if os.environ.get(name)]
        return " ".join(str(error).split()).rstrip(".")[:200], f"check {', '.join([*set_here, '~/.aws/config'])}"
    return explain_credentials(error)


def expired() -> tuple[str, str]:
    """Credentials that were good once."""
    name = profile()
    how = f"{_login(name)}" if name else "set new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
    return "the credentials have expired", f"renew them ({how}) and {_AGAIN}"


def refused() -> tuple[str, str]:
    """The problem and fix for credentials that the server does not know."""
    token = ", and unset AWS_SESSION_TOKEN if it belongs to others" if os.environ.get("AWS_SESSION_TOKEN") else ""
    return "the credentials are not accepted", f"check {_place(profile())}{token}"


def _place(name: str | None) -> str:
    return f"profile '{name}' in ~/.aws" if name else "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def _option(name: str | None) -> str:
    return f" --profile {quote(name)}" if name else ""


def _login(name: str | None, error: Exception | None = None) -> str:
    return f"{'aws login' if isinstance(error, exceptions.LoginError) else 'aws sso login'}{_option(name)}"
