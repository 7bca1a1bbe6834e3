"""The protocol of a storage back end, the same for a folder and a bucket.

It promises three things, and the rest of the store relies on nothing else: a reader sees a complete object or none,
``create`` and ``replace`` have one winner, and what was written stays written. A back end is correct if the conformance
suite in the tests passes on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from sept_core.errors import InputError, SeptError

__all__ = ["Files", "Keys", "StoreAway", "StoreDenied", "StoreError", "check_key"]

# ``Files.list`` hides the builtin's name inside its classes.
Keys = list[str]


class StoreError(SeptError):
    """The store's storage failed (disk full, no permission, input/output error); names the object and the reason."""


class StoreAway(StoreError):  # noqa: N818 (it names a state, like BlockingIO)
    """A storage that answered before cannot be reached, even after waiting; it may come back later."""

    resumable = True


class StoreDenied(StoreError, InputError):  # noqa: N818
    """The storage does not allow this user to do that, or is read-only: a person must fix it."""


class Files(Protocol):
    """Objects by key. A key is a relative posix path such as ``sweeps/quickstart/spec.yaml``.

    Contract of every back end:

    * ``write``, ``create`` and ``replace`` publish atomically: a reader gets the old bytes, the new bytes or
      ``FileNotFoundError``, never a part, even if the writer is killed at any moment. When they return, the object
      survives a power cut (of the machine that keeps it).
    * Of any number of concurrent ``create`` calls for one key exactly one returns True, and of concurrent ``replace``
      calls that expect the same bytes at most one. A key that is changed by ``replace`` is not changed by ``write``.
    * Methods may be called from several threads and processes at once.
    * Failures of the storage itself raise ``StoreError``; a malformed key raises ``ValueError``. After a ``StoreError``
      of a writing method the object is the old one or the new one.
    """

    def read(self, key: str) -> bytes:
        """The bytes of an object; ``FileNotFoundError`` if there is none."""
        ...

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The bytes of those objects that exist, in the order of ``keys``; much faster than one by one in a bucket."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Publish an object, replacing an existing one."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Publish an object only if there is none; returns whether this call did."""
        ...

    def replace(self, key: str, expected: bytes | None, data: bytes) -> bool:
        """Publish an object only in place of ``expected`` (None: of nothing); returns whether this call did.

        No other ``replace`` happens between the last look at the old object and the new one's appearance.
        """
        ...

    def exists(self, key: str) -> bool:
        """Whether the object exists (a folder is not an object)."""
        ...

    def list(self, prefix: str = "") -> Keys:
        """Sorted keys of all objects under the folder ``prefix``, at any depth; empty if there is no such folder."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; no error if there is none."""
        ...

    def remove(self, key: str, expected: bytes) -> bool:
        """Remove an object only if its bytes are ``expected``; returns whether it was removed.

        What another process puts there meanwhile stays, except in a bucket whose server ignores the conditions of a
        removal: there, one request passes between the look at the object and its removal.
        """
        ...

    def local_path(self, key: str) -> Path | None:
        """Where the object is (or would be) on this machine's disk; None if the back end has no such place."""
        ...

    def address(self, key: str) -> str:
        """Where the object is (or would be), for display: a path, or an ``s3://`` address."""
        ...


def check_key(key: str) -> str:
    """Return ``key`` if it is a relative posix path without hidden or climbing parts; else raise ``ValueError``."""
    parts = key.split("/")
    if not key or "\\" in key or "\0" in key or any(not part or part.startswith(".") for part in parts):
        raise ValueError(f"not a key of the store: {key!r}")
    return key
