"""Small folders in exactly the layouts of the benchmark's data sets: PALM's copies, and what the authors ship.

Every clip is 0.1 s of noise of its own. ``original(dataset, root)`` and ``palm(dataset, root)`` write all classes with
a few clips in every fold; where both know the split, both have the same clips, byte for byte.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from sept_core.datasets import DATASETS

RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
CREMA_D = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}


@dataclass(frozen=True)
class Made:
    """A clip as it should be found: ``fold`` is ``""`` where the original has none."""

    stem: str
    classname: str
    fold: str
    group: str


def noise(path: Path) -> None:
    """A clip whose sound depends on its file name alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(zlib.crc32(path.stem.encode()))
    soundfile.write(path, generator.uniform(-0.5, 0.5, 800).astype(np.float32), 8000, subtype="PCM_16")


def table(path: Path, header: list[str], rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def made(dataset: str) -> list[Made]:
    """The clips of a data set: names as its authors give them, groups and folds that fit."""
    info = DATASETS[dataset]
    clips = []
    for at, name in enumerate(info.classnames):
        for number in range(5 if dataset == "ESC50" else 10):
            fold = info.folds[number % len(info.folds)] if info.split == "kfold" else ("test", "train")[number >= 2]
            clips.append(_NAMES[dataset](name, at, number, fold))
    return clips


def _esc50(name: str, at: int, number: int, fold: str) -> Made:
    return Made(f"{fold}-{at}{number}00-A-{at}", name, fold, f"{at}{number}00")


def _urban(name: str, at: int, number: int, fold: str) -> Made:
    return Made(f"{1000 * at + number}-{at}-0-{number}", name, fold, f"{1000 * at + number}")


def _ravdess(name: str, at: int, number: int, fold: str) -> Made:
    return Made(f"03-01-{RAVDESS.index(name) + 1:02d}-01-01-01-{number + 1:02d}", name, "", f"{number + 1:02d}")


def _crema(name: str, at: int, number: int, fold: str) -> Made:
    code = next(code for code, emotion in CREMA_D.items() if emotion == name)
    return Made(f"{1001 + number}_DFA_{code}_XX", name, "", f"{1001 + number}")


def _vocal(name: str, at: int, number: int, fold: str) -> Made:
    return Made(f"f{number:04d}_0_{name.lower().replace(' ', '')}", name, fold, f"f{number:04d}")


def _nsynth(name: str, at: int, number: int, fold: str) -> Made:
    return Made(f"{name}_electronic_{number:03d}-060-100", name, fold, f"{name}_electronic_{number:03d}")


def _tut(name: str, at: int, number: int, fold: str) -> Made:
    return Made(f"a{20 * at + number:03d}_0_10", name, fold, f"a{20 * at + number:03d}")


_NAMES: dict[str, Callable[[str, int, int, str], Made]] = {
    "Beijing-Opera": lambda name, at, number, fold: Made(
        f"2221{at}{number}__ajaysm__{name}-{number:02d}", name, "", ""
    ),
    "CREMA-D": _crema,
    "ESC50": _esc50,
    "ESC50-Actions": _esc50,
    "GT-Music-Genre": lambda name, at, number, fold: Made(f"{name}.{number:05d}", name, "", ""),
    "NS-Instruments": _nsynth,
    "RAVDESS": _ravdess,
    "SESA": lambda name, at, number, fold: Made(f"{name}_{number:03d}", name, fold, ""),
    "TUT2017": _tut,
    "UrbanSound8K": _urban,
    "VocalSound": _vocal,
}


def palm(dataset: str, root: Path) -> list[Made]:
    """PALM's copy: flat ``audios/`` and its CSV files; a split by number where the original has none."""
    info = DATASETS[dataset]
    clips = made(dataset)
    folds = [clip.fold or _palm_fold(info.folds, number) for number, clip in enumerate(clips)]
    for clip in clips:
        noise(root / "audios" / f"{clip.stem}.wav")
    rows = [[f"audios/{clip.stem}.wav", clip.classname] for clip in clips]
    header = ["path", "classname"]
    if info.split == "fixed":
        for side in ("train", "test"):
            table(root / f"{side}.csv", header, [row for row, of in zip(rows, folds, strict=True) if of == side])
    else:
        for fold in info.folds:
            test = [row for row, of in zip(rows, folds, strict=True) if of == fold]
            table(root / "csv_files" / f"test_{fold}.csv", header, test)
            table(root / "csv_files" / f"train_{fold}.csv", header, [row for row in rows if row not in test])
    return [Made(clip.stem, clip.classname, fold, clip.group) for clip, fold in zip(clips, folds, strict=True)]


def _palm_fold(folds: tuple[str, ...], number: int) -> str:
    return ("train", "test")[(number + number // 10) % 5 == 0] if folds == ("test",) else folds[number % len(folds)]


def original(dataset: str, root: Path) -> list[Made]:
    """What the authors ship."""
    clips = made(dataset)
    _ORIGINALS[dataset](root, clips)
    return clips


def _write_esc50(root: Path, clips: list[Made]) -> None:
    # The Actions subset is a selection from the whole: another class's clip stands in its table too.
    whole = [*clips, Made("1-999999-A-0", "dog", "1", "999999")] if len(clips) < 200 else clips
    for clip in whole:
        noise(root / "audio" / f"{clip.stem}.wav")
    rows = [
        [f"{clip.stem}.wav", clip.fold, "0", clip.classname.replace(" ", "_"), "False", clip.group, "A"]
        for clip in whole
    ]
    header = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    table(root / "meta" / "esc50.csv", header, rows)


def _write_urban(root: Path, clips: list[Made]) -> None:
    for clip in clips:
        noise(root / "audio" / f"fold{clip.fold}" / f"{clip.stem}.wav")
    rows = [
        [f"{clip.stem}.wav", clip.group, "0.0", "4.0", "1", clip.fold, "0", clip.classname.replace(" ", "_")]
        for clip in clips
    ]
    header = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]
    table(root / "metadata" / "UrbanSound8K.csv", header, rows)


def _write_vocal(root: Path, clips: list[Made]) -> None:
    for clip in clips:
        noise(root / "audio_16k" / f"{clip.stem}.wav")
    sides = {"te": [clip for clip in clips if clip.fold == "test"]}
    train = [clip for clip in clips if clip.fold == "train"]
    sides |= {"val": train[:1], "tr": train[1:]}
    (root / "datafiles").mkdir()
    for side, of in sides.items():
        rows = [{"wav": f"/data/somebody/vs/audio_16k/{clip.stem}.wav", "labels": "/m/01"} for clip in of]
        (root / "datafiles" / f"{side}.json").write_text(json.dumps({"data": rows}))


def _write_nsynth(root: Path, clips: list[Made]) -> None:
    for side in ("train", "valid", "test"):
        folder = root / f"nsynth-{side}"
        of = [clip for clip in clips if clip.fold == side]
        for clip in of:
            noise(folder / "audio" / f"{clip.stem}.wav")
        notes = {
            clip.stem: {"instrument_str": clip.group, "instrument_family_str": clip.classname, "pitch": 60}
            for clip in of
        }
        # The family that the benchmark leaves out stands in the table, and its file need not be there.
        notes["synth_lead_synthetic_000-060-100"] = {
            "instrument_str": "synth_lead_synthetic_000",
            "instrument_family_str": "synth_lead",
        }
        folder.mkdir(exist_ok=True)
        (folder / "examples.json").write_text(json.dumps(notes))


def _write_tut(root: Path, clips: list[Made]) -> None:
    for clip in clips:
        noise(root / "audio" / f"{clip.stem}.wav")
    lines = [f"audio/{clip.stem}.wav\t{clip.classname}\t{clip.group}\n" for clip in clips]
    (root / "meta.txt").write_text("".join(lines))
    setup = root / "evaluation_setup"
    setup.mkdir()
    for fold in DATASETS["TUT2017"].folds:
        sides = {
            "train": lambda clip, fold=fold: clip.fold != fold,
            "evaluate": lambda clip, fold=fold: clip.fold == fold,
        }
        for side, belongs in sides.items():
            of = [clip for clip in clips if belongs(clip)]
            lines = [f"audio/{clip.stem}.wav\t{clip.classname}\n" for clip in of]
            (setup / f"fold{fold}_{side}.txt").write_text("".join(lines))
        # The test list of the challenge has no labels, and is not read.
        (setup / f"fold{fold}_test.txt").write_text("audio/unlabelled.wav\n")


def _each(path: Callable[[Made], str]) -> Callable[[Path, list[Made]], None]:
    def write(root: Path, clips: list[Made]) -> None:
        for clip in clips:
            noise(root / path(clip))

    return write


_ORIGINALS: dict[str, Callable[[Path, list[Made]], None]] = {
    "Beijing-Opera": _each(lambda clip: f"{clip.stem}.wav"),
    "CREMA-D": _each(lambda clip: f"AudioWAV/{clip.stem}.wav"),
    "ESC50": _write_esc50,
    "ESC50-Actions": _write_esc50,
    "GT-Music-Genre": _each(lambda clip: f"genres/{clip.classname}/{clip.stem}.wav"),
    "NS-Instruments": _write_nsynth,
    "RAVDESS": _each(lambda clip: f"Actor_{clip.group}/{clip.stem}.wav"),
    "SESA": _each(lambda clip: f"{clip.fold}/{clip.stem}.wav"),
    "TUT2017": _write_tut,
    "UrbanSound8K": _write_urban,
    "VocalSound": _write_vocal,
}
