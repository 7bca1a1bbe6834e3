"""One file per clip, for folders that contain some clips more than once.

CREMA-D's repository has both ``AudioWAV/`` and ``AudioMP3/``; a widespread copy of RAVDESS contains its folders
``Actor_01`` and so on twice. A clip is read once, from the uncompressed file if there is one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from sept_core.datasets.layouts.base import Found, hash_files
from sept_core.errors import InputError
from sept_core.text import plural

__all__ = ["UNCOMPRESSED", "one_file_each"]

UNCOMPRESSED = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac"),
    *(".aiff", ".aif", ".aifc", ".caf", ".au", ".snd"),
)
"""Suffixes of lossless files, in order of preference; all others come after them."""


def one_file_each(
    root: Path, found: Sequence[Found], digests: Callable[[Sequence[Path]], Sequence[str]] = hash_files
) -> tuple[list[Found], tuple[str, ...]]:
    """One file for each name (without suffix), and a line for each folder or format that is not read.

    Args:
        root: The data set's folder, for messages.
        found: Its clips.
        digests: Hashes files, as for ``read_layout``.

    Raises:
        InputError: Two files with the same name and format have different sounds, or belong to different classes or
            folds.
        OSError: A file cannot be read.
    """
    by_name: dict[str, list[Found]] = defaultdict(list)
    for clip in found:
        by_name[clip.file.stem].append(clip)
    several = {name: sorted(clips, key=_preference) for name, clips in by_name.items() if len(clips) > 1}
    if not several:
        return list(found), ()
    _check_same(root, several, digests)
    aside: Counter[tuple[str, str]] = Counter()
    for kept, *others in several.values():
        aside.update({(_place(root, other, kept), _place(root, kept, other)) for other in others})
    notes = [f"{left} is not read: {read} has the same {plural(n, 'clip')}" for (left, read), n in aside.items()]
    return [clips[0] if len(clips) == 1 else several[name][0] for name, clips in by_name.items()], tuple(sorted(notes))


def _preference(clip: Found) -> tuple[int, int, str]:
    suffix = clip.file.suffix.lower()
    rank = UNCOMPRESSED.index(suffix) if suffix in UNCOMPRESSED else len(UNCOMPRESSED)
    return rank, len(clip.file.parts), str(clip.file)


def _check_same(
    root: Path, several: dict[str, list[Found]], digests: Callable[[Sequence[Path]], Sequence[str]]
) -> None:
    """Refuse files with the same name that are not the same clip."""
    twins = [(kept, other) for kept, *others in several.values() for other in others]
    for kept, other in twins:
        if (kept.classname, kept.fold, kept.group) != (other.classname, other.fold, other.group):
            raise _different(root, kept, other, "belong to different classes or folds")
    # In two formats the bytes differ anyway.
    alike = [pair for pair in twins if pair[0].file.suffix.lower() == pair[1].file.suffix.lower()]
    hashed = digests([clip.file for pair in alike for clip in pair])
    for pair, one, two in zip(alike, hashed[::2], hashed[1::2], strict=True):
        if one != two:
            raise _different(root, *pair, "hold different sounds")


def _different(root: Path, kept: Found, other: Found, what: str) -> InputError:
    names = " and ".join(f"'{clip.file.relative_to(root).as_posix()}'" for clip in (kept, other))
    return InputError(
        f"{names} have the same name and {what}",
        where=str(root),
        fix="rename one of them, or move it out of the folder",
    )


def _place(root: Path, clip: Found, beside: Found) -> str:
    """The topmost folder in which two files differ, or the file's format if they are in the same folder."""
    mine, other = (one.file.relative_to(root).parts for one in (clip, beside))
    if mine[:-1] == other[:-1]:
        return f"*{clip.file.suffix}"
    depth = next((at for at, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), 0)
    # A file in a higher folder is named by the folder above it.
    return "/".join(mine[: depth + 1]) + "/" if len(mine) > depth + 1 else f"{'/'.join(mine[:depth]) or '.'}/*"
