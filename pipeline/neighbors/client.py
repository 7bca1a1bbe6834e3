"""Sends one question to an OpenAI-compatible server: structured output if possible, retries if it is busy, no secrets.

The API key comes from the environment and goes into the request's header. It is removed from every text that leaves
this module, and no exception that leaves it has the SDK's own exception (which knows the request) behind it. The SDK
decides what to retry and how long to wait. This module only tells it which errors no wait will change: a used-up quota,
or a form of answer that the server does not support.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any
from urllib.parse import urljoin

from pipeline.neighbors.address import DEFAULT_BASE_URL, KEY_VARIABLE, api_key, read_address
from pipeline.neighbors.cost import Usage
from pipeline.neighbors.prompt import SCHEMA
from pipeline.neighbors.reply import (
    Unusable,
    blames_format,
    blames_token_limit,
    error_code,
    flagged,
    parsed,
    read_reply,
    said,
)
from sept_core.errors import InputError, SeptError

__all__ = ["ChatClient", "Notice", "StoppedError"]

Notice = Callable[[str], object]
"""Called with a line for the person who waits."""

_FORMATS: Sequence[Mapping[str, Any] | None] = (
    {"type": "json_schema", "json_schema": {"name": "terms", "strict": True, "schema": SCHEMA}},
    {"type": "json_object"},
    None,
)
RETRIES = 5
"""How often the SDK repeats a request that a busy, broken or unreachable server did not answer."""

_COUNTS = ("prompt_tokens", "completion_tokens")
_REASON_LENGTH = 300
_AGAIN = "answers so far are kept: run the same command again"
# The SDK itself waits at most 8 s; only a server asks for longer waits.
_LONG_WAIT_S = 10.0
# Shorter keys are placeholders such as "none": removing these from texts would damage the texts.
_SHORTEST_SECRET = 8


class StoppedError(SeptError):
    """The client was stopped before this request, by its owner or by another request's failure."""


class _SilentError(Exception):
    """The server did not answer within the time-out, twice."""


@dataclass(frozen=True)
class _Form:
    """The form of request that the server supports, as learned from its refusals."""

    format: int = 0
    limit_name: str = "max_tokens"


class ChatClient:
    """Asks a model; may be used from several threads at once. The first request that fails finally stops it.

    Args:
        model: Name of the model, as the server calls it.
        base_url: The server's address, such as ``http://localhost:8000/v1``; None for OpenAI's own.
        timeout_s: How long to wait for an answer, in seconds.
        max_tokens: Longest answer, in tokens; None for the server's own limit.
        notice: Called, once for each reason, when a request is repeated.

    Raises:
        InputError: The model, the address or the key cannot be used, or the ``openai`` package is not installed.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        timeout_s: float = 60.0,
        max_tokens: int | None = None,
        notice: Notice | None = None,
    ) -> None:
        if not model.strip():
            raise InputError("no model is named", where="--model", fix="name one as the server calls it")
        address = read_address(DEFAULT_BASE_URL if base_url is None else base_url)
        try:
            import openai

            from pipeline.neighbors.connection import open_client
        except ImportError as error:
            raise InputError("the openai package is not installed", fix="pip install 'openai>=3'") from error
        self._openai = openai
        self._key = api_key(needed=base_url is None)
        self._client, self._headers = open_client(
            address, self._key, timeout_s=timeout_s, retries=RETRIES, wait=self._wait, look=self._look
        )
        self._model = model
        self._own_server = base_url is not None
        self._timeout_s = timeout_s
        self._max_tokens = max_tokens
        self._address = address
        self.host = address.host
        self._stopped = threading.Event()
        self._notice = notice
        self._noticed: set[str] = set()
        self._lock = threading.Lock()
        self._local = threading.local()
        self._form = _Form()
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        """The tokens of all answers so far."""
        with self._lock:
            return self._usage

    def stop(self) -> None:
        """Send no more requests; a request in progress is still waited for, since its answer is paid for."""
        self._stopped.set()

    def ask(self, messages: Sequence[Mapping[str, str]]) -> list[str] | Unusable:
        """The terms in the model's answer, or why there are none.

        Raises:
            InputError: The server refuses the key, or doesn't know the model or the address.
            SeptError: The server refuses the request, or still fails after all retries.
            StoppedError: The client was stopped.
        """
        while not self._stopped.is_set():
            answer = self._ask_once(messages, self._form)
            # Raised here, so that the SDK's exception is not this one's context.
            if isinstance(answer, SeptError):
                # Stopped here, not by the caller: another thread would send its next request meanwhile.
                self.stop()
                raise answer
            if answer is not None:
                return answer
        raise StoppedError("stopped")

    def _ask_once(self, messages: Sequence[Mapping[str, str]], form: _Form) -> list[str] | Unusable | SeptError | None:
        """The result of one request; None if it must be repeated in another form."""
        self._local.began = monotonic()
        try:
            body = self._send(messages, form)
        except StoppedError:
            return None
        except self._openai.APIStatusError as error:
            return self._explain(error.response, form)
        except (self._openai.APITimeoutError, _SilentError) as error:
            twice = ", twice" if isinstance(error, _SilentError) else ""
            fix = f"raise --timeout if the model is slow; {_AGAIN}"
            return SeptError(f"{self.host}: no answer in {self._timeout_s:g} s{twice}; {fix}")
        except self._openai.OpenAIError as error:
            cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
            gave_up = _gave_up(getattr(error, "request", None))
            check = "check --base-url and that the server runs" if self._own_server else "check the network"
            return SeptError(f"{self.host}: {self._plain(f'{error}{cause}')}{gave_up}; {check}; {_AGAIN}")
        answer = read_reply(body, self._clean, self._max_tokens)
        if isinstance(answer, Unusable):
            if answer.error is not None and self._learns(answer.error, 200, form):
                return None
            return replace(answer, words=self._plain(answer.words), error=None)
        return answer

    def _send(self, messages: Sequence[Mapping[str, str]], form: _Form) -> bytes:
        wanted = _FORMATS[form.format]
        extra: dict[str, Any] = {"extra_headers": self._headers}
        if wanted is not None:
            extra["response_format"] = wanted
        if self._max_tokens is not None:
            extra[form.limit_name] = self._max_tokens
        create: Callable[..., Any] = self._client.chat.completions.with_raw_response.create
        body = bytes(create(model=self._model, messages=list(messages), **extra).content)
        self._count(parsed(body))
        return body

    def _look(self, response: Any) -> None:
        """Tell the SDK, by a header that it obeys, which errors not to retry."""
        if response.status_code < 400:
            return
        response.read()
        body = parsed(response.content)
        hopeless = response.status_code == 501 or error_code(body) == "insufficient_quota"
        if hopeless or blames_format(body, response.status_code) or blames_token_limit(body):
            response.headers["x-should-retry"] = "false"

    def _wait(self, seconds: float, retries: int, response: Any) -> None:
        """Wait as long as the SDK says, unless the client is stopped."""
        if response is not None:
            failure = self._words(response)
        elif monotonic() - self._local.began < self._timeout_s:
            failure = "connection failed"
        elif retries:
            # Each of these requests may still be answered, and paid for, when nobody listens any more.
            raise _SilentError
        else:
            failure = f"no answer in {self._timeout_s:g} s"
        self._tell(f"{self.host}: {failure}; trying again" + (f" in {seconds:.0f} s" if seconds > _LONG_WAIT_S else ""))
        if self._stopped.wait(seconds):
            raise StoppedError("stopped")
        self._local.began = monotonic()

    def _learns(self, error: Any, status: int, used: _Form) -> bool:
        """Whether a reported error is about the form of the request, and there is another form to try."""
        with self._lock:
            if self._max_tokens is not None and used.limit_name == _Form.limit_name and blames_token_limit(error):
                self._form = replace(self._form, limit_name="max_completion_tokens")
            elif used.format + 1 < len(_FORMATS) and blames_format(error, status):
                self._form = replace(self._form, format=max(self._form.format, used.format + 1))
            else:
                return False
        return True

    def _explain(self, response: Any, form: _Form) -> Unusable | SeptError | None:
        """What an error's status and body mean for the person; None if there is another form to try."""
        status, body = response.status_code, parsed(response.content)
        if self._learns(body, status, form):
            return None
        what = self._words(response)
        if flagged(body):
            words = self._plain(said(body))
            return Unusable("a content filter refuses the request", words, "use another --model or server")
        if status < 400:
            return self._moved(response, what)
        if status == 401 and not self._key:
            return InputError(f"the server needs a key: {what}", where=self.host, fix=f"set {KEY_VARIABLE} to it")
        if status in {401, 403}:
            fix = f"check {KEY_VARIABLE}" if status == 401 else f"check what the key in {KEY_VARIABLE} may use"
            return InputError(f"the server refuses the key: {what}", where=self.host, fix=fix)
        if status in {404, 405}:
            fix = "check --model and --base-url" if self._own_server else "check --model"
            if "/deployments/" in self._address.url and self._address.api_version is None:
                fix += "; Azure's address needs ?api-version=VERSION at its end"
            elif "/v1" not in self._address.url and self._address.api_version is None:
                fix += ", which commonly ends in /v1"
            return InputError(f"not found: {what}", where=self.host, fix=fix)
        if status == 402 or error_code(body) == "insufficient_quota":
            return SeptError(f"{self.host}: {what}; add credit; {_AGAIN} then")
        if gave_up := _gave_up(response.request):
            return SeptError(f"{self.host}: {what}{gave_up}; {_AGAIN}")
        for name, unit in (("retry-after-ms", " ms"), ("retry-after", " s")):
            if later := self._plain(response.headers.get(name, ""))[:40]:
                # Longer than the two minutes that the SDK waits.
                when = f"in {later}{unit}" if later.isdigit() else f"at {later}"
                return SeptError(f"{self.host}: asks to come back {when}: {what}; {_AGAIN} then")
        return SeptError(f"{self.host}: {what}")

    def _moved(self, response: Any, what: str) -> SeptError:
        location = response.headers.get("location")
        if not location:
            return InputError(f"no answer, only {what}", where=self.host, fix="check --base-url")
        to = self._plain(urljoin(str(response.request.url), location).partition("?")[0])
        base = to.removesuffix("/chat/completions")
        fix = "check --base-url" if base in {to, self._address.url} else f"give --base-url {base}"
        return InputError(f"the server redirects requests to {to} ({what})", where=self.host, fix=fix)

    def _count(self, reply: Any) -> None:
        usage = reply.get("usage") if isinstance(reply, dict) else None
        counts = [usage.get(name) for name in _COUNTS] if isinstance(usage, dict) else []
        sent, received = (count if type(count) is int and count >= 0 else None for count in counts or (None, None))
        with self._lock:
            total = replace(self._usage, answers=self._usage.answers + 1)
            if sent is not None and received is not None:
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

    def _words(self, response: Any) -> str:
        """An error's status and the server's message, which may begin with it."""
        status = str(response.status_code)
        words = self._plain(said(parsed(response.content)) or response.reason_phrase)
        return words if words.startswith(status) else f"{status} {words}".rstrip()

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if len(self._key) >= _SHORTEST_SECRET else text

    def _plain(self, text: object) -> str:
        """One printable line of limited length, without the key."""
        line = " ".join(self._clean(str(text)).split())
        return "".join(character if character.isprintable() else "?" for character in line)[:_REASON_LENGTH]


def _gave_up(request: Any) -> str:
    """How often the SDK sent the request, if more than once; it counts that in a header."""
    retries = getattr(request, "headers", {}).get("x-stainless-retry-count", "0")
    return "" if retries == "0" else f"; gave up after {int(retries) + 1} tries"
