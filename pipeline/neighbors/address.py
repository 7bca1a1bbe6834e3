"""Addresses of OpenAI-compatible servers, including Azure's with their ``?api-version=``, and the key for them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from sept_core.errors import InputError

__all__ = ["DEFAULT_BASE_URL", "KEY_VARIABLE", "Address", "api_key", "read_address"]

KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_BASE_URL = "https://api.openai.com/v1"

_EXAMPLE = "write it like http://localhost:8000/v1"
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


@dataclass(frozen=True)
class Address:
    """Where a server is.

    Args:
        url: The address without a query or a final slash; the client appends ``/chat/completions``.
        api_version: The version that Azure needs in every request's query; None for other servers.
    """

    url: str
    api_version: str | None = None

    @property
    def host(self) -> str:
        """The server's name and port."""
        return urlsplit(self.url).netloc

    @property
    def query(self) -> dict[str, str]:
        """The query parameters of every request."""
        return {} if self.api_version is None else {"api-version": self.api_version}

    def key_headers(self, key: str) -> dict[str, str]:
        """The headers with the key; Azure's addresses with a version use another header."""
        return {"Authorization": f"Bearer {key}"} if self.api_version is None else {"api-key": key}


def read_address(text: str) -> Address:
    """Parse an address; a final ``/chat/completions`` is removed.

    Raises:
        InputError: It is not a server's address, or contains what may be a secret. Such parts are not shown.
    """
    try:
        parts = urlsplit(text.strip())
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise InputError("not an address", where="--base-url", fix=_EXAMPLE) from None
    key = f"the key is read from {KEY_VARIABLE}"
    if parts.username is not None or parts.password is not None:
        raise InputError("the address contains a user or password", where="--base-url", fix=f"leave it out; {key}")
    given = parse_qsl(parts.query, keep_blank_values=True)
    if parts.fragment or any(name != "api-version" for name, _ in given) or (parts.query and not given):
        fix = f"leave out everything after the path except ?api-version=VERSION; {key}"
        raise InputError("the address has parts that a server's address does not have", where="--base-url", fix=fix)
    if len(given) > 1 or not all(_VERSION.fullmatch(version) for _, version in given):
        fix = "write it like ?api-version=2024-10-21"
        raise InputError("api-version in the address is not a single version", where="--base-url", fix=fix)
    if not known or re.search(r"[\s\x00-\x1f]|\.\.", parts.netloc):
        raise InputError(f"'{text}' is not an address", where="--base-url", fix=_EXAMPLE)
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return Address(f"{parts.scheme}://{parts.netloc}{path}", given[0][1] if given else None)


def api_key(*, needed: bool) -> str:
    """The key in the environment; empty if there is none.

    Args:
        needed: Whether to refuse an environment without one.

    Raises:
        InputError: It is needed but missing, or has characters that no key has.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key and needed:
        raise InputError(f"{KEY_VARIABLE} is not set", fix="set it to your key, or name another server by --base-url")
    if not key.isascii() or not key.isprintable() or " " in key:
        # The HTTP library would quote the header in its own error message.
        raise InputError(f"the key in {KEY_VARIABLE} has characters that no key has", fix="set it again")
    return key
