"""The door to where bytes live: one small protocol, which a folder and a bucket pass through alike.

The door promises four things and the rest of the store relies on nothing else: a reader sees a whole object or none,
``create`` and ``replace`` have one winner, and what was written stays written. A backend passes when the conformance
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
    """A storage that was there before cannot be reached, and was waited for; it may be back later."""

    resumable = True


class StoreDenied(StoreError, InputError):  # noqa: N818
    """The storage lets this user not do that, or is read-only: a person has to do something about it."""


class Files(Protocol):
    """Objects by key. A key is a relative posix path such as ``sweeps/quickstart/spec.yaml``.

    Contract of every backend:

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
        """The bytes of an object; ``FileNotFoundError`` when there is none."""
        ...

    def read_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The bytes of all objects that are there, in the order of ``keys``; far faster than one after the other
        where each takes a request.
        """
        ...

    def write(self, key: str, data: bytes) -> None:
        """Publish an object, replacing one that is there."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Publish an object only if there is none; returns whether it was this call that did."""
        ...

    def replace(self, key: str, expected: bytes | None, data: bytes) -> bool:
        """Publish an object only in place of ``expected`` (None: of nothing); returns whether it was this call that
        did. Between the last look at the old object and the new one's appearance no other ``replace`` comes.
        """
        ...

    def exists(self, key: str) -> bool:
        """Whether there is an object (a folder is none)."""
        ...

    def list(self, prefix: str = "") -> Keys:
        """Sorted keys of all objects under the folder ``prefix``, at any depth; empty when there is no such folder."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""
        ...

    def remove(self, key: str, expected: bytes) -> bool:
        """Remove an object only where its bytes are ``expected``; returns whether it was removed. What somebody puts
        there meanwhile stays, except in a bucket whose server ignores conditions of a removal: between the look at the
        object and its removal lies one request there.
        """
        ...

    def local_path(self, key: str) -> Path | None:
        """Where the object lies (or would lie) on this machine's disk; None where the backend has no such place."""
        ...

    def address(self, key: str) -> str:
        """Where the object lies (or would lie), to be shown to a person: a path, or an ``s3://`` address."""
        ...


def check_key(key: str) -> str:
    """Return ``key`` if it is a relative posix path without hidden or climbing parts; else raise ``ValueError``."""
    parts = key.split("/")
    if not key or "\\" in key or "\0" in key or any(not part or part.startswith(".") for part in parts):
        raise ValueError(f"not a key of the store: {key!r}")
    return key
