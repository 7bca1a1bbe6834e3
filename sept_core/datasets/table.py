"""The input of everything after the encoder: one row per clip, kept on the CPU."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sept_core.datasets.registry import DatasetInfo, get_dataset
from sept_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EmbeddingTable"]

# The norm of a normalised float32 vector is 1 to about 1e-7; a larger difference means it was not normalised.
_NORM_TOLERANCE = 1e-3
_AGAIN = "make them again: sept embed DATASET --audio DIR --force"


# Compared and hashed by identity: an element-wise comparison of tensors has no single truth value.
@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """The audio embeddings of one data set under one encoder.

    All per-clip fields have one entry per clip and are sorted by clip id.

    Args:
        dataset: Name of the data set, such as ``"ESC10"``.
        encoder_fingerprint: Digest of the encoder's weights and preprocessing.
        manifest_digest: `Manifest.digest` of the clips embedded.
        clip_ids: Unique names of the clips.
        classnames: True class of each clip, spelled as in the registry.
        folds: Fold of each clip, as in its ``Clip``.
        groups: Source recording or speaker of each clip; ``""`` if unknown.
        sha256: Digest of each clip's file.
        embeddings: float32 ``[clips, dim]``, rows of unit norm.
        description: Description of the user's own data set; None for a registered one.
        sounds: Fingerprint of each clip's sound, as `sound_of` gives it; ``""`` if unknown, an empty tuple if there are
            none. Not part of any digest.

    Raises:
        InputError: Lengths differ, ids are unsorted or duplicate, the embeddings are not finite unit-norm float32, or
            the description is of another data set.
    """

    dataset: str
    encoder_fingerprint: str
    manifest_digest: str
    clip_ids: tuple[str, ...]
    classnames: tuple[str, ...]
    folds: tuple[str, ...]
    groups: tuple[str, ...]
    sha256: tuple[str, ...]
    embeddings: Tensor
    description: DatasetInfo | None = None
    sounds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Imported here, so that listing data sets or reading a folder does not pay for torch.
        import torch

        where = f"embeddings of {self.dataset}"
        count = len(self.clip_ids)
        if count == 0:
            raise InputError("no clips", where=where, fix=_AGAIN)
        if not self.sounds:
            object.__setattr__(self, "sounds", ("",) * count)
        for field in ("classnames", "folds", "groups", "sha256", "sounds"):
            if len(getattr(self, field)) != count:
                raise InputError(f"{len(getattr(self, field))} {field} for {count} clips", where=where, fix=_AGAIN)
        for previous, current in zip(self.clip_ids, self.clip_ids[1:], strict=False):
            if previous >= current:
                raise InputError(f"clip ids are not sorted and unique at '{current}'", where=where, fix=_AGAIN)
        if self.description is not None and self.description.name != self.dataset:
            raise InputError(f"the description is of data set '{self.description.name}'", where=where, fix=_AGAIN)
        shape = tuple(self.embeddings.shape)
        if len(shape) != 2 or shape[0] != count or self.embeddings.dtype != torch.float32:
            raise InputError(
                f"embeddings are {self.embeddings.dtype} {list(shape)}, not torch.float32 [{count}, dim]",
                where=where,
                fix=_AGAIN,
            )
        # Written so that NaN, which fails every comparison, counts as wrong.
        wrong = ~((self.embeddings.norm(dim=1) - 1).abs() <= _NORM_TOLERANCE)
        if bool(wrong.any()):
            first = self.clip_ids[int(wrong.nonzero()[0, 0])]
            raise InputError(
                f"{int(wrong.sum())} rows are not of unit norm, first clip '{first}'", where=where, fix=_AGAIN
            )

    def __len__(self) -> int:
        return len(self.clip_ids)

    @property
    def info(self) -> DatasetInfo:
        """The data set's description: its own, or the registry's.

        Raises:
            InputError: It has none and is not registered.
        """
        return self.description if self.description is not None else get_dataset(self.dataset)

    @cached_property
    def digest(self) -> str:
        """16 hex digits over the clips and every bit of their embeddings: a trial's numbers depend on them."""
        digest = hashlib.sha256(f"{self.encoder_fingerprint}\n{self.manifest_digest}\n".encode())
        digest.update(self.embeddings.contiguous().numpy().astype("<f4", copy=False).data)
        return digest.hexdigest()[:16]

    def remember_digest(self, digest: str) -> None:
        """Set `digest` from a stored value that was computed from the same bits."""
        object.__setattr__(self, "digest", digest)

    @property
    def dim(self) -> int:
        """Size of an embedding."""
        return int(self.embeddings.shape[1])
