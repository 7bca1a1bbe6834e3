"""Prepared data sets: their manifests are stored with the results; a person's own data sets are known only there.

    datasets/<name>/dataset.json      the manifest and, for a person's own data set, its description
    datasets/<name>/neighbors.json    neighbours of an own data set's base classes, as sept neighbors writes them
    datasets/<name>/neighbors-all.json    those of all its classes, for cross-dataset

A registered data set need not be prepared. An own data set must be, once; after that its name works like a registered
one, with this results folder.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.audio.open import open_audio
from pipeline.data.audio.source import AudioSource
from pipeline.store import Files, open_files, root_option_of
from sept_core.checked_json import seal, unseal
from sept_core.datasets import (
    DATASETS,
    DatasetInfo,
    Manifest,
    get_dataset,
    halves,
    info_from_json,
    info_to_json,
    prompt_name,
    read_layout,
    trained_classes,
)
from sept_core.datasets.registry import dataset_key
from sept_core.errors import InputError
from sept_core.protocol_facts import protocol_of
from sept_core.text import Progress

if TYPE_CHECKING:
    from sept_core.semantic import Neighbors

__all__ = [
    "Prepared",
    "find_manifest",
    "find_neighbors",
    "neighbors_key",
    "own_datasets",
    "packaged_key",
    "read_prepared",
    "write_prepared",
]

_FOLDER = "datasets"


@dataclass(frozen=True)
class Prepared:
    """A data set's clips and description.

    Attributes:
        manifest: The clips.
        info: The registry's entry, or the person's own description.
    """

    manifest: Manifest
    info: DatasetInfo

    @property
    def description(self) -> DatasetInfo | None:
        """The description to store with the embeddings; None for a registered data set."""
        return None if self.info.name in DATASETS else self.info


def write_prepared(root: Path | str | Files, prepared: Prepared) -> str:
    """Store a data set under the results folder, in place of an earlier one with its name.

    Returns:
        Where it is stored: a path or an ``s3://`` address.

    Raises:
        InputError: Its name differs only in case, ``-`` or ``_`` from that of another data set there.
    """
    files = _files(root)
    name = prepared.info.name
    # By the folders' names, so that a damaged data set can be prepared again.
    alike = [other for other in _kept(files) if other != name and dataset_key(other) == dataset_key(name)]
    if alike and prepared.description is not None:
        raise InputError(f"'{name}' reads like the data set '{alike[0]}'", fix="give it another name")
    description = prepared.description
    content = {
        "info": None if description is None else info_to_json(description),
        "manifest": prepared.manifest.to_json(),
    }
    key = _key(name)
    files.write(key, seal(content))
    return files.address(key)


def read_prepared(root: Path | str | Files, name: str) -> Prepared | None:
    """The data set stored under this (canonical) name; None if there is none.

    Raises:
        InputError: It is damaged.
    """
    key = _key(name)
    fix = f"make it again: sept data prepare {name}{root_option_of(_files(root))}"
    try:
        content = unseal(_files(root).read(key))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"the prepared data set {name} is damaged ({error})", fix=fix) from error
    if set(content) != {"info", "manifest"}:
        raise InputError(f"the prepared data set {name} is damaged", fix=fix)
    manifest = Manifest.from_json(content["manifest"])
    info = get_dataset(manifest.dataset) if content["info"] is None else info_from_json(content["info"])
    if info.name != manifest.dataset:
        raise InputError(f"the prepared data set {name} is damaged", fix=fix)
    return Prepared(manifest, info)


def own_datasets(root: Path | str | Files) -> list[DatasetInfo]:
    """The own data sets stored under a results folder, by name, as `get_dataset` takes them.

    Raises:
        InputError: One of them is damaged.
    """
    files = _files(root)
    found = [read_prepared(files, name) for name in _kept(files) if name not in DATASETS]
    return [prepared.info for prepared in found if prepared is not None]


def find_manifest(
    dataset: str,
    audio: Path | str | AudioSource,
    root: Path | str | Files,
    progress: Progress | None = None,
    *,
    compare: bool = True,
) -> Prepared:
    """The clips of a data set: read from its audio's layout or, for an own data set, as prepared.

    Args:
        dataset: Name of a registered data set or of one prepared under ``root``.
        audio: Its audio: a folder, or anything else that `open_audio` takes.
        root: Results folder.
        progress: Called with (clips hashed, clips in all) after each clip.
        compare: Whether to compare the files of an own data set with those that were prepared; False leaves that to
            the caller.

    Raises:
        InputError: There is no such data set, or its audio is not there: of an own data set, clips are missing or are
            not those that were prepared.
        StoreError: The audio is in a bucket that cannot be reached or read.
    """
    info = get_dataset(dataset, own_datasets(root))
    source = open_audio(audio)
    if info.name in DATASETS:
        with source.tree() as folder:
            return Prepared(read_layout(info.name, folder, digests=source.digests_in(folder, progress)), info)
    prepared = read_prepared(root, info.name)
    if prepared is None:
        fix = f"make it again: sept data prepare {info.name}{root_option_of(_files(root))}"
        raise InputError(f"{info.name} is no longer prepared", fix=fix)
    if "://" not in source.uri and not Path(source.uri).exists():
        fix = f"give the folder that {info.name} was prepared from"
        raise InputError("no such folder", where=source.uri, fix=fix)
    if compare:
        _compare(prepared, source, progress)
    else:
        source.check()
    return prepared


def _compare(prepared: Prepared, source: AudioSource, progress: Progress | None) -> None:
    """Check that the clips of a source are those that were prepared."""
    name, clips = prepared.info.name, prepared.manifest.clips
    with source.tree() as folder:
        missing = [clip.path for clip in clips if not (folder / clip.path).is_file()]
    changed = []
    if not missing:
        digests = source.digests([clip.path for clip in clips], progress)
        changed = [clip.path for clip in clips if digests[clip.path] != clip.sha256]
    for paths, fault in ((missing, "are missing"), (changed, "are not those that were prepared")):
        if paths:
            raise InputError(
                f"{len(paths)} of {len(clips)} clips of {name} {fault}, first {paths[0]}",
                where=source.uri,
                fix=f"give the folder that it was prepared from, or prepare it again: sept data prepare {name}",
            )


def neighbors_key(name: str, protocol: str = "base-to-new") -> str:
    """Key of the file with an own data set's neighbours for a protocol."""
    return f"{_FOLDER}/{name}/{'neighbors-all' if protocol_of(protocol).all_classes else 'neighbors'}.json"


def packaged_key(name: str, protocol: str = "base-to-new") -> str:
    """Key of an own file for a registered data set, in the layout of the packaged ones."""
    from sept_core.semantic.neighbor_files import neighbor_kind

    return f"neighbors/{neighbor_kind(protocol)}/{name.lower()}.json"


def find_neighbors(
    root: Path | str | Files, info: DatasetInfo, given: str | None = None, protocol: str = "base-to-new"
) -> Neighbors:
    """The neighbours of the classes that a protocol trains on, checked among these classes alone.

    Args:
        root: Results folder.
        info: The data set.
        given: A file to use, or lists made as a control (`sept_core.semantic.control_lists`); None for the packaged
            ones of a registered data set, or those stored with an own one. A file may list more classes than are
            trained on: those lists are not used.
        protocol: Decides which classes are trained on.

    Raises:
        InputError: There are none, they cover only the base classes although all are trained on, or they break a rule.
    """
    from sept_core.semantic.control_lists import CONTROL_PREFIX, control_lists
    from sept_core.semantic.neighbors import refuse_broken

    trained = trained_classes(info.classnames, protocol)
    if given is not None and given.startswith(CONTROL_PREFIX):
        return control_lists(given.removeprefix(CONTROL_PREFIX), find_neighbors(root, info, None, protocol), trained)
    everything = protocol_of(protocol).all_classes
    option = (f" --for {protocol}" if everything else "") + root_option_of(_files(root))
    # The classes of an own data set may have changed since.
    again = "" if info.name in DATASETS else f", or make it again: sept neighbors {info.name}{option} --force"
    listed, where = _listed(root, info, given, protocol, option)
    # A name that is not a class of the data set is an error; classes that are not trained on are not checked.
    strays = [name for name in listed.by_class if name not in set(map(prompt_name, info.classnames))]
    neighbors = listed.only((*trained, *strays))
    base = {prompt_name(name) for name in halves(info.classnames)[0]}
    if everything and listed.by_class.keys() <= base:
        packaged = ", or leave this file out: lists of all are packaged" if info.name in DATASETS else ""
        raise InputError(
            f"has lists of base classes only, but {protocol} trains on all {len(trained)} classes of {info.name}",
            where=where,
            fix=f"make lists of all: sept neighbors {info.name}{option}{packaged}",
        )
    refuse_broken(neighbors, trained, where, f"correct the list{again}")
    return neighbors


def _listed(
    root: Path | str | Files, info: DatasetInfo, given: str | None, protocol: str, option: str
) -> tuple[Neighbors, str]:
    """The lists as they are stored, and their place."""
    from sept_core.semantic.neighbor_files import load_neighbors, parse_neighbors

    if given is None and info.name in DATASETS:
        return load_neighbors(info.name, protocol=protocol), f"packaged neighbours of {info.name}"
    if given is not None:
        try:
            return parse_neighbors(Path(given).read_bytes(), info.name, given), given
        except OSError as error:
            what = f"cannot read the neighbours: {error.strerror or error}"
            raise InputError(what, where=given, fix="check the path") from error
    files = _files(root)
    # A file of an earlier release has lists of all classes.
    for key in dict.fromkeys((neighbors_key(info.name, protocol), neighbors_key(info.name))):
        with suppress(FileNotFoundError):
            return parse_neighbors(files.read(key), info.name, files.address(key)), files.address(key)
    raise InputError(
        f"no neighbours of {info.name}, which SEPT needs",
        where=files.address(neighbors_key(info.name, protocol)),
        fix=f"sept neighbors {info.name}{option} --from FILE uses yours, --model NAME asks a language model; "
        "or leave SEPT out of the sweep's methods",
    )


def _kept(files: Files) -> list[str]:
    """The names of all stored data sets."""
    return [name for key in files.list(_FOLDER) if key == _key(name := key.split("/")[1])]


def _key(name: str) -> str:
    return f"{_FOLDER}/{name}/dataset.json"


def _files(root: Path | str | Files) -> Files:
    return open_files(root) if isinstance(root, (str, Path)) else root
