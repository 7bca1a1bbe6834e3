"""Servers on this machine are asked directly, whatever proxy the environment names for the way outside."""

from __future__ import annotations

import os

__all__ = ["ask_loopback_directly"]

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_HOSTS = ("127.0.0.1", "localhost", "::1")


def ask_loopback_directly() -> None:
    """Add this machine to ``NO_PROXY`` where a proxy is set: for this process and those that it starts.

    A proxy would look for a bucket, an MLflow or a Ray at 127.0.0.1 on a machine of its own.
    """
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return
    # Whoever reads both prefers the small letters.
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    listed = [host.strip() for host in given.split(",") if host.strip()]
    if "*" not in listed:
        listed += [host for host in _HOSTS if host not in listed]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(listed)
