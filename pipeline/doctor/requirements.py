"""The requirements that the installed sept-sweep declares."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires
from shlex import join
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["install", "stated"]


def stated() -> list[Requirement]:
    """The packages, with extras and versions, that it always needs.

    Raises:
        PackageNotFoundError: It runs from its sources and is not installed.
    """
    from packaging.requirements import Requirement

    every = [Requirement(line) for line in requires("sept-sweep") or ()]
    return [one for one in every if one.marker is None or one.marker.evaluate({"extra": ""})]


def install(*names: str) -> str:
    """The command that installs these packages in the versions that it needs."""
    try:
        known = {one.name: str(one) for one in stated()}
    except PackageNotFoundError:
        known = {}
    return join(["pip", "install", *(known.get(name, name) for name in names)])
