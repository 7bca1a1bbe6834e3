"""Your own data set: a CSV file with a path and a class name for each clip.

    path,classname,fold,group
    wren/0001.wav,wren,north,garden
    ...

``path`` is relative to the audio folder (an absolute path below it works too); ``classname`` is the name used in
prompts.
Optional: ``group``, the speaker or source recording, which never crosses a split; and either ``fold`` (each in turn is
the test set) or ``split`` (``train`` or ``test``). With neither, folds are made by ``sept_core.datasets.assign``. Other
columns are ignored. If your columns have other names, give ``columns={"path": "filename", "classname": "category"}``.

manifest, info = read_csv_dataset(Path("birds.csv"), Path("audio"), name="birds")

``info`` describes the data set as the registry describes a registered one. It is stored with the manifest and the
embeddings (``EmbeddingTable.description``); there is no global registration.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast, get_args

from sept_core.datasets.assign import PARTS, Unplaced, units_of
from sept_core.datasets.folds import RESERVED
from sept_core.datasets.layouts.base import Found, complete, hash_files, read_table
from sept_core.datasets.layouts.reading import Digests, hash_clips
from sept_core.datasets.manifest import Clip, Manifest
from sept_core.datasets.own_table import clip_file, rename, where_instead
from sept_core.datasets.registry import DATASETS, DatasetInfo, Kind, dataset_key, prompt_name
from sept_core.errors import InputError
from sept_core.suggestions import known_words

__all__ = ["DEFAULT_TEMPLATE", "info_from_json", "info_to_json", "read_csv_dataset"]

DEFAULT_TEMPLATE = "This is a sound of {}."

# Folders and study keys are named after the data set, and the parts of a study key are joined by full stops.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# Cross-dataset results use the names of targets and these as names of measures.
_MEASURES = frozenset({"base", "new", "h", "h_of_means", "source", "targets", "total"})
_KINDS: tuple[Kind, ...] = get_args(Kind)
# Text towers take 77 tokens, with the context in front of the name.
_MAX_CLASSNAME = 100


def read_csv_dataset(
    table: Path,
    audio_root: Path,
    *,
    name: str,
    kind: str = "events",
    template: str = DEFAULT_TEMPLATE,
    columns: Mapping[str, str] | None = None,
    digests: Digests = hash_files,
) -> tuple[Manifest, DatasetInfo]:
    """Read your own data set.

    Args:
        table: The CSV file, with a header.
        audio_root: Folder that its paths are relative to.
        name: Its name: letters, digits, ``-`` and ``_``; not the name of a registered data set.
        kind: What its classes are; selects the hand-crafted templates for SEPT's margins.
        template: Zero-shot template with one ``{}``.
        columns: The table's names of the columns ``path``, ``classname``, ``fold``, ``split`` or ``group``, if
            different.
        digests: Hashes the clips; with another function than the default their files may be empty.

    Returns:
        The manifest, whose clip ids are the paths without suffix, and what the data set is: classes sorted, folds in
        the order of the numbers in them.

    Raises:
        InputError: Name, kind or template cannot be used; the table is not such a CSV file; a clip is missing, listed
            twice or has no class; there are fewer than two classes or folds.
    """
    _check_description(name, kind, template)
    found, ids, split = _rows(table, audio_root, columns or {})
    classnames = _classnames(found, table)

    def info_of(folds: tuple[str, ...]) -> DatasetInfo:
        return DatasetInfo(
            name, cast(Kind, kind), classnames, template, folds, "fixed" if split == "split" else "kfold", extra=True
        )

    if split:
        info = info_of(("test",) if split == "split" else tuple(sorted({item.fold for item in found}, key=_natural)))
    else:
        info = info_of(tuple(str(number) for number in range(1, PARTS + 1)))
    try:
        clips = hash_clips(info, audio_root, found, name=ids.__getitem__, digests=digests)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})",
            where=str(error.filename or audio_root),
            fix="check its permissions and the disk",
        ) from error
    if not split:
        _check_enough_sources(clips, table)
    _check_folds(info, clips, table)
    return Manifest(name, clips), info


def info_to_json(info: DatasetInfo) -> dict[str, Any]:
    """What a data set is, as plain JSON values."""
    return {
        "name": info.name,
        "kind": info.kind,
        "classnames": list(info.classnames),
        "template": info.template,
        "folds": list(info.folds),
        "split": info.split,
    }


def info_from_json(data: Mapping[str, Any]) -> DatasetInfo:
    """Read back what `info_to_json` gave.

    Raises:
        InputError: A key is missing or unknown, or a value is not of its type.
    """
    keys = {"name", "kind", "classnames", "template", "folds", "split"}
    if not isinstance(data, Mapping) or set(data) != keys:
        raise InputError("not the description of a data set", fix=f"it has the keys {', '.join(sorted(keys))}")
    texts = all(isinstance(data[key], str) for key in ("name", "kind", "template", "split"))
    lists = all(
        isinstance(data[key], list) and all(isinstance(item, str) and item for item in data[key])
        for key in ("classnames", "folds")
    )
    if not texts or not lists or data["split"] not in ("kfold", "fixed"):
        raise InputError(
            "a value in it is of the wrong type",
            where=f"description of data set {data['name']}",
            fix="prepare it again: sept data prepare",
        )
    _check_description(data["name"], data["kind"], data["template"])
    return DatasetInfo(
        data["name"],
        data["kind"],
        tuple(data["classnames"]),
        data["template"],
        tuple(data["folds"]),
        data["split"],
        extra=True,
    )


def _check_description(name: str, kind: str, template: str) -> None:
    if name.lower() in _MEASURES or name.endswith(("_std", "_f1")):
        raise InputError(f"'{name}' is the name of a measure in results", fix="give the data set another name")
    if not _NAME.fullmatch(name):
        raise InputError(
            f"'{name}' cannot be a data set's name", fix="use letters, digits, '-' and '_', at most 64 of them"
        )
    taken = next((known for known in DATASETS if dataset_key(known) == dataset_key(name)), None)
    if taken:
        raise InputError(f"'{name}' is the name of the registered data set {taken}", fix="give yours another name")
    if kind not in _KINDS:
        raise InputError(f"unknown kind '{kind}'", where=name, fix=known_words(kind, _KINDS))
    if template.count("{}") != 1 or set(template.replace("{}", "")) & set("{}"):
        raise InputError(f"template '{template}' does not have one {{}}", where=name, fix=f"as in '{DEFAULT_TEMPLATE}'")


def _rows(table: Path, audio_root: Path, named: Mapping[str, str]) -> tuple[list[Found], dict[Path, str], str]:
    """The listed clips, the id of each file, and the column that assigns them: ``fold``, ``split`` or none."""
    if not audio_root.is_dir():
        raise InputError("no such folder", where=str(audio_root), fix="give the folder that the paths start from")
    wanted = ("path", "classname")
    rows = list(read_table(table, wanted, rename=lambda header: rename(header, named, wanted, str(table))))
    columns = rows[0][1]
    if "fold" in columns and "split" in columns:
        raise InputError("has both columns fold and split", where=str(table), fix="keep one of them")
    split = next((column for column in ("fold", "split") if column in columns), "")
    found = []
    places: dict[Path, str] = {}
    ids: dict[Path, str] = {}
    for where, row in rows:
        file, name = clip_file(audio_root, row["path"].strip(), where)
        if file in places:
            raise InputError(f"{row['path']} is already listed in {places[file]}", where=where, fix="keep one of them")
        places[file] = where
        # As spelled in the table, so that the same table gives the same ids on every disk.
        ids[file] = PurePosixPath(name).with_suffix("").as_posix()
        classname = row["classname"].strip()
        fold = row.get(split, "").strip() if split else ""
        if not classname:
            raise InputError(f"{row['path']} has no classname", where=where, fix="give it one, or leave it out")
        if split and not fold:
            raise InputError(f"{row['path']} has no {split}", where=where, fix="give it one, or leave it out")
        if split == "split" and fold not in ("train", "test"):
            raise InputError(
                f"split '{fold}' of {row['path']} is neither 'train' nor 'test'",
                where=where,
                fix="clips for validation are 'train': a search holds out its own",
            )
        if set(fold) & RESERVED:
            raise InputError(
                f"fold '{fold}' contains one of {' '.join(sorted(RESERVED))}", where=where, fix="rename it"
            )
        found.append(Found(file, classname, fold, row.get("group", "").strip()))
    missing = [item.file.relative_to(audio_root).as_posix() for item in found if not item.file.is_file()]
    advice = where_instead(min(missing), audio_root, table) if missing else ""
    return complete(found, audio_root, table.name, advice), ids, split


def _classnames(found: list[Found], table: Path) -> tuple[str, ...]:
    names = tuple(sorted({item.classname for item in found}))
    for name in names:
        _check_classname(name, str(table))
    if len(names) < 2:
        raise InputError(f"has only the class '{names[0]}'", where=str(table), fix="give at least two classes")
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in names:
        # As a text tower and a reader see it: two spaces or the encoding of an accent make no difference.
        spellings[unicodedata.normalize("NFKC", " ".join(prompt_name(name).split())).casefold()].append(name)
    same = next((alike for alike in spellings.values() if len(alike) > 1), None)
    if same:
        raise InputError(
            f"classes {', '.join(same)} are the same in a prompt", where=str(table), fix="spell them alike"
        )
    return names


def _check_classname(name: str, where: str) -> None:
    if not name.isprintable():
        raise InputError(f"class {name!r} contains an invisible character", where=where, fix="write it in plain text")
    if not any(character.isalnum() for character in name):
        raise InputError(f"class '{name}' contains no word for a prompt", where=where, fix="name it in words")
    if len(name) > _MAX_CLASSNAME:
        raise InputError(
            f"class '{name[:40]}...' has {len(name)} characters, more than {_MAX_CLASSNAME}",
            where=where,
            fix="a class is a name, not a description",
        )


def _check_enough_sources(clips: tuple[Clip, ...], table: Path) -> None:
    """Folds are made here: every class needs a source for each of them."""
    units = units_of([Unplaced(clip.clip_id, clip.classname, clip.group, clip.sha256) for clip in clips])
    sources: dict[str, set[str]] = {}
    for unit, clip in zip(units, clips, strict=True):
        sources.setdefault(clip.classname, set()).add(unit)
    few = {name: len(of) for name, of in sources.items() if len(of) < PARTS}
    if few:
        name, count = min(few.items(), key=lambda item: item[1])
        raise InputError(
            f"class '{name}' has clips of {count} source{'s' * (count > 1)}, too few for {PARTS} folds",
            where=str(table),
            fix="add clips, or a column fold or split that assigns them",
        )


def _check_folds(info: DatasetInfo, clips: tuple[Clip, ...], table: Path) -> None:
    folds = {clip.fold for clip in clips}
    if len(folds) < 2:
        lacking = "" if info.split == "kfold" else f"; '{'test' if 'train' in folds else 'train'}' is missing"
        raise InputError(f"all clips are of '{min(folds)}'{lacking}", where=str(table), fix="give at least two folds")


def _natural(name: str) -> list[tuple[int, str]]:
    """Orders ``fold2`` before ``fold10``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]
