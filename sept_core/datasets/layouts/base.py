"""What every layout is made of: found clips, how a folder is looked through, and tables read with line numbers."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sept_core.datasets.registry import DatasetInfo, prompt_name
from sept_core.errors import InputError

__all__ = [
    "Found",
    "Layout",
    "audio_below",
    "audio_in",
    "class_named",
    "complete",
    "inside",
    "listing",
    "named",
    "no_audio",
    "read_table",
    "visible",
]

_AUDIO = frozenset({".au", ".flac", ".ogg", ".wav"})
_DEPTH = 4


@dataclass(frozen=True)
class Found:
    """A clip before its file is hashed.

    Args:
        file: Its audio file.
        classname: Spelled as in the registry.
        fold: ``""`` where the data set comes without folds, and it is placed by ``sept_core.datasets.assign``.
        group: Source recording or speaker; ``""`` where it is not known.
    """

    file: Path
    classname: str
    fold: str
    group: str


@dataclass(frozen=True)
class Layout:
    """One way in which a data set's folder is laid out.

    Args:
        origin: Whose layout it is, for messages.
        expected: What stands in such a folder, for messages.
        stands_in: Whether a folder looks like it; quick, and true for one with faults, so that ``read`` names them.
        read: Its clips. Raises InputError for what does not fit, OSError for what cannot be read.
    """

    origin: str
    expected: str
    stands_in: Callable[[Path], bool]
    read: Callable[[DatasetInfo, Path], list[Found]]


def visible(folder: Path) -> Iterator[Path]:
    """What a folder holds, sorted, without hidden files (``.DS_Store``, ``._clip.ogg``)."""
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "__MACOSX")))


def audio_in(folder: Path) -> list[Path]:
    """The audio files of a folder itself, sorted."""
    return [path for path in visible(folder) if path.suffix.lower() in _AUDIO and path.is_file()]


def audio_below(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    """The audio files of a folder and of the folders in it, sorted within each; links to folders are not followed."""
    yield from audio_in(folder)
    if depth > 0:
        for inner in visible(folder):
            if inner.is_dir() and not inner.is_symlink():
                yield from audio_below(inner, depth - 1)


def named(pattern: re.Pattern[str]) -> Callable[[Path], bool]:
    """A ``stands_in``: some audio file below has a name (without suffix) of this form."""
    return lambda root: any(pattern.fullmatch(file.stem) for file in audio_below(root))


def listing(folder: Path, limit: int = 5) -> str:
    """What a folder holds, in a few words."""
    names = [path.name + ("/" if path.is_dir() else "") for path in visible(folder)]
    if not names:
        return "the folder is empty"
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"found {', '.join(names[:limit])}{rest}"


def no_audio(folder: Path, expected: str) -> InputError:
    """The error for a folder without a clip."""
    return InputError(f"no audio in {folder}", mend=f"{listing(folder)}; expected {expected}")


def class_named(info: DatasetInfo, name: str) -> str | None:
    """The registry's spelling of a class, whatever its case and underscores are here; None for no class of it."""
    spelled = {prompt_name(classname): classname for classname in info.classnames}
    return spelled.get(prompt_name(name))


def inside(folder: Path, name: str, where: str) -> Path:
    """A file that a table lists, which must not lead out of its folder."""
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name:
        raise InputError(f"'{name}' is not the path of a file in {folder}", where=where)
    return folder / pure


def complete(found: list[Found], folder: Path, listed_in: str) -> list[Found]:
    """The clips as they are, when all their files are there."""
    missing = sorted(item.file.relative_to(folder).as_posix() for item in found if not item.file.is_file())
    if missing:
        raise InputError(
            f"{len(missing)} of {len(found)} clips listed in {listed_in} are missing, first {missing[0]}",
            where=str(folder),
            mend="unpack or download the data set again",
        )
    return found


def read_table(
    path: Path, columns: Sequence[str] | None = None, delimiter: str = ","
) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a table with the place of each for messages; a short row has ``""`` in the columns it lacks.

    Args:
        path: A CSV file in UTF-8.
        columns: Columns that its header must have. None: the columns are numbered, and it has no header.
        delimiter: Between two fields.

    Raises:
        InputError: No such file, not such a table, a column missing, or no rows.
    """
    if not path.is_file():
        beside = listing(path.parent) if path.parent.is_dir() else f"there is no folder {path.parent}"
        raise InputError("no such file", where=str(path), mend=beside)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            if columns is None:
                plain = csv.reader(stream, delimiter=delimiter)
                rows = [(plain.line_num, {str(at): text for at, text in enumerate(row)}) for row in plain if row]
            else:
                reader = csv.DictReader(stream, delimiter=delimiter)
                header = tuple(reader.fieldnames or ())
                lacking = [column for column in columns if column not in header]
                if lacking:
                    raise InputError(
                        f"column {', '.join(lacking)} missing", where=str(path), mend=f"found: {', '.join(header)}"
                    )
                rows = [
                    (reader.line_num, {key: text or "" for key, text in row.items() if key is not None})
                    for row in reader
                ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is not a CSV file in UTF-8 ({error})", where=str(path)) from error
    if not rows:
        raise InputError("lists no clips", where=str(path))
    return ((f"{path}, line {line}", row) for line, row in rows)
