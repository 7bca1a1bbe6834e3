"""The folds of a data set that can be tested on with an encoder that may have seen some of its clips."""

from __future__ import annotations

from collections.abc import Sequence

from sept_core.datasets.folds import roles_of
from sept_core.datasets.pretraining import Pretraining, heard_rows
from sept_core.datasets.registry import DatasetInfo, halves
from sept_core.datasets.table import EmbeddingTable
from sept_core.errors import InputError

__all__ = ["unheard_folds", "usable_folds"]


def usable_folds(info: DatasetInfo, seen: Sequence[str]) -> tuple[str, ...]:
    """The test folds, in order, without the folds of the encoder's pretraining.

    Seen folds are left out of the pool as well, so at least one more fold than the test fold must remain.

    Raises:
        InputError: Nothing is left to test on or to draw from, or ``seen`` names a fold the data set does not have.
    """
    known = info.folds if info.split == "kfold" else ("train", "test")
    strange = sorted(set(seen) - set(known))
    if strange:
        # Ignoring a misspelt fold would let pretraining clips into the test set.
        raise InputError(f"seen folds {strange} do not exist", where=info.name, fix=f"folds are {', '.join(known)}")
    left = tuple(fold for fold in known if fold not in seen)
    if len(left) < 2:
        raise InputError(
            f"the encoder saw folds {', '.join(sorted(set(seen)))} in its pretraining, which leaves "
            f"{'only ' + left[0] if left else 'nothing'} to draw shots from and test on",
            where=info.name,
            fix="use an encoder that did not train on this data set",
        )
    return left if info.split == "kfold" else info.folds


def unheard_folds(table: EmbeddingTable, info: DatasetInfo, pretraining: Pretraining) -> tuple[str, ...]:
    """The ``usable_folds`` that still test base and new classes without the clips that the encoder has heard.

    Args:
        table: Embeddings of ``info``'s clips.
        info: The data set.
        pretraining: What the encoder was trained on.

    Raises:
        InputError: No fold is left.
    """
    folds = usable_folds(info, pretraining.folds.get(info.name, ()))
    heard = heard_rows(table, pretraining)
    if not heard:
        return folds
    new = set(halves(info.classnames)[1])
    tested = {
        (fold, classname in new)
        for row, (place, classname) in enumerate(zip(table.folds, table.classnames, strict=True))
        if row not in heard
        for fold in roles_of(place, info).test
    }
    left = tuple(fold for fold in folds if {(fold, False), (fold, True)} <= tested)
    if not left:
        raise InputError(
            f"the encoder was pretrained on {len(heard)} of its {len(table)} clips, which leaves no fold to test on",
            where=info.name,
            fix="use an encoder that did not train on these clips",
        )
    return left
