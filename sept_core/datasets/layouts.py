"""Adapters: read a data set's folder, as its authors ship it, into a manifest.

``ESC10``: https://github.com/karolpiczak/ESC-10, ``ESC50``: https://github.com/karolpiczak/ESC-50, ``FSDD``:
https://github.com/Jakobovski/free-spoken-digit-dataset. The files are only hashed here, not decoded. A folder
with only a part of the clips is read as it is, but an audio file whose name or folder does not fit is an error.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sept_core.datasets.manifest import Clip, Manifest
from sept_core.datasets.registry import DatasetInfo, get_dataset, prompt_name
from sept_core.errors import InputError

__all__ = ["read_layout"]

Progress = Callable[[int, int], None]

_AUDIO = frozenset({".flac", ".ogg", ".wav"})
_ESC10_FOLDER = re.compile(r"[0-9]{3} - (.+)")
_ESC10_FILE = re.compile(r"([0-9]+)-([0-9]+)-[A-Z]")
_FSDD_FILE = re.compile(r"([0-9]+)_([^_]+)_([0-9]+)")
_FSDD_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_ESC50_COLUMNS = ("filename", "fold", "category", "src_file")


@dataclass(frozen=True)
class _Found:
    """A clip before its file is hashed."""

    file: Path
    classname: str
    fold: str
    group: str


def read_layout(dataset: str, root: Path, progress: Progress | None = None) -> Manifest:
    """Read a data set's folder into a manifest.

    Args:
        dataset: Name of the data set, as `get_dataset` takes it.
        root: The folder that its authors ship. ``ESC10``: holds ``001 - Dog bark/1-100032-A.ogg`` and so on; the fold
            is the file name's first number, the group its Freesound id. ``ESC50``: holds ``meta/esc50.csv`` and
            ``audio/``. ``FSDD``: the repository, or its folder ``recordings``, with ``7_jackson_32.wav`` and so on;
            fold and group are the speaker.
        progress: Called with (clips hashed, clips in all) after each clip.

    Raises:
        InputError: The data set is unknown or has no adapter; the folder does not exist, holds no audio or is laid out
            in another way; a file's name has an unknown class or fold, or it is listed but missing or unreadable.
    """
    info = get_dataset(dataset)
    adapter = _ADAPTERS.get(info.name)
    if adapter is None:
        raise InputError(f"no adapter for {info.name} yet", mend=f"known: {', '.join(_ADAPTERS)}")
    try:
        if not root.exists():
            raise InputError("folder does not exist", where=str(root), mend=f"give the folder of {info.name}")
        if not root.is_dir():
            raise InputError("is a file, not a folder", where=str(root), mend=f"give the folder of {info.name}")
        found = adapter(info, root)
        clips = []
        for done, item in enumerate(found, start=1):
            clips.append(
                Clip(
                    clip_id=item.file.stem,
                    path=item.file.relative_to(root).as_posix(),
                    classname=item.classname,
                    fold=item.fold,
                    group=item.group,
                    sha256=hashlib.sha256(item.file.read_bytes()).hexdigest(),
                )
            )
            if progress is not None:
                progress(done, len(found))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=str(error.filename or root)) from error
    return Manifest(info.name, tuple(clips))


def _esc10(info: DatasetInfo, root: Path) -> list[_Found]:
    expected = f"expected folders of {info.name} such as '001 - Dog bark/1-100032-A.ogg'"
    loose = _audio_in(root)
    if loose:
        raise InputError("audio lies outside the class folders", where=str(loose[0]), mend=expected)
    found = []
    for folder in _visible(root):
        if not folder.is_dir():
            continue
        named = _ESC10_FOLDER.fullmatch(folder.name)
        # The registry has ESC-10's folder names in lower case.
        classname = prompt_name(named[1]) if named else ""
        for file in _audio_in(folder):
            if classname not in info.classnames:
                raise InputError(
                    f"folder '{folder.name}' is of no class of {info.name}",
                    where=str(file),
                    mend=f"name it as in '001 - Dog bark'; classes are {', '.join(info.classnames)}",
                )
            parts = _ESC10_FILE.fullmatch(file.stem)
            if parts is None or parts[1] not in info.folds:
                raise InputError(
                    "file name is not <fold>-<Freesound id>-<take>",
                    where=str(file),
                    mend=f"name it as in '1-100032-A.ogg'; folds are {', '.join(info.folds)}",
                )
            found.append(_Found(file, classname, fold=parts[1], group=parts[2]))
    if not found:
        raise _no_audio(root, expected)
    return found


def _esc50(info: DatasetInfo, root: Path) -> list[_Found]:
    table = root / "meta" / "esc50.csv"
    if not table.is_file():
        raise InputError(f"no meta/esc50.csv in {root}", mend=f"{_listing(root)}; expected meta/esc50.csv and audio/")
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = tuple(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is not a CSV file in UTF-8 ({error})", where=str(table)) from error
    lacking = [column for column in _ESC50_COLUMNS if column not in columns]
    if lacking:
        raise InputError(f"column {', '.join(lacking)} missing", where=str(table), mend=f"found: {', '.join(columns)}")
    if not rows:
        raise InputError("lists no clips", where=str(table))
    found = []
    for line, row in rows:
        # A short row leaves None in the columns it lacks.
        name, fold, category, source = (row[column] or "" for column in _ESC50_COLUMNS)
        where = f"{table}, line {line}"
        if not name or Path(name).name != name:
            raise InputError(f"filename '{name}' is not the name of a file in audio/", where=where)
        # The CSV writes 'door_wood_knock' where the registry has 'door wood knock'.
        if prompt_name(category) not in info.classnames:
            raise InputError(f"unknown category '{category}' of {name}", where=where)
        if fold not in info.folds:
            raise InputError(f"unknown fold '{fold}' of {name}", where=where, mend=f"folds are {', '.join(info.folds)}")
        if not source:
            raise InputError(f"src_file of {name} is empty", where=where)
        found.append(_Found(root / "audio" / name, prompt_name(category), fold=fold, group=source))
    missing = sorted(item.file.name for item in found if not item.file.is_file())
    if missing:
        raise InputError(
            f"{len(missing)} of {len(found)} clips listed in meta/esc50.csv are missing, first {missing[0]}",
            where=str(root / "audio"),
            mend="unpack the data set's archive again",
        )
    return found


def _fsdd(info: DatasetInfo, root: Path) -> list[_Found]:
    expected = f"expected recordings of {info.name} such as 'recordings/7_jackson_32.wav'"
    recordings = root / "recordings"
    folder = recordings if recordings.is_dir() else root
    found = []
    for file in _audio_in(folder):
        parts = _FSDD_FILE.fullmatch(file.stem)
        if parts is None:
            raise InputError(
                "file name is not <digit>_<speaker>_<index>", where=str(file), mend="name it as in '7_jackson_32.wav'"
            )
        digit, speaker, _ = parts.groups()
        if len(digit) != 1:
            raise InputError(f"unknown digit '{digit}'", where=str(file), mend="digits are 0 to 9")
        if speaker not in info.folds:
            raise InputError(
                f"unknown speaker '{speaker}'", where=str(file), mend=f"speakers are {', '.join(info.folds)}"
            )
        found.append(_Found(file, _FSDD_DIGITS[int(digit)], fold=speaker, group=speaker))
    if not found:
        raise _no_audio(folder, expected)
    return found


_ADAPTERS: dict[str, Callable[[DatasetInfo, Path], list[_Found]]] = {"ESC10": _esc10, "ESC50": _esc50, "FSDD": _fsdd}


def _visible(folder: Path) -> Iterator[Path]:
    """What a folder holds, sorted, without hidden files (``.DS_Store``, ``._clip.ogg``)."""
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def _audio_in(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.suffix.lower() in _AUDIO and path.is_file()]


def _no_audio(folder: Path, expected: str) -> InputError:
    return InputError(f"no audio in {folder}", mend=f"{_listing(folder)}; {expected}")


def _listing(folder: Path, limit: int = 5) -> str:
    names = [path.name + ("/" if path.is_dir() else "") for path in _visible(folder)]
    if not names:
        return "the folder is empty"
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"found {', '.join(names[:limit])}{rest}"
