"""Building blocks of layouts: found clips, listing folders, and reading tables with line numbers."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from sept_core.audio.formats import AUDIO_SUFFIXES
from sept_core.datasets.registry import DatasetInfo, prompt_name
from sept_core.errors import InputError
from sept_core.text import some

__all__ = [
    "Found",
    "Layout",
    "audio_below",
    "audio_in",
    "class_named",
    "complete",
    "first_there",
    "hash_files",
    "inside",
    "listing",
    "named",
    "no_audio",
    "read_table",
    "visible",
]

_DEPTH = 4


@dataclass(frozen=True)
class Found:
    """A clip before its file is hashed.

    Args:
        file: Its audio file.
        classname: Spelled as in the registry.
        fold: ``""`` if the data set has no folds; then ``sept_core.datasets.assign`` assigns one.
        group: Source recording or speaker; ``""`` if unknown.
    """

    file: Path
    classname: str
    fold: str
    group: str


@dataclass(frozen=True)
class Layout:
    """One way to organise a data set's folder.

    Args:
        origin: Whose layout it is, for messages.
        expected: What such a folder contains, for messages.
        stands_in: Whether a folder looks like it; quick, and true for one with faults, so that ``read`` reports them.
        read: Returns its clips. Raises InputError for a file that does not fit, OSError for one that cannot be read.
    """

    origin: str
    expected: str
    stands_in: Callable[[Path], bool]
    read: Callable[[DatasetInfo, Path], list[Found]]


def visible(folder: Path) -> Iterator[Path]:
    """The entries of a folder, sorted, without hidden files (``.DS_Store``, ``._clip.ogg``)."""
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "__MACOSX")))


def audio_in(folder: Path) -> list[Path]:
    """The audio files of a folder itself, sorted."""
    return [path for path in visible(folder) if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()]


def audio_below(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """The audio files of a folder and of the folders in it, sorted within each; links to folders are not followed."""
    yield from audio_in(folder)
    if depth > 0:
        for inner in visible(folder):
            if inner.is_dir() and not inner.is_symlink():
                yield from audio_below(inner, depth - 1)


def named(pattern: re.Pattern[str]) -> Callable[[Path], bool]:
    """A ``stands_in``: whether any audio file below the folder has a name (without suffix) of this form."""
    return lambda root: any(pattern.fullmatch(file.stem) for file in audio_below(root))


def listing(folder: Path) -> str:
    """The contents of a folder, in a few words."""
    names = [path.name + ("/" if path.is_dir() else "") for path in visible(folder)]
    return f"found {some(names)}" if names else "the folder is empty"


def no_audio(folder: Path, expected: str) -> InputError:
    """The error for a folder without a clip."""
    return InputError(f"no audio in {folder}", fix=f"{listing(folder)}; expected {expected}")


def class_named(info: DatasetInfo, name: str) -> str | None:
    """The registry's spelling of a class, whatever its case and underscores here; None if there is no such class."""
    spelled = {prompt_name(classname): classname for classname in info.classnames}
    return spelled.get(prompt_name(name))


def first_there(root: Path, places: Sequence[str]) -> Path:
    """The first of several places below a folder that exists; the first of all if none does, for messages."""
    return next((root / place for place in places if (root / place).exists()), root / places[0])


def hash_files(files: Sequence[Path]) -> list[str]:
    """The sha256 of each file, in hexadecimal digits. Raises OSError for a file that cannot be read."""
    hashes = []
    for file in files:
        with file.open("rb") as stream:
            hashes.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hashes


def inside(folder: Path, name: str, where: str) -> Path:
    """A file that a table lists; it must be inside the folder."""
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name:
        raise InputError(
            f"'{name}' is not the path of a file in {folder}",
            where=where,
            fix="write it relative to that folder, with '/'",
        )
    return folder / pure


def complete(
    found: list[Found], folder: Path, listed_in: str, fix: str = "unpack or download the data set again"
) -> list[Found]:
    """The clips, after checking that all their files exist."""
    missing = sorted(item.file.relative_to(folder).as_posix() for item in found if not item.file.is_file())
    if missing:
        raise InputError(
            f"{len(missing)} of {len(found)} clips listed in {listed_in} are missing, first {missing[0]}",
            where=str(folder),
            fix=fix,
        )
    return found


def read_table(
    path: Path,
    columns: Sequence[str] | None = None,
    delimiter: str = ",",
    rename: Callable[[tuple[str, ...]], tuple[str, ...]] | None = None,
) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a table, each with its line for messages; a short row has ``""`` in its missing columns.

    Empty rows, as spreadsheets leave at the end, are skipped, and column names are stripped.

    Args:
        path: A CSV file in UTF-8.
        columns: Columns that its header must have. None: it has no header, and the columns are numbered.
        delimiter: Between two fields.
        rename: Gives the columns of the header other names.

    Raises:
        InputError: No such file, not such a table, a missing or duplicate column, or no rows.
    """
    if not path.is_file():
        beside = listing(path.parent) if path.parent.is_dir() else f"there is no folder {path.parent}"
        raise InputError("no such file", where=str(path), fix=beside)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        # Strict, since a quote that is not closed would swallow all rows after it.
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
        try:
            header = None if columns is None else _header(path, next(reader, []), columns, delimiter, rename)
            rows = [(reader.line_num, row) for row in reader if any(text.strip() for text in row)]
        except (UnicodeDecodeError, csv.Error) as error:
            line = f"line {reader.line_num}: " if isinstance(error, csv.Error) else ""
            raise InputError(
                f"is not a CSV file in UTF-8 ({line}{error})", where=str(path), fix="save it as CSV in UTF-8"
            ) from error
    if not rows:
        raise InputError("lists no clips", where=str(path), fix="give it a row for each clip")
    return ((f"{path}, line {line}", _fields(row, header)) for line, row in rows)


def _header(
    path: Path,
    found: Sequence[str],
    wanted: Sequence[str],
    delimiter: str,
    rename: Callable[[tuple[str, ...]], tuple[str, ...]] | None,
) -> tuple[str, ...]:
    """The column names, after checking that the required ones are there, once each."""
    header = tuple(name.strip() for name in found)
    if not any(header):
        raise InputError("has no header", where=str(path), fix=f"its first line names the columns {', '.join(wanted)}")
    if rename is not None:
        header = rename(header)
    lacking = [column for column in wanted if column not in header]
    if lacking:
        other = next((mark for mark in ";\t|" if len(header) == 1 and mark in found[0]), "")
        hint = f"; put '{delimiter}' between columns, not {other!r}" if other else ""
        raise InputError(
            f"column {', '.join(lacking)} missing", where=str(path), fix=f"found: {', '.join(header)}{hint}"
        )
    doubled = next((name for name in header if name and header.count(name) > 1), None)
    if doubled:
        raise InputError(f"column {doubled} occurs twice", where=str(path), fix="keep one of them")
    return header


def _fields(row: Sequence[str], header: Sequence[str] | None) -> dict[str, str]:
    if header is None:
        return {str(at): text for at, text in enumerate(row)}
    return dict(zip_longest(header, row[: len(header)], fillvalue=""))
