"""The manifest: which clips a data set consists of, with class, fold, source and content.

Its digest enters every trial's signature, so results are never compared across different clips or folds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from sept_core.datasets.folds import roles_of
from sept_core.datasets.registry import DATASETS
from sept_core.errors import InputError

__all__ = ["Clip", "Manifest", "digest_of"]

_AGAIN = "make it again: sept data prepare DATASET --audio DIR"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Clip:
    """One clip.

    Args:
        clip_id: Unique within the data set.
        path: Path of its file, relative to the audio folder, with ``/`` between folders.
        classname: Spelled as in the registry.
        fold: Fold that it is tested in; ``"train"`` or ``"test"`` if the data set has one fixed split; or its roles
            written out, if a published split is neither (see ``sept_core.datasets.folds``).
        group: Source recording or speaker; ``""`` if unknown.
        sha256: Digest of the file's bytes, 64 hex digits.

    Raises:
        InputError: A field is empty, the path leaves the audio folder, or the digest is not one.
    """

    clip_id: str
    path: str
    classname: str
    fold: str
    group: str
    sha256: str

    def __post_init__(self) -> None:
        for name in ("clip_id", "path", "classname", "fold"):
            if not getattr(self, name):
                raise InputError(
                    f"{name} is empty",
                    where=f"clip '{self.clip_id or self.path}'",
                    fix="fill it in, or leave out the clip",
                )
        pure = PurePosixPath(self.path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in self.path:
            raise InputError(
                f"path '{self.path}' is not relative to the audio folder with '/' between folders",
                where=f"clip '{self.clip_id}'",
                fix="write it relative to the folder given with --audio",
            )
        if not _SHA256.fullmatch(self.sha256):
            raise InputError(
                f"sha256 '{self.sha256}' is not 64 hex digits",
                where=f"clip '{self.clip_id}'",
                fix="prepare the data set again: sept data prepare",
            )


def digest_of(rows: Iterable[tuple[str, str, str, str, str]]) -> str:
    """`Manifest.digest` of clips given as (id, class, fold, group, sha256), sorted by id."""
    canonical = json.dumps([*rows], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Manifest:
    """All clips of a data set, sorted by clip id.

    Args:
        dataset: Name of the data set; classes and folds of a registered one are checked against the registry.
        clips: At least one clip; ids are unique.
        notes: What a user should know about how it was read, a line each; not part of the digest.

    Raises:
        InputError: No clips, an id given twice, or a class or fold that the data set does not have.
    """

    dataset: str
    clips: tuple[Clip, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        where = f"manifest of {self.dataset}"
        if not self.clips:
            raise InputError("no clips", where=where, fix="give the folder that holds them with --audio")
        object.__setattr__(self, "clips", tuple(sorted(self.clips, key=lambda clip: clip.clip_id)))
        for previous, current in zip(self.clips, self.clips[1:], strict=False):
            if previous.clip_id == current.clip_id:
                raise InputError(
                    f"clip id '{current.clip_id}' stands for both '{previous.path}' and '{current.path}'",
                    where=where,
                    fix="rename one of the two files, or move it out of the folder",
                )
        info = DATASETS.get(self.dataset)
        if info is None:
            return
        for clip in self.clips:
            if clip.classname not in info.classnames:
                raise InputError(
                    f"unknown class '{clip.classname}' of clip '{clip.path}'",
                    where=where,
                    fix=f"classes are {', '.join(info.classnames)}",
                )
            try:
                roles_of(clip.fold, info)
            except InputError as error:
                raise InputError(f"{error.what} of clip '{clip.path}'", where=where, fix=error.fix) from error

    # A frozen dataclass without slots still has a __dict__, which is all that cached_property needs.
    @cached_property
    def digest(self) -> str:
        """16 hex digits over every clip's id, class, fold, group and content.

        Paths are not included: where a copy of the data set stores its files does not change a result.
        """
        return digest_of((clip.clip_id, clip.classname, clip.fold, clip.group, clip.sha256) for clip in self.clips)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, with the digest."""
        clips = [asdict(clip) for clip in self.clips]
        notes = {"notes": list(self.notes)} if self.notes else {}
        return {"dataset": self.dataset, "digest": self.digest, "clips": clips, **notes}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """Read back what `to_json` gave.

        Raises:
            InputError: A key is missing or unknown, a value is no text, or the clips are not those of the digest.
        """
        names = {field.name for field in fields(Clip)}
        if not isinstance(data, Mapping) or set(data) - {"notes"} != {"dataset", "digest", "clips"}:
            raise InputError("not a manifest", fix=f"a manifest has the keys dataset, digest and clips; {_AGAIN}")
        where = f"manifest of {data['dataset']}"
        if not isinstance(data["dataset"], str) or not isinstance(data["clips"], list):
            raise InputError("dataset is not a text or clips is not a list", where=where, fix=_AGAIN)
        for number, row in enumerate(data["clips"]):
            if (
                not isinstance(row, dict)
                or set(row) != names
                or not all(isinstance(value, str) for value in row.values())
            ):
                raise InputError(
                    f"clips[{number}] does not have the texts {', '.join(sorted(names))}", where=where, fix=_AGAIN
                )
        notes = data.get("notes", [])
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            raise InputError("notes is not a list of texts", where=where, fix=_AGAIN)
        manifest = cls(data["dataset"], tuple(Clip(**row) for row in data["clips"]), tuple(notes))
        if manifest.digest != data["digest"]:
            raise InputError(
                f"clips have digest {manifest.digest}, but {data['digest']} is stored", where=where, fix=_AGAIN
            )
        return manifest
