"""Addresses of OpenAI-compatible servers, Azure's with their ``?api-version=`` included."""

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
        url: Without a query and without a final slash; the client appends ``/chat/completions``.
        api_version: What Azure wants in every request's query; None for other servers.
    """

    url: str
    api_version: str | None = None

    @property
    def host(self) -> str:
        """Name and port."""
        return urlsplit(self.url).netloc

    @property
    def query(self) -> dict[str, str]:
        """Parameters of every request."""
        return {} if self.api_version is None else {"api-version": self.api_version}

    def key_headers(self, key: str) -> dict[str, str]:
        """The headers that carry the key: Azure's addresses with a version read it from a header of their own."""
        return {"Authorization": f"Bearer {key}"} if self.api_version is None else {"api-key": key}


def read_address(text: str) -> Address:
    """Take an address apart; one that was copied with ``/chat/completions`` at its end is taken without it.

    Raises:
        InputError: It is no address of a server, or carries what may be a secret. Such parts are not shown.
    """
    try:
        parts = urlsplit(text.strip())
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise InputError("not an address", where="--base-url", fix=_EXAMPLE) from None
    key = f"the key is read from {KEY_VARIABLE}"
    if parts.username is not None or parts.password is not None:
        raise InputError("the address carries a user or password", where="--base-url", fix=f"leave it out; {key}")
    given = parse_qsl(parts.query, keep_blank_values=True)
    if parts.fragment or any(name != "api-version" for name, _ in given) or (parts.query and not given):
        fix = f"leave out everything after the path but ?api-version=VERSION; {key}"
        raise InputError("the address carries more than a server's address does", where="--base-url", fix=fix)
    if len(given) > 1 or not all(_VERSION.fullmatch(version) for _, version in given):
        fix = "write it like ?api-version=2024-10-21"
        raise InputError("api-version in the address is not one version", where="--base-url", fix=fix)
    if not known or re.search(r"[\s\x00-\x1f]|\.\.", parts.netloc):
        raise InputError(f"'{text}' is no address", where="--base-url", fix=_EXAMPLE)
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return Address(f"{parts.scheme}://{parts.netloc}{path}", given[0][1] if given else None)


def api_key(*, needed: bool) -> str:
    """The key in the environment; empty where there is none.

    Args:
        needed: Whether to refuse an environment without one.

    Raises:
        InputError: There is none and it is needed, or it has characters that no key has.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key and needed:
        raise InputError(f"{KEY_VARIABLE} is not set", fix="set it to your key, or name another server by --base-url")
    if not key.isascii() or not key.isprintable() or " " in key:
        # The HTTP library would name the header's value in its own complaint.
        raise InputError(f"the key in {KEY_VARIABLE} has characters that no key has", fix="set it again")
    return key
