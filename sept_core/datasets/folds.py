"""What a clip's ``fold`` means: which test folds it is tested in, and which it may be trained for.

Almost always a fold is a plain name. ``"3"`` of a k-fold data set is tested in fold 3 and trained on in all others;
``"train"`` and ``"test"`` are the two parts of a fixed split. Some published split files cannot be written as a plain
name (test sets overlap, or training sets leave clips out): then both sides are listed, as in ``"train=1;test=2,3"``. So
a manifest can store any published split as it is, and a faulty split is refused when it is used, with the overlap
listed, not silently fixed when it is read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sept_core.errors import InputError

if TYPE_CHECKING:
    from sept_core.datasets.registry import DatasetInfo

__all__ = ["RESERVED", "Roles", "fold_of", "roles_of"]

RESERVED = frozenset(",;=")
"""Characters that a fold's name may not contain."""


@dataclass(frozen=True)
class Roles:
    """The test folds in which a clip has a role.

    Args:
        train: Folds whose pool contains it.
        test: Folds whose test set contains it.
    """

    train: frozenset[str]
    test: frozenset[str]


@lru_cache(maxsize=4096)
def roles_of(fold: str, info: DatasetInfo) -> Roles:
    """Read a clip's ``fold``.

    Raises:
        InputError: It is neither a fold of the data set nor roles in such folds.
    """
    if "=" in fold:
        return _written_out(fold, info)
    if info.split == "fixed":
        if fold in ("train", "test"):
            side = frozenset(info.folds)
            return Roles(side, frozenset()) if fold == "train" else Roles(frozenset(), side)
        raise _unknown(fold, ("train", "test"))
    if fold not in info.folds:
        raise _unknown(fold, info.folds)
    return Roles(frozenset(info.folds) - {fold}, frozenset({fold}))


def fold_of(train: Collection[str], test: Collection[str], info: DatasetInfo) -> str:
    """The shortest ``fold`` for a clip with these training and test folds; `roles_of` reads it back."""
    wanted = Roles(frozenset(train), frozenset(test))
    for plain in ("train", "test") if info.split == "fixed" else info.folds:
        if roles_of(plain, info) == wanted:
            return plain
    parts = (("train", wanted.train), ("test", wanted.test))
    return ";".join(f"{side}={','.join(fold for fold in info.folds if fold in folds)}" for side, folds in parts)


def _written_out(fold: str, info: DatasetInfo) -> Roles:
    sides: dict[str, frozenset[str]] = {}
    for part in fold.split(";"):
        side, _, listed = part.partition("=")
        names = frozenset(listed.split(",")) if listed else frozenset()
        if side in sides or side not in ("train", "test") or not names <= set(info.folds):
            raise _unknown(fold, info.folds)
        sides[side] = names
    return Roles(sides.get("train", frozenset()), sides.get("test", frozenset()))


def _unknown(fold: str, known: Collection[str]) -> InputError:
    return InputError(f"unknown fold '{fold}'", fix=f"folds are {', '.join(known)}")
