"""Reads a server's reply: the terms in it, or why there are none, in the server's or the model's own words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.neighbors.terms import read_terms

__all__ = ["Unusable", "blames_format", "blames_token_limit", "error_code", "flagged", "parsed", "read_reply", "said"]

# Where servers put their message: OpenAI's form, FastAPI's, and those of gateways.
_WORDS = ("error", "message", "msg", "detail", "errors", "error_description", "description", "reason", "title")
_MOST_READ = 20_000
_MOST_ITEMS = 3
_DEEPEST = 6
_FORMAT = re.compile(
    r"response[_ .-]?format|json[_ -]?(schema|object|mode|validate)|structured[_ -]?(output|generation|decoding)"
    r"|guided[_ -](json|decoding|grammar)|grammar|requested parameters|failed to generate json"
)
_TOKEN_LIMIT = re.compile(r"max_tokens.*(unsupported|not supported|unknown|unrecognized|not permitted|instead)")
# Messages that do not name a part of the request.
_VAGUE = re.compile(
    r"(?:[\W\d_]|bad|invalid|malformed|request|error|unprocessable|entity|content|parameters?|arguments?|fields?|body"
    r"|unknown|unsupported|supported|not|permitted|extra|inputs?|is|are|the|in|an?)*"
)


@dataclass(frozen=True)
class Unusable:
    """An answer without terms; its ``str`` is one line.

    Args:
        reason: The reason, in the same words for every answer with that reason.
        words: What the server or the model wrote instead; empty if nothing.
        fix: What a person can do about it.
        error: The error that the server reported, if any, as a parsed body.
    """

    reason: str
    words: str = ""
    fix: str = ""
    error: Any = None

    def __str__(self) -> str:
        return f"{self.reason}: '{self.words}'" if self.words else self.reason


def parsed(body: bytes) -> Any:
    """A body as JSON; its text if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body[:_MOST_READ].decode(errors="replace")


def said(body: Any, depth: int = 0) -> str:
    """The message of a parsed body that reports an error, in any form: an object, a list, a text or a web page."""
    if depth > _DEEPEST or body is None:
        return ""
    if isinstance(body, str):
        text = body[:_MOST_READ]
        page = text.lstrip().lower().startswith(("<!doctype", "<html", "<head", "<body", "<?xml"))
        return re.sub(r"(?s)<(script|style)\b.*?</\1>|<[^>]*>", " ", text).strip() if page else text.strip()
    if isinstance(body, list):
        return "; ".join(filter(None, (said(item, depth + 1) for item in body[:_MOST_ITEMS])))
    if not isinstance(body, dict):
        return "" if isinstance(body, bool) else str(body)
    words = next(filter(None, (said(body.get(name), depth + 1) for name in _WORDS)), "")
    if isinstance(place := body.get("loc"), list):
        words = f"{'.'.join(map(str, place))}: {words}"
    # A gateway's "provider returned error" is followed by the provider's message.
    details = body.get("metadata")
    if isinstance(details, dict) and isinstance(raw := details.get("raw"), str):
        words = f"{words} ({raw[:_MOST_READ]})"
    try:
        return words or json.dumps(body)[:_MOST_READ]
    except RecursionError:
        return ""


def error_code(body: Any) -> str:
    """The code of a reported error, such as ``insufficient_quota``; empty if it has none."""
    error = _error(body)
    return next((value for name in ("code", "type") if isinstance(value := error.get(name), str)), "")


def blames_format(body: Any, status: int) -> bool:
    """Whether a reported error is about ``response_format``, or a refusal does not name its cause."""
    words = f"{said(body)} {_labels(body)}".lower()
    return bool(_FORMAT.search(words)) or (status in {400, 422} and bool(_VAGUE.fullmatch(said(body).lower()[:300])))


def blames_token_limit(body: Any) -> bool:
    """Whether a reported error is about the name ``max_tokens``, which OpenAI's reasoning models do not accept."""
    return bool(_TOKEN_LIMIT.search(" ".join(f"{_labels(body)} {said(body)}".lower().split())[:_MOST_READ]))


def flagged(body: Any) -> bool:
    """Whether a filter refused this one request for its content, such as a class named 'gun shot'."""
    error = _error(body)
    details = error.get("metadata")
    return error.get("code") in {"content_filter", "content_policy_violation"} or (
        isinstance(details, dict) and "flagged_input" in details
    )


def read_reply(body: bytes, clean: Callable[[str], str], max_tokens: int | None = None) -> list[str] | Unusable:
    """The terms in the body of a reply that reports success.

    Terms are searched for in every choice, in content in parts, and in the arguments of a tool call, since some servers
    turn a required form into a tool.

    Args:
        body: As received.
        clean: Removes secrets from a text, in case a server or a model repeats them.
        max_tokens: The limit that the request set; None for the server's own.
    """
    reply = parsed(body)
    answered = _objects(reply.get("choices")) if isinstance(reply, dict) else []
    choices = [choice for choice in answered if isinstance(choice.get("message"), dict)]
    for message in (choice["message"] for choice in choices):
        for text in (_content(message), *_arguments(message)):
            if terms := read_terms(clean(text)):
                return [clean(term) for term in terms]
    if isinstance(reply, str):
        return _no_json(reply)
    reported = reply.get("error") if isinstance(reply, dict) else reply
    for error in (reported, *(choice.get("error") for choice in answered)):
        if error:
            fix = "do what the server says, try again later, or use another --model"
            return Unusable("the server reports an error in place of an answer", said(error), fix, error)
    if not choices:
        return Unusable("the server sent no answer from a model", said(reply), "check --base-url and --model")
    return _without_terms(choices[0]["message"], choices[0].get("finish_reason"), max_tokens)


def _without_terms(message: Mapping[str, Any], finish: object, max_tokens: int | None) -> Unusable:
    text = _content(message)
    refusals = (part.get("refusal") for part in (message, *_objects(message.get("content"))))
    if refusal := next((value for value in refusals if isinstance(value, str) and value), ""):
        return Unusable("the model refuses to answer", refusal, "use another --model")
    if finish == "content_filter":
        return Unusable("a content filter withheld the answer", text, "use another --model or server")
    limit = "set --max-tokens" if max_tokens is None else f"set --max-tokens above {max_tokens}"
    if finish == "length":
        return Unusable("the answer was cut off at the token limit", text, f"{limit}, or ask for fewer terms by --n")
    if not text:
        if message.get("tool_calls") or message.get("function_call"):
            return Unusable("the model calls a tool in place of an answer", fix="use another --model")
        if message.get("reasoning_content") or message.get("reasoning"):
            fix = f"{limit}, or switch reasoning off at the server"
            return Unusable("the model only reasoned and gave no answer", fix=fix)
        return Unusable("the answer is empty", fix="use another --model")
    return Unusable("the answer holds no list of terms", text, "use another --model")


def _no_json(text: str) -> Unusable:
    start = text.lstrip()[:5].lower()
    if start == "data:" or start.startswith(":"):
        fix = "switch streaming off at the server, or use another server"
        return Unusable("the server streams its answer, although that was not requested", text.strip(), fix)
    if start.startswith("<"):
        fix = "check --base-url; it commonly ends in /v1"
        return Unusable("the server sent a web page in place of an answer", said(text), fix)
    return Unusable("the server's answer is not JSON", text.strip(), "check --base-url; it commonly ends in /v1")


def _content(message: Mapping[str, Any]) -> str:
    """The text of a message; if it is in parts, only those of the answer, not of the reasoning before it."""
    content = message.get("content")
    if isinstance(content, str):
        return content.strip()
    parts = content if isinstance(content, list) else []
    texts = (
        part if isinstance(part, str) else part.get("text")
        for part in parts
        if isinstance(part, str) or (isinstance(part, dict) and part.get("type") in {None, "text", "output_text"})
    )
    return "".join(text for text in texts if isinstance(text, str)).strip()


def _arguments(message: Mapping[str, Any]) -> Iterable[str]:
    for call in (*(call.get("function") for call in _objects(message.get("tool_calls"))), message.get("function_call")):
        if isinstance(call, dict) and isinstance(arguments := call.get("arguments"), str):
            yield arguments


def _objects(found: object) -> list[dict[str, Any]]:
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _error(body: Any) -> Mapping[str, Any]:
    """The object that describes an error: the body itself, its ``error``, or the first item of a list."""
    first = (_objects(body) or [{}])[0] if isinstance(body, list) else body
    if not isinstance(first, dict):
        return {}
    return first["error"] if isinstance(first.get("error"), dict) else first


def _labels(body: Any) -> str:
    error = _error(body)
    return " ".join(value for name in ("param", "code", "type") if isinstance(value := error.get(name), str))
