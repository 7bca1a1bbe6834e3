"""Music as its authors ship it: GTZAN, NSynth, the Beijing Opera percussion instruments.

GTZAN: http://marsyas.info/downloads/datasets.html, NSynth: https://magenta.tensorflow.org/datasets/nsynth, Beijing
Opera: https://compmusic.upf.edu/bo-perc-dataset. GTZAN and Beijing Opera have no split:
``sept_core.datasets.assign`` makes one. GTZAN does not name the artists of clips, so an artist may be on both sides.
"""

from __future__ import annotations

import re
from pathlib import Path

from sept_core.checked_json import parse_json
from sept_core.datasets.layouts.base import Found, Layout, audio_below, complete, named
from sept_core.datasets.registry import DatasetInfo
from sept_core.errors import InputError

__all__ = ["BEIJING_OPERA", "GTZAN", "NSYNTH"]

_GTZAN_FILE = re.compile(r"([a-z]+)\.[0-9]{5}")
# 222146__ajaysm__bangu-16: the file name on Freesound; the authors' archive has only the last part.
_BEIJING_FILE = re.compile(r"(?:[0-9]+__[a-z]+__)?(bangu|daluo|naobo|xiaoluo)[-_ ]?[0-9]+")
_NSYNTH_SIDES = {"nsynth-train": "train", "nsynth-test": "test"}
# The test set lacks this family; PALM leaves it out too.
_NSYNTH_DROPPED = "synth_lead"


def _read_gtzan(info: DatasetInfo, root: Path) -> list[Found]:
    found = []
    for file in audio_below(root):
        parts = _GTZAN_FILE.fullmatch(file.stem)
        if parts is None or parts[1] not in info.classnames:
            raise InputError(
                "file name is not <genre>.<number>",
                where=str(file),
                fix=f"name it as in 'blues.00000.wav'; genres are {', '.join(info.classnames)}",
            )
        found.append(Found(file, parts[1], fold="", group=""))
    return found


def _read_nsynth(info: DatasetInfo, root: Path) -> list[Found]:
    """Train and test; the validation set shares instruments with the test set and is left out."""
    found = []
    for folder, side in _NSYNTH_SIDES.items():
        table = root / folder / "examples.json"
        if not table.is_file():
            raise InputError("no such file", where=str(table), fix=f"expected {NSYNTH.expected}")
        try:
            notes = parse_json(table.read_bytes())
            rows = [
                (str(name), str(note["instrument_family_str"]), str(note["instrument_str"]))
                for name, note in notes.items()
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                "is not JSON of notes with instrument_family_str and instrument_str",
                where=str(table),
                fix="unpack it again",
            ) from error
        for name, family, instrument in rows:
            if family == _NSYNTH_DROPPED:
                continue
            if family not in info.classnames:
                raise InputError(
                    f"unknown family '{family}' of {name}",
                    where=str(table),
                    fix=f"families are {', '.join(info.classnames)}",
                )
            if Path(name).name != name:
                raise InputError(f"'{name}' is not the name of a note", where=str(table), fix="unpack it again")
            found.append(Found(root / folder / "audio" / f"{name}.wav", family, fold=side, group=instrument))
    if not found:
        raise InputError("no notes of its classes are listed", where=str(root), fix="unpack it again")
    return complete(found, root, "examples.json")


def _read_beijing_opera(info: DatasetInfo, root: Path) -> list[Found]:
    found = []
    for file in audio_below(root):
        parts = _BEIJING_FILE.fullmatch(file.stem)
        if parts is None:
            raise InputError(
                "file name is not <instrument>-<number>",
                where=str(file),
                fix=f"name it as in '222146__ajaysm__bangu-16.wav'; instruments are {', '.join(info.classnames)}",
            )
        found.append(Found(file, parts[1], fold="", group=""))
    return found


GTZAN = Layout(
    origin="original",
    expected="genres/blues/blues.00000.wav and so on",
    stands_in=named(_GTZAN_FILE),
    read=_read_gtzan,
)
NSYNTH = Layout(
    origin="original",
    expected="nsynth-train/ and nsynth-test/, each with examples.json and audio/",
    stands_in=lambda root: any((root / folder / "examples.json").is_file() for folder in _NSYNTH_SIDES),
    read=_read_nsynth,
)
BEIJING_OPERA = Layout(
    origin="original",
    expected="222146__ajaysm__bangu-16.wav and so on",
    stands_in=named(_BEIJING_FILE),
    read=_read_beijing_opera,
)
