"""Sound events as their authors ship them: ESC-10, ESC-50 and its Actions subset, UrbanSound8K, SESA; and Synth12.

ESC-10: https://github.com/karolpiczak/ESC-10, ESC-50: https://github.com/karolpiczak/ESC-50, UrbanSound8K:
https://urbansounddataset.weebly.com/urbansound8k.html, SESA: https://zenodo.org/records/3519845. Synth12 is made by
``infra/mini/synth12.py``.
"""

from __future__ import annotations

import re
from pathlib import Path

from sept_core.datasets.layouts.base import (
    Found,
    Layout,
    audio_below,
    audio_in,
    class_named,
    complete,
    first_there,
    named,
    no_audio,
    read_table,
    visible,
)
from sept_core.datasets.registry import DATASETS, DatasetInfo, prompt_name
from sept_core.errors import InputError

__all__ = ["ESC10", "ESC50", "SESA", "SYNTH12", "URBANSOUND8K"]

_ESC10_FOLDER = re.compile(r"[0-9]{3} - (.+)")
_ESC10_FILE = re.compile(r"([0-9]+)-([0-9]+)-[A-Z]")
# The authors' place first, then that of the copies on Kaggle.
_ESC50_TABLES = ("meta/esc50.csv", "esc50.csv")
_URBANSOUND8K_TABLES = ("metadata/UrbanSound8K.csv", "UrbanSound8K.csv")
_AGAIN = "unpack or download the data set again"
_SESA_FILE = re.compile(r"(casual|explosion|gunshot|siren)_[0-9]+")
_SYNTH12_FILE = re.compile(r"([a-z]+)-([a-z_]+)-[0-9]+")


def _read_esc10(info: DatasetInfo, root: Path) -> list[Found]:
    loose = audio_in(root)
    if loose:
        raise InputError("audio outside the class folders", where=str(loose[0]), fix=f"expected {ESC10.expected}")
    found = []
    for folder in visible(root):
        if not folder.is_dir():
            continue
        parts = _ESC10_FOLDER.fullmatch(folder.name)
        # The registry has ESC-10's folder names in lower case.
        classname = prompt_name(parts[1]) if parts else ""
        for file in audio_in(folder):
            if classname not in info.classnames:
                raise InputError(
                    f"folder '{folder.name}' is not a class of {info.name}",
                    where=str(file),
                    fix=f"name it as in '001 - Dog bark'; classes are {', '.join(info.classnames)}",
                )
            name = _ESC10_FILE.fullmatch(file.stem)
            if name is None or name[1] not in info.folds:
                raise InputError(
                    "file name is not <fold>-<Freesound id>-<take>",
                    where=str(file),
                    fix=f"name it as in '1-100032-A.ogg'; folds are {', '.join(info.folds)}",
                )
            found.append(Found(file, classname, fold=name[1], group=name[2]))
    if not found:
        raise no_audio(root, ESC10.expected)
    return found


def _read_esc50(info: DatasetInfo, root: Path) -> list[Found]:
    """All of ESC-50, or the clips of ``info``'s classes for the Actions subset."""
    whole = DATASETS["ESC50"]
    table = first_there(root, _ESC50_TABLES)
    audio = first_there(root, ("audio/audio", "audio"))
    found: list[Found] = []
    for where, row in read_table(table, ("filename", "fold", "category", "src_file")):
        name, fold, category, source = (row[column] for column in ("filename", "fold", "category", "src_file"))
        if not name or Path(name).name != name:
            raise InputError(f"filename '{name}' is not the name of a file in audio/", where=where, fix=_AGAIN)
        # The CSV writes 'door_wood_knock' where the registry has 'door wood knock'.
        classname = class_named(whole, category)
        if classname is None:
            raise InputError(
                f"unknown category '{category}' of {name}", where=where, fix=f"known: {', '.join(whole.classnames)}"
            )
        if fold not in info.folds:
            raise InputError(f"unknown fold '{fold}' of {name}", where=where, fix=f"folds are {', '.join(info.folds)}")
        if not source:
            raise InputError(f"src_file of {name} is empty", where=where, fix=_AGAIN)
        if classname in info.classnames:
            found.append(Found(audio / name, classname, fold=fold, group=source))
    if not found:
        raise InputError(f"lists no clips of {info.name}", where=str(table), fix=_AGAIN)
    return complete(found, root, table.relative_to(root).as_posix())


def _read_urbansound8k(info: DatasetInfo, root: Path) -> list[Found]:
    table = first_there(root, _URBANSOUND8K_TABLES)
    audio = first_there(root, ("audio", "."))
    found = []
    columns = ("slice_file_name", "fsID", "fold", "class")
    for where, row in read_table(table, columns, rename=_urbansound8k_header):
        name, source, fold = row["slice_file_name"], row["fsID"], row["fold"]
        if not name or Path(name).name != name:
            raise InputError(f"slice_file_name '{name}' is not the name of a file", where=where, fix=_AGAIN)
        classname = class_named(info, row["class"])
        if classname is None:
            raise InputError(
                f"unknown class '{row['class']}' of {name}", where=where, fix=f"known: {', '.join(info.classnames)}"
            )
        if fold not in info.folds:
            raise InputError(f"unknown fold '{fold}' of {name}", where=where, fix=f"folds are {', '.join(info.folds)}")
        if not source:
            raise InputError(f"fsID of {name} is empty", where=where, fix=_AGAIN)
        found.append(Found(audio / f"fold{fold}" / name, classname, fold=fold, group=source))
    return complete(found, root, table.relative_to(root).as_posix())


def _urbansound8k_header(header: tuple[str, ...]) -> tuple[str, ...]:
    """Some copies rename the authors' column ``class``, which is a reserved word in programming languages."""
    return header if "class" in header else tuple("class" if name == "class_name" else name for name in header)


def _read_sesa(info: DatasetInfo, root: Path) -> list[Found]:
    found: list[Found] = []
    for side in ("train", "test"):
        if not (root / side).is_dir():
            raise InputError(f"no folder {side} in {root}", fix=f"expected {SESA.expected}")
        before = len(found)
        for file in audio_below(root / side):
            parts = _SESA_FILE.fullmatch(file.stem)
            if parts is None:
                raise InputError(
                    "file name is not <class>_<number>",
                    where=str(file),
                    fix=f"name it as in 'casual_001.wav'; classes are {', '.join(info.classnames)}",
                )
            found.append(Found(file, parts[1], fold=side, group=""))
        if len(found) == before:
            raise no_audio(root / side, SESA.expected)
    return found


def _read_synth12(info: DatasetInfo, root: Path) -> list[Found]:
    found = []
    for file in audio_in(root):
        parts = _SYNTH12_FILE.fullmatch(file.stem)
        classname = class_named(info, parts[2]) if parts else None
        if parts is None or classname is None or parts[1] not in info.folds:
            raise InputError(
                "file name is not <place>-<class>-<number>",
                where=str(file),
                fix="write the files again: python -m infra.mini.synth12 DIR",
            )
        # A place has one kind of background: its clips are the same source.
        found.append(Found(file, classname, fold=parts[1], group=parts[1]))
    return found


ESC10 = Layout(
    origin="original",
    expected="folders of ESC10 such as '001 - Dog bark/1-100032-A.ogg'",
    # Only the class folders themselves, so that their parent folder is not mistaken for one.
    stands_in=lambda root: (
        any(_ESC10_FOLDER.fullmatch(inner.name) for inner in visible(root))
        or any(_ESC10_FILE.fullmatch(file.stem) for file in audio_in(root))
    ),
    read=_read_esc10,
)
ESC50 = Layout(
    origin="original",
    expected="meta/esc50.csv and audio/",
    stands_in=lambda root: any((root / table).is_file() for table in _ESC50_TABLES),
    read=_read_esc50,
)
URBANSOUND8K = Layout(
    origin="original",
    expected="metadata/UrbanSound8K.csv and audio/fold1 to audio/fold10",
    stands_in=lambda root: any((root / table).is_file() for table in _URBANSOUND8K_TABLES),
    read=_read_urbansound8k,
)
SESA = Layout(
    origin="original",
    expected="train/ and test/ with casual_001.wav and so on",
    stands_in=lambda root: any((root / side).is_dir() and named(_SESA_FILE)(root / side) for side in ("train", "test")),
    read=_read_sesa,
)
SYNTH12 = Layout(
    origin="synthesised",
    expected="the files of python -m infra.mini.synth12, such as 'wind-clock_tick-0.wav'",
    stands_in=lambda root: any(_SYNTH12_FILE.fullmatch(file.stem) for file in audio_in(root)),
    read=_read_synth12,
)
