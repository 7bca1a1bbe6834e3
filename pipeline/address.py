"""Where a Ray is: what may be said, and whether anybody listens there."""

from __future__ import annotations

import socket

from sept_core.errors import InputError

__all__ = ["CLIENT", "knock"]

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
        mend = "give local, auto, HOST:PORT or ray://HOST:PORT"
        raise InputError("no address of Ray", where=f"address {address}", mend=mend)
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
    except OSError as error:
        raise InputError(
            f"no Ray cluster: {error.strerror or error}", where=f"address {address}", mend="use 'local', or start one"
        ) from error
