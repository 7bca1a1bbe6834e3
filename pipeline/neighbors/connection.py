"""The SDK's client for one server, whose wait before a retry can be reported and interrupted.

The SDK decides whether to try again and how long to wait: after 408, 409, 429 and 500 or more, failed connections and
time-outs, ``max_retries`` times; for ``Retry-After`` up to two minutes, otherwise 0.5 s, doubled up to 8 s
(`openai._base_client`, version 3.57). But nothing interrupts its sleep: after Ctrl-C a person would wait for those two
minutes without knowing why. The SDK has no public hook for this, so one of its methods is replaced. If a later version
renames that method, the SDK sleeps by itself again, and the test of an interrupted wait fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai

from pipeline.neighbors.address import Address
from sept_core.errors import InputError

__all__ = ["Wait", "open_client", "reason"]

Wait = Callable[[float, int, Any], None]
"""Called with (seconds to wait, retries so far, the response or None) in place of the SDK's sleep."""


class _Client(openai.OpenAI):
    """A client that calls ``wait`` where the SDK's would sleep; what ``wait`` raises ends the request."""

    wait: Wait | None = None

    def _sleep_for_retry(self, *, retries_taken: int, max_retries: int, options: Any, response: Any) -> None:
        headers = None if response is None else response.headers
        seconds = self._calculate_retry_timeout(max_retries - retries_taken, options, headers)
        if self.wait is not None:
            self.wait(seconds, retries_taken, response)


def open_client(
    address: Address,
    key: str,
    *,
    timeout_s: float,
    retries: int = 0,
    wait: Wait | None = None,
    look: Callable[[Any], None] | None = None,
) -> tuple[openai.OpenAI, dict[str, Any]]:
    """A client for a server, and the headers that each of its requests must carry.

    Args:
        address: Where the server is.
        key: The API key; empty for a server that needs none.
        timeout_s: How long an answer may take, in seconds.
        retries: How often the SDK repeats a request that a busy, broken or unreachable server did not answer.
        wait: Called in place of the SDK's sleep before a retry.
        look: Called with each response before the SDK reads it.

    Raises:
        InputError: The HTTP library does not take the address.
    """
    # Many local servers need no key, but the SDK insists on sending one.
    key = key or "no-key"
    hooks = {"response": [look]} if look is not None else {}
    try:
        client = _Client(
            api_key=key,
            base_url=address.url,
            default_query=address.query,
            timeout=timeout_s,
            max_retries=retries,
            # A key is for the server that was named, and for no other.
            http_client=openai.DefaultHttpxClient(follow_redirects=False, event_hooks=hooks),
        )
    except Exception:
        # The HTTP library's check of addresses, which is stricter than the standard library's.
        raise InputError(f"'{address.url}' is not an address", where="--base-url", fix="check it") from None
    client.wait = wait
    return client, {"Authorization": openai.Omit(), **address.key_headers(key)}


def reason(error: BaseException) -> str:
    """Why a connection failed, in the operating system's words where it has any."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(getattr(error, "strerror", None) or error)
