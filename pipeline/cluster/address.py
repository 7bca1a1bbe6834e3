"""Where a Ray is: what may be said, whether anybody listens there, and the token to show. Checked against Ray 2.60."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from pathlib import Path

from sept_core.errors import InputError

__all__ = ["CLIENT", "cure", "knock", "meant", "use_token"]

CLIENT = "ray://"
"""What the address of a cluster begins with that this machine is no part of."""

# Seconds that a cluster is given to take a connection.
_KNOCK_S = 10.0


def knock(address: str) -> None:
    """See that something listens at HOST:PORT: Ray itself keeps trying for minutes.

    Raises:
        InputError: Nothing does, or the address is none.
    """
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if not host or not port.isdecimal():
        fix = "give local, auto, HOST:PORT or ray://HOST:PORT"
        raise InputError("no address of Ray", where=f"address {address}", fix=fix)
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
    except OSError as error:
        raise InputError(
            f"no Ray cluster: {error.strerror or error}", where=f"address {address}", fix="use 'local', or start one"
        ) from error


def meant(address: str) -> str:
    """The address that Ray goes to: with ``auto`` what ``RAY_ADDRESS`` says goes before the Ray of this machine."""
    named = os.environ.get("RAY_ADDRESS", "")
    return named if address == "auto" and named not in ("", "local", "auto") else address


def cure(address: str, error: object) -> str:
    """What to do where Ray refuses to connect, by its own words."""
    if "Version mismatch" in str(error):
        cure = "install the cluster's versions of Ray and Python here, or use 'local'"
    else:
        cure = "use 'local', or start one: ray start --head"
        if address != "local":
            cure += "; if it asks for a token, set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    return cure if meant(address) == address else f"{cure}, or unset RAY_ADDRESS, which names it"


def use_token(address: str) -> None:
    """Let Ray show its token, where there is one and nobody has said otherwise (``RAY_AUTH_MODE``).

    A plain ``ray start --head`` asks for the token where one is in the usual file; Ray itself shows it only where the
    address is ``auto``. A private Ray gets a token for its own time, so that none is written into the home folder.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    if not _token_is_there():
        if address == "local":
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    if "ray" in sys.modules:
        # It has read the environment by then.
        from ray._raylet import Config  # type: ignore[attr-defined]

        Config.initialize("")


def _token_is_there() -> bool:
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    try:
        file = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
        return bool(Path(file).read_bytes().strip())
    except (OSError, RuntimeError):
        return False
