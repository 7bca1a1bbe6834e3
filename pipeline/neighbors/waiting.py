"""The SDK's client, whose wait before a retry can be watched and ended.

The SDK decides whether to try again and how long to wait: 408, 409, 429 and 500 or more, failed connections and
time-outs, as often as ``max_retries`` says; ``Retry-After`` up to two minutes, otherwise 0.5 s doubled up to 8 s
(`openai._base_client`, version 3.57). But nothing interrupts its sleep: somebody who presses Ctrl-C would wait for
those two minutes, and nobody would know why. It has no public hook for this, so one method of its own is replaced; were
it renamed, the SDK would sleep by itself again, and the test of an interrupted wait would fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai

__all__ = ["Wait", "WatchedClient"]

Wait = Callable[[float, int, Any], None]
"""Called with (seconds to wait, retries so far, the response or None) in place of the SDK's sleep."""


class WatchedClient(openai.OpenAI):
    """A client that calls ``wait`` where the SDK's would sleep.

    Args:
        wait: Waits; what it raises ends the request.
        settings: Those of `openai.OpenAI`.
    """

    def __init__(self, wait: Wait, **settings: Any) -> None:
        super().__init__(**settings)
        self._wait = wait

    def _sleep_for_retry(self, *, retries_taken: int, max_retries: int, options: Any, response: Any) -> None:
        headers = None if response is None else response.headers
        seconds = self._calculate_retry_timeout(max_retries - retries_taken, options, headers)
        self._wait(seconds, retries_taken, response)
