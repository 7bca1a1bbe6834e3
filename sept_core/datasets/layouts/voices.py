"""Voices as their authors ship them: RAVDESS, CREMA-D, VocalSound, FSDD.

RAVDESS: https://zenodo.org/records/1188976, CREMA-D: https://github.com/CheyneyComputerScience/CREMA-D, VocalSound:
https://github.com/YuanGongND/vocalsound, FSDD: https://github.com/Jakobovski/free-spoken-digit-dataset.
RAVDESS and CREMA-D have no split: ``sept_core.datasets.assign`` makes one in which every actor is on one side.
"""

from __future__ import annotations

import re
from pathlib import Path

from sept_core.checked_json import parse_json
from sept_core.datasets.layouts.base import (
    Found,
    Layout,
    audio_below,
    audio_in,
    class_named,
    complete,
    named,
    no_audio,
)
from sept_core.datasets.registry import DatasetInfo
from sept_core.datasets.sources import source_in_name
from sept_core.errors import InputError

__all__ = ["CREMA_D", "FSDD", "RAVDESS", "VOCALSOUND"]

_RAVDESS_FILE = re.compile(r"([0-9]{2})-(?:01|02)-([0-9]{2})(?:-[0-9]{2}){4}")
_RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_CREMA_D_FILE = re.compile(r"[0-9]{4}_[A-Z]{3}_([A-Z]{3})_[A-Z]+")
_CREMA_D_EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_VOCALSOUND_FILE = re.compile(r"[fm][0-9]+_[0-9]+_([a-z]+)")
_VOCALSOUND_SIDES = {"tr": "train", "val": "train", "te": "test"}
_FSDD_FILE = re.compile(r"([0-9]+)_([^_]+)_([0-9]+)")
_FSDD_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _read_ravdess(info: DatasetInfo, root: Path) -> list[Found]:
    """Speech and song; the sound tracks of the videos (modality 01) are the same takes and are left out."""
    found = []
    for file in audio_below(root):
        parts = _RAVDESS_FILE.fullmatch(file.stem)
        emotion = int(parts[2]) if parts else 0
        if parts is None or not 1 <= emotion <= len(_RAVDESS_EMOTIONS):
            raise InputError(
                "file name is not <modality>-<channel>-<emotion>-<intensity>-<statement>-<repetition>-<actor>",
                where=str(file),
                fix="name it as in '03-01-05-01-02-01-12.wav'; emotions are 01 to 08",
            )
        if parts[1] == "03":
            group = source_in_name(info.name, file.stem)
            found.append(Found(file, _RAVDESS_EMOTIONS[emotion - 1], fold="", group=group))
    if not found:
        raise no_audio(root, RAVDESS.expected)
    return found


def _read_crema_d(info: DatasetInfo, root: Path) -> list[Found]:
    found = []
    for file in audio_below(root):
        parts = _CREMA_D_FILE.fullmatch(file.stem)
        if parts is None or parts[1] not in _CREMA_D_EMOTIONS:
            raise InputError(
                "file name is not <actor>_<sentence>_<emotion>_<level>",
                where=str(file),
                fix=f"name it as in '1001_DFA_ANG_XX.wav'; emotions are {', '.join(_CREMA_D_EMOTIONS)}",
            )
        group = source_in_name(info.name, file.stem)
        found.append(Found(file, _CREMA_D_EMOTIONS[parts[1]], fold="", group=group))
    return found


def _read_vocalsound(info: DatasetInfo, root: Path) -> list[Found]:
    """Its split by speakers. The validation set, which is not needed here, is added to the training set."""
    audio = next((root / name for name in ("audio_16k", "audio_44k", "data_44k") if (root / name).is_dir()), None)
    if audio is None:
        raise InputError(f"no folder audio_16k or audio_44k in {root}", fix=f"expected {VOCALSOUND.expected}")
    found = []
    for part, side in _VOCALSOUND_SIDES.items():
        table = root / "datafiles" / f"{part}.json"
        for name in _vocalsound_names(table):
            parts = _VOCALSOUND_FILE.fullmatch(Path(name).stem)
            # The files write 'throatclearing' where the registry has 'Throat clearing'.
            spelled = {"throatclearing": "throat clearing"}.get(parts[1], parts[1]) if parts else ""
            classname = class_named(info, spelled)
            if classname is None:
                raise InputError(
                    f"'{name}' is not <speaker>_<session>_<class>.wav",
                    where=str(table),
                    fix=f"expected names such as 'f0001_0_laughter.wav'; classes are {', '.join(info.classnames)}",
                )
            group = source_in_name(info.name, Path(name).stem)
            found.append(Found(audio / name, classname, fold=side, group=group))
    return complete(found, root, "datafiles/")


def _vocalsound_names(table: Path) -> list[str]:
    """File names that one of the JSON files lists; its folders are those of the authors' machine."""
    if not table.is_file():
        raise InputError("no such file", where=str(table), fix=f"expected {VOCALSOUND.expected}")
    try:
        rows = parse_json(table.read_bytes())["data"]
        return [str(row["wav"]).replace("\\", "/").rsplit("/", 1)[-1] for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            'is not JSON of the form {"data": [{"wav": ...}]}', where=str(table), fix="unpack it again"
        ) from error


def _read_fsdd(info: DatasetInfo, root: Path) -> list[Found]:
    found = []
    for file in _fsdd_files(root):
        parts = _FSDD_FILE.fullmatch(file.stem)
        if parts is None:
            raise InputError(
                "file name is not <digit>_<speaker>_<index>", where=str(file), fix="name it as in '7_jackson_32.wav'"
            )
        digit, speaker, _ = parts.groups()
        if len(digit) != 1:
            raise InputError(f"unknown digit '{digit}'", where=str(file), fix="digits are 0 to 9")
        if speaker not in info.folds:
            raise InputError(
                f"unknown speaker '{speaker}'", where=str(file), fix=f"speakers are {', '.join(info.folds)}"
            )
        found.append(Found(file, _FSDD_DIGITS[int(digit)], fold=speaker, group=speaker))
    return found


def _fsdd_files(root: Path) -> list[Path]:
    recordings = root / "recordings"
    return audio_in(recordings if recordings.is_dir() else root)


RAVDESS = Layout(
    origin="original",
    expected="Actor_01/03-01-05-01-02-01-12.wav and so on",
    stands_in=named(_RAVDESS_FILE),
    read=_read_ravdess,
)
CREMA_D = Layout(
    origin="original",
    expected="AudioWAV/1001_DFA_ANG_XX.wav and so on",
    stands_in=named(_CREMA_D_FILE),
    read=_read_crema_d,
)
VOCALSOUND = Layout(
    origin="original",
    expected="audio_16k/f0001_0_laughter.wav and so on, and datafiles/ with tr.json, val.json and te.json",
    stands_in=lambda root: (root / "datafiles").is_dir(),
    read=_read_vocalsound,
)
FSDD = Layout(
    origin="original",
    expected="recordings of FSDD such as 'recordings/7_jackson_32.wav'",
    stands_in=lambda root: any(_FSDD_FILE.fullmatch(file.stem) for file in _fsdd_files(root)),
    read=_read_fsdd,
)
