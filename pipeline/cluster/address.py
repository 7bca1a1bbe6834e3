"""Addresses of Ray: which ones are valid, whether a cluster answers there, and its token. Checked with Ray 2.60."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from pathlib import Path

from sept_core.errors import InputError

__all__ = ["check_reachable", "fix_for", "resolve", "use_token"]

_TIMEOUT_S = 10.0


def check_reachable(address: str, timeout_s: float = _TIMEOUT_S) -> None:
    """Check that something listens at an address of Ray, which itself would keep trying for minutes.

    Args:
        address: ``local`` and ``auto`` always pass, unless ``RAY_ADDRESS`` replaces ``auto``; else ``HOST:PORT``.
        timeout_s: How long to wait for a connection, in seconds.

    Raises:
        InputError: Nothing listens there, or this is not an address that a driver can use.
    """
    place = resolve(address)
    if place in ("local", "auto"):
        return
    where = f"address {place}"
    if place.startswith("ray://"):
        raise InputError(
            "a driver runs on the cluster, not in a Ray client",
            where=where,
            fix="send the sweep to the cluster: sept sweep submit SPEC --address http://HEAD:8265; "
            "other commands run on one of its nodes with --address auto",
        )
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError("not an address of Ray", where=where, fix="give local, auto or HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=timeout_s).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"no Ray cluster: {reason}", where=where, fix=fix_for(address, error)) from error


def resolve(address: str) -> str:
    """The address that Ray connects to: ``RAY_ADDRESS``, where it is set, replaces ``auto``."""
    named = os.environ.get("RAY_ADDRESS", "")
    return named if address == "auto" and named not in ("", "local", "auto") else address


def fix_for(address: str, error: object) -> str:
    """What to do about an error of Ray's when it cannot connect."""
    if "Version mismatch" in str(error):
        fix = "install the cluster's versions of Ray and Python here, or use 'local'"
    else:
        fix = "use 'local', or start one: ray start --head"
        if address != "local":
            fix += "; if it asks for a token, set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    return fix if resolve(address) == address else f"{fix}, or unset RAY_ADDRESS, which names it"


def use_token(address: str) -> None:
    """Let Ray send its token where there is one, unless ``RAY_AUTH_MODE`` is set.

    A plain ``ray start --head`` asks for the token if the usual file has one, but Ray itself sends it only when the
    address is ``auto``. A private Ray gets a token of its own, so that none is written into the home folder.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    if not _has_token():
        if address == "local":
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    if "ray" in sys.modules:
        # It has read the environment already.
        from ray._raylet import Config  # type: ignore[attr-defined]

        Config.initialize("")


def _has_token() -> bool:
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    try:
        file = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
        return bool(Path(file).read_bytes().strip())
    except (OSError, RuntimeError):
        return False
