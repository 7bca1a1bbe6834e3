"""Interprets the names of columns and clips in users' own CSV files.

A column with another name is given once (``columns={"classname": "label"}``). A column that looks like a required one
is suggested, never used: a wrong guess would give results on other classes. A path is accepted if it can mean only one
file; otherwise the error says how to write it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from shlex import quote

from sept_core.datasets.layouts.base import inside, visible
from sept_core.errors import InputError

__all__ = ["COLUMNS", "clip_file", "read_columns", "rename", "where_instead"]

COLUMNS = ("path", "classname", "fold", "split", "group")
"""The columns of your own data set."""

# Names in the tables of published data sets and of annotation tools, most likely first.
_LOOKS_LIKE: Mapping[str, tuple[str, ...]] = {
    "path": (
        "filename",
        "file",
        "filepath",
        "fname",
        "slicefilename",
        "audiopath",
        "audiofile",
        "audio",
        "wav",
        "clip",
    ),
    "classname": ("category", "class", "label", "labelname", "labels", "species", "tag", "target", "classid"),
}


def read_columns(text: str) -> dict[str, str]:
    """``path=filename,classname=category`` as a mapping from our column names to those of a table.

    Raises:
        InputError: It is not of this form, or names an unknown column.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        ours, equals, theirs = (word.strip() for word in part.partition("="))
        if not equals or not theirs:
            raise InputError(
                f"'{part}' does not say which column is which",
                where="--columns",
                fix="write it like path=filename,classname=category",
            )
        if ours not in COLUMNS:
            turned = f"did you mean {theirs}={ours}? " if theirs in COLUMNS else ""
            raise InputError(
                f"'{ours}' is not a column of a data set",
                where="--columns",
                fix=f"{turned}the columns are {', '.join(COLUMNS)}",
            )
        if ours in found:
            raise InputError(f"'{ours}' is named twice", where="--columns", fix="name one column for it")
        found[ours] = theirs
    return found


def rename(header: Sequence[str], columns: Mapping[str, str], wanted: Sequence[str], where: str) -> tuple[str, ...]:
    """A table's header with our column names.

    Args:
        header: Names of the columns, as the table has them.
        columns: Our names -> the table's names.
        wanted: Required columns.
        where: Names the table in errors.

    Raises:
        InputError: A column that ``columns`` names is not there, or a required one is missing; the message names
            columns that look like it.
    """
    for ours, theirs in columns.items():
        if theirs not in header:
            raise InputError(f"has no column '{theirs}' for {ours}", where=where, fix=f"found: {', '.join(header)}")
    ours_of = {theirs: ours for ours, theirs in columns.items()}
    # A column that has one of our names, but is not the one that was given for it, is ignored.
    named = tuple(ours_of.get(name, f"({name})" if name in columns else name) for name in header)
    missing = [column for column in wanted if column not in named]
    likely = {ours: theirs for ours in missing if (theirs := _likely(ours, header))}
    if likely:
        looks = ", ".join(f"'{theirs}' looks like {ours}" for ours, theirs in likely.items())
        option = quote(",".join(f"{ours}={theirs}" for ours, theirs in (dict(columns) | likely).items()))
        raise InputError(
            f"column {', '.join(missing)} missing",
            where=where,
            fix=f"found: {', '.join(header)}; {looks}: rename it, or add --columns {option}",
        )
    return named


def clip_file(audio_root: Path, text: str, where: str) -> tuple[Path, str]:
    """The file that a table names, and its path.

    An absolute path below the audio folder is made relative to it. If the table and the disk spell an accented letter
    in two forms of Unicode (macOS splits ``é`` into two characters), the spelling on disk is used.

    Args:
        audio_root: The audio folder.
        text: The path, as the table has it.
        where: Names the table's line in errors.

    Returns:
        The file, which need not exist, and its path relative to the audio folder as the table spells it.

    Raises:
        InputError: The path does not lead to a file below the audio folder.
    """
    path = Path(text)
    # A clip that is a symbolic link keeps its listed path.
    real = path.parent.resolve() / path.name
    for whole, root in ((path, audio_root.absolute()), (real, audio_root.resolve())):
        if path.is_absolute() and whole.is_relative_to(root):
            text = whole.relative_to(root).as_posix()
            break
    try:
        file = inside(audio_root, text, where)
    except InputError as error:
        raise InputError(error.what, where=where, fix=_advice(audio_root, text) or error.fix) from error
    name = file.relative_to(audio_root).as_posix()
    if not file.is_file():
        for form in ("NFC", "NFD"):
            spelled = audio_root / unicodedata.normalize(form, name)
            if spelled.is_file():
                return spelled, name
    return file, name


def where_instead(missing: str, audio_root: Path, table: Path) -> str:
    """What to do about a clip that is not where the table says, as precisely as the neighbouring folders allow.

    Args:
        missing: Its path, relative to the audio folder.
        audio_root: The audio folder.
        table: The CSV file.
    """
    inner = [folder for folder in visible(audio_root) if folder.is_dir()]
    for folder in (audio_root.absolute().parent, table.absolute().parent, *inner):
        if (folder / missing).is_file():
            return f"the paths start from another folder: --audio {quote(str(folder))}"
    expected = audio_root / missing
    if expected.parent.is_dir():
        alike = [file.name for file in visible(expected.parent) if file.stem.lower() == expected.stem.lower()]
        if alike:
            return f"correct the paths: the file there is {alike[0]}"
    return "correct the paths, or give the folder that they start from"


def _likely(ours: str, header: Sequence[str]) -> str:
    """The column that looks like the one with this name; ``""`` for none."""
    plain = {"".join(filter(str.isalnum, name.lower())): name for name in header}
    return next((plain[word] for word in (ours, *_LOOKS_LIKE.get(ours, ())) if word in plain), "")


def _advice(audio_root: Path, text: str) -> str:
    if PureWindowsPath(text).drive or Path(text).is_absolute():
        return f"write paths relative to {audio_root}, or give the folder that contains all clips with --audio"
    if "\\" in text:
        return f"write '/' between folders, as in '{PureWindowsPath(text).as_posix()}'"
    return ""
