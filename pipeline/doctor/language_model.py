"""The server that ``sept neighbors`` would ask. The key goes into a header, and into nothing that is said."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from pipeline.doctor.checks import Check
from pipeline.neighbors.address import DEFAULT_BASE_URL, KEY_VARIABLE, read_address
from sept_core.documents import parse_json

__all__ = ["check_language_model"]

_TIMEOUT_S = 5.0
_MOST_BYTES = 4_000_000
_NAME = "language model"


def check_language_model(base_url: str | None) -> Sequence[Check]:
    """An OpenAI-compatible server: its list of models.

    Args:
        base_url: Its address; None for OpenAI's own, which is asked only where there is a key.

    Raises:
        InputError: It is no address.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if base_url is None and not key:
        said = f"none is named (--base-url, {KEY_VARIABLE}); only sept neighbors needs one"
        return [Check(_NAME, "green", said)]
    address = read_address(base_url or DEFAULT_BASE_URL)
    host = address.host
    # Azure lists models beside its deployments.
    listing = f"{address.url.partition('/deployments/')[0]}/models"
    query = f"?{urlencode(address.query)}" if address.query else ""
    request = urllib.request.Request(f"{listing}{query}")  # noqa: S310 (http or https)
    if key:
        if not (key.isascii() and key.isprintable() and " " not in key):
            return [Check(_NAME, "red", f"{KEY_VARIABLE} holds what no key is", f"export {KEY_VARIABLE}=...")]
        for name, value in address.key_headers(key).items():
            request.add_unredirected_header(name, value)
    try:
        with _opener().open(request, timeout=_TIMEOUT_S) as answer:
            listed = parse_json(answer.read(_MOST_BYTES))["data"]
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            return [Check(_NAME, "red", f"{host} refuses the key ({error.code})", f"export {KEY_VARIABLE}=...")]
        fix = "check --base-url; it commonly ends in /v1"
        return [Check(_NAME, "red", f"{host} does not list its models (status {error.code})", fix)]
    except OSError as error:
        reason: Any = getattr(error, "reason", error)
        said = f"{host} cannot be reached: {getattr(reason, 'strerror', None) or type(reason).__name__}"
        return [Check(_NAME, "red", said, "start it, or name another: --base-url URL")]
    except (ValueError, KeyError, TypeError):
        return [Check(_NAME, "red", f"{host} answers, and not with a list of models", "check --base-url")]
    return [Check(_NAME, "green", f"{host} answers and has {len(listed)} models")]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key is for the server that was named, and for no other."""

    def redirect_request(self, *_: Any) -> None:
        """None: the answer is the redirection itself."""
        return


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirect)
