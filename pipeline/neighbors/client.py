"""One question to an OpenAI-compatible server: structured output where it can, patience where it is busy, no secrets.

The API key comes from the environment and goes into the request's header; every text that leaves this module has been
cleared of it, and no exception leaves it with the client's own exception (which knows the request) behind it.
"""

from __future__ import annotations

import json
import math
import os
import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

from pipeline.neighbors.cost import Usage
from pipeline.neighbors.prompt import SCHEMA
from sept_core.errors import InputError, SeptError

__all__ = ["DEFAULT_BASE_URL", "KEY_VARIABLE", "ChatClient", "Notice", "StoppedError", "check_address"]

Notice = Callable[[str], object]
"""Told what a person who waits should know."""

KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_BASE_URL = "https://api.openai.com/v1"

FIRST_DELAY_S = 1.0
MAX_DELAY_S = 30.0
# A server that asks for more patience than this is told back to the person.
MAX_RETRY_AFTER_S = 120.0
# An answer has a few kilobytes; what has thousands of times that is none.
MAX_ANSWER_BYTES = 8_000_000

_FORMATS: Sequence[Mapping[str, Any] | None] = (
    {"type": "json_schema", "json_schema": {"name": "terms", "strict": True, "schema": SCHEMA}},
    {"type": "json_object"},
    None,
)
_REFUSES_FORMAT = {400, 422}
_BUSY = {408, 409, 425, 429}
_COUNTED = ("prompt", "completion")
_REASON_LENGTH = 300
_AGAIN = "answers so far are kept: run the same command again"


class StoppedError(SeptError):
    """The client was stopped before it could ask: by its owner, or by another request's failure."""


class _BrokenOffError(Exception):
    """An answer that began well and did not come to its end."""


class ChatClient:
    """Asks a model; may be used from several threads at once. The first request that fails for good stops it.

    Args:
        model: Name of the model, as the server calls it.
        base_url: The server's address, such as ``http://localhost:8000/v1``; None for OpenAI's own.
        timeout_s: How long an answer may take, in seconds.
        retries: How often a request that a busy or broken server failed is sent again.
        pause: Waits that many seconds between two tries; None for a wait that ``stop`` ends.
        notice: Told, once for each reason, why a request is sent again.

    Raises:
        InputError: The model, the address or the key cannot be used, or the ``openai`` package is not installed.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        timeout_s: float = 60.0,
        retries: int = 5,
        pause: Callable[[float], object] | None = None,
        notice: Notice | None = None,
    ) -> None:
        if not model.strip():
            raise InputError("no model is named", where="--model", mend="name one as the server calls it")
        address = DEFAULT_BASE_URL if base_url is None else base_url
        check_address(address)
        try:
            import openai
        except ImportError as error:
            raise InputError("the openai package is not installed", mend="pip install 'openai>=2'") from error
        self._openai = openai
        self._key = _api_key(needed=base_url is None)
        # Retries are this class's: their number and waits do not depend on the package's version.
        self._client = openai.OpenAI(api_key=self._key, base_url=address, timeout=timeout_s, max_retries=0)
        self._model = model
        self._timeout_s = timeout_s
        self._host = urlsplit(address).netloc
        self._retries = retries
        self._stopped = threading.Event()
        self._pause = self._stopped.wait if pause is None else pause
        self._notice = notice
        self._noticed: set[str] = set()
        self._lock = threading.Lock()
        self._format = 0
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        """What all answers so far have consumed."""
        with self._lock:
            return self._usage

    def stop(self) -> None:
        """Send nothing more; a request on its way is waited for, since its answer is paid for."""
        self._stopped.set()

    def ask(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text of the model's answer; empty where the server's reply holds none.

        Raises:
            InputError: The server refuses the key, or doesn't know the model or the address.
            SeptError: The server refuses the request, or still fails after all retries.
            StoppedError: Nothing is sent any more.
        """
        tries = 0
        while not self._stopped.is_set():
            used = self._format
            failure: SeptError
            try:
                return self._send(messages, used)
            except self._openai.APIStatusError as error:
                if error.status_code in _REFUSES_FORMAT and used + 1 < len(_FORMATS):
                    # Perhaps it was something else, then the last form, which asks for none, is told so.
                    self._format = max(self._format, used + 1)
                    continue
                failure = self._explain_status(error)
                patience = _retry_after(error.response.headers)
                passing = error.status_code in _BUSY or error.status_code >= 500
                final = not passing or error.code == "insufficient_quota" or (patience or 0.0) > MAX_RETRY_AFTER_S
            except self._openai.APITimeoutError:
                failure, patience, final = SeptError(f"{self._host}: no answer in {self._timeout_s:g} s"), None, False
            except (self._openai.OpenAIError, _BrokenOffError) as error:
                cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
                failure, patience, final = SeptError(f"{self._host}: {self._plain(f'{error}{cause}')}"), None, False
            # Outside of the except clauses, so that the client's exception is not this one's context.
            if not final and tries == self._retries:
                final, failure = True, SeptError(f"{failure}; gave up after {tries + 1} tries; {_AGAIN}")
            if final:
                # Here and not in the caller: another thread would send its next request meanwhile.
                self.stop()
                raise failure
            self._tell(f"{failure}; trying again")
            self._pause(_delay(tries) if patience is None else patience)
            tries += 1
        raise StoppedError("stopped")

    def _send(self, messages: Sequence[Mapping[str, str]], form: int) -> str:
        asked = _FORMATS[form]
        extra: dict[str, Any] = {} if asked is None else {"response_format": asked}
        create: Callable[..., Any] = self._client.chat.completions.with_streaming_response.create
        until = monotonic() + self._timeout_s
        with create(model=self._model, messages=list(messages), **extra) as response:
            body = _read(response.iter_bytes(), until, self._timeout_s)
        try:
            reply = json.loads(body)
        except (ValueError, RecursionError):
            # A success whose body is no JSON: an answer without terms, like other garbage.
            reply = None
        self._count(reply)
        try:
            text = reply["choices"][0]["message"]["content"]
        except (IndexError, KeyError, TypeError):
            return ""
        return text.replace(self._key, "***") if isinstance(text, str) else ""

    def _count(self, reply: Any) -> None:
        usage = reply.get("usage") if isinstance(reply, dict) else None
        sent, received = (usage.get(f"{kind}_tokens") if isinstance(usage, dict) else None for kind in _COUNTED)
        with self._lock:
            total = replace(self._usage, answers=self._usage.answers + 1)
            if isinstance(sent, int) and isinstance(received, int):
                self._usage = replace(
                    total, input_tokens=total.input_tokens + sent, output_tokens=total.output_tokens + received
                )
            else:
                self._usage = replace(total, uncounted=total.uncounted + 1)

    def _tell(self, line: str) -> None:
        with self._lock:
            new = line not in self._noticed
            self._noticed.add(line)
        if new and self._notice is not None and not self._stopped.is_set():
            self._notice(line)

    def _explain_status(self, error: Any) -> SeptError:
        told = error.body.get("message") if isinstance(error.body, dict) else None
        what = f"{error.status_code} {self._plain(told if isinstance(told, str) else error.message)}"
        if error.status_code in {401, 403}:
            return InputError(f"the server refuses the key: {what}", where=self._host, mend=f"check {KEY_VARIABLE}")
        if error.status_code == 404:
            return InputError(f"not found: {what}", where=self._host, mend="check --model and --base-url")
        if (patience := _retry_after(error.response.headers) or 0.0) > MAX_RETRY_AFTER_S:
            return SeptError(f"{self._host}: asks to come back in {patience:.0f} s: {what}; {_AGAIN} then")
        if error.code == "insufficient_quota":
            return SeptError(f"{self._host}: {what}; add credit; {_AGAIN} then")
        return SeptError(f"{self._host}: {what}")

    def _plain(self, text: object) -> str:
        """One printable line of bounded length, without the key."""
        line = " ".join(str(text).replace(self._key, "***").split())
        return "".join(character if character.isprintable() else "?" for character in line)[:_REASON_LENGTH]


def _read(chunks: Iterable[bytes], until: float, timeout_s: float) -> bytes:
    """The whole of an answer.

    The client's own time-out is for each read: a server that sends a space now and then, as gateways do to keep a
    connection open, would never reach it.

    Raises:
        _BrokenOffError: It ends too early, takes too long or has no end.
    """
    body = bytearray()
    try:
        for chunk in chunks:
            body += chunk
            if monotonic() > until or len(body) > MAX_ANSWER_BYTES:
                break
        else:
            return bytes(body)
    except Exception as error:
        # Which HTTP library lies beneath, and so which exceptions, depends on the version of the openai package.
        raise _BrokenOffError(f"the answer broke off ({error})") from None
    raise _BrokenOffError(f"no complete answer in {timeout_s:g} s" if monotonic() > until else "the answer has no end")


def check_address(address: str) -> None:
    """Refuse what is no address of a server, or carries a secret.

    Raises:
        InputError: It is such.
    """
    try:
        parts = urlsplit(address)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise InputError("not an address", where="--base-url", mend="write it like http://localhost:8000/v1") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        # Not shown: what stands there may be a secret.
        raise InputError(
            "the address carries a user, password or query", where="--base-url", mend=f"give the key in {KEY_VARIABLE}"
        )
    if not known:
        raise InputError(
            f"'{address}' is no address", where="--base-url", mend="write it like http://localhost:8000/v1"
        )


def _api_key(*, needed: bool) -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key and needed:
        raise InputError(f"{KEY_VARIABLE} is not set", mend="set it to your key, or name another server by --base-url")
    if not key.isascii() or not key.isprintable() or " " in key:
        # The HTTP library would name the header's value in its own complaint.
        raise InputError(f"the key in {KEY_VARIABLE} has characters that no key has", mend="set it again")
    # Servers of one's own mostly want none, but the client wants something to send.
    return key or "no-key"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait; None where it doesn't say."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(seconds, 0.0)


def _delay(tries: int) -> float:
    # Spread, so that requests that failed together don't come back together.
    return float(min(FIRST_DELAY_S * 2.0**tries, MAX_DELAY_S) * random.uniform(0.75, 1.0))
