"""Prepared data sets: manifests kept with the results, and the only place where a person's own data sets are known.

    datasets/<name>/dataset.json      the manifest and, for one's own data set, what it is
    datasets/<name>/neighbors.json    the neighbours of one's own data set's classes, as sept neighbors writes them

A registered data set need not be prepared. One's own must be, once; from then on its name works wherever a registered
one does, with this results folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.store import Files, open_files
from pipeline.store.documents import seal, unseal
from sept_core.datasets import (
    DATASETS,
    DatasetInfo,
    Manifest,
    get_dataset,
    info_from_json,
    info_to_json,
    read_layout,
)
from sept_core.errors import InputError

if TYPE_CHECKING:
    from sept_core.semantic import Neighbors

__all__ = [
    "Prepared",
    "find_manifest",
    "find_neighbors",
    "neighbors_key",
    "own_datasets",
    "read_prepared",
    "write_prepared",
]

Progress = Callable[[int, int], None]

_FOLDER = "datasets"


@dataclass(frozen=True)
class Prepared:
    """A data set's clips, and what it is.

    Attributes:
        manifest: The clips.
        info: The registry's entry, or the person's own description.
    """

    manifest: Manifest
    info: DatasetInfo

    @property
    def description(self) -> DatasetInfo | None:
        """What has to travel with the embeddings: None for a registered data set."""
        return None if self.info.name in DATASETS else self.info


def write_prepared(root: Path | str | Files, prepared: Prepared) -> str:
    """Keep a data set under the results folder, in place of an earlier one of its name.

    Returns:
        Where it is kept: a path where there is one, else the key.

    Raises:
        InputError: Its name differs only in case, ``-`` or ``_`` from that of another data set kept there.
    """
    files = _files(root)
    others = [info for info in own_datasets(files) if info.name != prepared.info.name]
    if prepared.description is not None:
        try:
            taken = get_dataset(prepared.info.name, others).name
        except InputError:
            taken = ""
        if taken:
            raise InputError(f"'{prepared.info.name}' reads like the data set '{taken}'", mend="give it another name")
    description = prepared.description
    content = {
        "info": None if description is None else info_to_json(description),
        "manifest": prepared.manifest.to_json(),
    }
    key = _key(prepared.info.name)
    files.write(key, seal(content))
    return str(files.local_path(key) or key)


def read_prepared(root: Path | str | Files, name: str) -> Prepared | None:
    """The data set kept under this (canonical) name, None where there is none.

    Raises:
        InputError: It is damaged.
    """
    key = _key(name)
    try:
        content = unseal(_files(root).read(key))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(
            f"the prepared data set {name} is damaged ({error})", mend="make it again: sept data prepare"
        ) from error
    if set(content) != {"info", "manifest"}:
        raise InputError(f"the prepared data set {name} is damaged", mend="make it again: sept data prepare")
    manifest = Manifest.from_json(content["manifest"])
    info = get_dataset(manifest.dataset) if content["info"] is None else info_from_json(content["info"])
    if info.name != manifest.dataset:
        raise InputError(f"the prepared data set {name} is damaged", mend="make it again: sept data prepare")
    return Prepared(manifest, info)


def own_datasets(root: Path | str | Files) -> list[DatasetInfo]:
    """The person's own data sets that are kept under a results folder, by name: what `get_dataset` takes as ``own``.

    Raises:
        InputError: One of them is damaged.
    """
    files = _files(root)
    names = [key.split("/")[1] for key in files.list(_FOLDER) if key == _key(key.split("/")[1])]
    found = [read_prepared(files, name) for name in names if name not in DATASETS]
    return [prepared.info for prepared in found if prepared is not None]


def find_manifest(dataset: str, audio: Path, root: Path | str | Files, progress: Progress | None = None) -> Prepared:
    """The clips of a data set in an audio folder: read from its layout, or as prepared for one's own.

    Args:
        dataset: Name of a registered data set or of one prepared under ``root``.
        audio: Its audio folder.
        root: Results folder.
        progress: Called with (clips hashed, clips in all) after each clip.

    Raises:
        InputError: No such data set, or the folder does not hold it: for one's own, a clip is missing or is not the
            one that was prepared.
    """
    info = get_dataset(dataset, own_datasets(root))
    if info.name in DATASETS:
        return Prepared(read_layout(info.name, audio, progress), info)
    prepared = read_prepared(root, info.name)
    if prepared is None:
        raise InputError(f"{info.name} is not prepared any more", mend="make it again: sept data prepare")
    clips = prepared.manifest.clips
    for done, clip in enumerate(clips, start=1):
        try:
            with (audio / clip.path).open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror or error})", where=str(audio / clip.path)) from error
        if digest != clip.sha256:
            raise InputError(
                f"is not the clip of {info.name} that was prepared",
                where=str(audio / clip.path),
                mend="prepare the data set again: sept data prepare",
            )
        if progress is not None:
            progress(done, len(clips))
    return prepared


def neighbors_key(name: str) -> str:
    """Key of the file with the neighbours of one's own data set."""
    return f"{_FOLDER}/{name}/neighbors.json"


def find_neighbors(root: Path | str | Files, info: DatasetInfo, given: str | None = None) -> Neighbors:
    """The neighbours of a data set's classes, checked against *all* of its class names.

    Args:
        root: Results folder.
        info: The data set.
        given: A file to take; None for the packaged ones of a registered data set, or those kept with one's own.

    Raises:
        InputError: There are none, or they break a rule: what names a class of the same data set would leak new
            classes into training.
    """
    from sept_core.semantic.neighbors import check_neighbors, load_neighbors, read_neighbors

    if given is not None or info.name in DATASETS:
        neighbors = load_neighbors(info.name, None if given is None else Path(given))
        where = given or f"packaged neighbours of {info.name}"
    else:
        files, key = _files(root), neighbors_key(info.name)
        where = str(files.local_path(key) or key)
        try:
            text = files.read(key)
        except FileNotFoundError as error:
            raise InputError(
                f"no neighbours of {info.name}, which SEPT needs", where=where, mend=f"sept neighbors {info.name}"
            ) from error
        neighbors = read_neighbors(text, info.name, where)
    broken = check_neighbors(neighbors, info.classnames)
    if broken:
        more = f" (the first of {len(broken)} broken rules)" if len(broken) > 1 else ""
        raise InputError(broken[0] + more, where=where, mend="correct the list")
    return neighbors


def _key(name: str) -> str:
    return f"{_FOLDER}/{name}/dataset.json"


def _files(root: Path | str | Files) -> Files:
    return open_files(root) if isinstance(root, (str, Path)) else root
