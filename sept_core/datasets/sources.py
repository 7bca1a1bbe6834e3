"""Sources in file names: the speaker, recording or instrument that a clip comes from, if its name says so.

Which of them a published split keeps apart is a property of the original data set. PALM's copies keep the file names,
so a source that crosses one of PALM's splits can be seen even though its CSV files don't list it.
"""

from __future__ import annotations

import re

__all__ = ["GROUPED", "SPLIT_HERE", "source_id", "source_in_name", "source_word"]

_SOURCES = {
    # 03-01-05-01-02-01-12: modality-channel-emotion-intensity-statement-repetition-actor
    "RAVDESS": re.compile(r"[0-9]{2}(?:-[0-9]{2}){5}-([0-9]{2})"),
    "CREMA-D": re.compile(r"([0-9]{4})_[A-Z]{3}_[A-Z]{3}_[A-Z]+"),
    "ESC50": re.compile(r"[1-5]-([0-9]+)-[A-Z]-[0-9]+"),
    "ESC50-Actions": re.compile(r"[1-5]-([0-9]+)-[A-Z]-[0-9]+"),
    # 100032-3-0-0: Freesound id, class, occurrence, slice
    "UrbanSound8K": re.compile(r"([0-9]+)-[0-9]-[0-9]+-[0-9]+"),
    "VocalSound": re.compile(r"([fm][0-9]+)_[0-9]+_[a-z]+"),
    # bass_electronic_018-022-100: instrument, pitch, velocity
    "NS-Instruments": re.compile(r"([a-z_]+_[0-9]{3})-[0-9]{3}-[0-9]{3}"),
    # b020_90_100: recording, start and end in seconds
    "TUT2017": re.compile(r"([a-z][0-9]+)_[0-9]+_[0-9]+"),
}

GROUPED = frozenset({"ESC50", "ESC50-Actions", "NS-Instruments", "TUT2017", "UrbanSound8K", "VocalSound"})
"""Data sets whose published splits keep whole recordings or speakers together, so that PALM's copies are read with
sources.

Two of them have exceptions: in ESC-50's folds 4 Freesound recordings cross (131943 and 134049 between folds 2 and 3,
209698
and 234879 between 4 and 5), in UrbanSound8K's 5 (106905 between 1 and 8, 132016 and 176638 between 1 and 4, 180937
between 1 and 9, 77751 between 2 and 7). ``sept_core.datasets.split_overlap`` says how they are handled.
"""

SPLIT_HERE = frozenset({"Beijing-Opera", "CREMA-D", "FSDD", "GT-Music-Genre", "RAVDESS"})
"""Data sets whose authors publish no split: it is made here (``sept_core.datasets.assign``; FSDD's by speaker), or by
the authors of PALM's copy."""

_WORDS = {"CREMA-D": "speaker", "FSDD": "speaker", "RAVDESS": "speaker", "VocalSound": "speaker"} | {
    "NS-Instruments": "instrument"
}


def source_word(dataset: str) -> str:
    """The word for a source of this data set: ``recording``, ``speaker``, ``instrument``; ``group`` for your own
    data."""
    return _WORDS.get(dataset, "recording" if dataset in _SOURCES or dataset == "ESC10" else "group")


def source_in_name(dataset: str, stem: str) -> str:
    """The source in a clip's file name (without suffix), ``""`` if there is none.

    Args:
        dataset: Canonical name of the data set.
        stem: Such as ``03-01-05-01-02-01-12`` (actor 12 of RAVDESS).
    """
    pattern = _SOURCES.get(dataset)
    found = pattern.fullmatch(stem) if pattern else None
    return found[1] if found else ""


_FREESOUND = frozenset({"ESC10", "ESC50", "ESC50-Actions", "UrbanSound8K"})
# The groups of these are numbers of recordings on Freesound.org; those of other data sets are meaningful only within
# them.


def source_id(dataset: str, group: str) -> str:
    """A clip's source, named so that it is the same in every data set that contains a part of it.

    Args:
        dataset: Canonical name of the data set.
        group: The clip's group in it.

    Returns:
        Such as ``freesound:100032`` or ``FSDD:theo``; ``""`` for an unknown group.
    """
    if not group:
        return ""
    return f"{'freesound' if dataset in _FREESOUND else dataset}:{group}"
