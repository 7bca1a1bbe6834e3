"""The layouts of each data set, which of them a folder has, and the manifest of its clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sept_core.datasets.assign import Unplaced, assign_folds
from sept_core.datasets.layouts.base import Found, Layout, audio_below, hash_files, listing, visible
from sept_core.datasets.layouts.copies import one_file_each
from sept_core.datasets.layouts.events import ESC10, ESC50, SESA, SYNTH12, URBANSOUND8K
from sept_core.datasets.layouts.music import BEIJING_OPERA, GTZAN, NSYNTH
from sept_core.datasets.layouts.palm import PALM_FIXED, PALM_FOLDS
from sept_core.datasets.layouts.scenes import TUT2017
from sept_core.datasets.layouts.voices import CREMA_D, FSDD, RAVDESS, VOCALSOUND
from sept_core.datasets.manifest import Clip, Manifest
from sept_core.datasets.registry import DatasetInfo, get_dataset
from sept_core.errors import InputError

__all__ = ["LAYOUTS", "Digests", "hash_clips", "read_layout"]

Digests = Callable[[Sequence[Path]], Sequence[str]]
"""The sha256 of each file, in hexadecimal digits: for files whose content is stored elsewhere."""

# PALM's first: if its CSV files are there, they define the split.
LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "Beijing-Opera": (PALM_FOLDS, BEIJING_OPERA),
    "CREMA-D": (PALM_FIXED, CREMA_D),
    "ESC50": (PALM_FOLDS, ESC50),
    "ESC50-Actions": (PALM_FOLDS, ESC50),
    "GT-Music-Genre": (PALM_FIXED, GTZAN),
    "NS-Instruments": (PALM_FIXED, NSYNTH),
    "RAVDESS": (PALM_FIXED, RAVDESS),
    "SESA": (PALM_FIXED, SESA),
    "TUT2017": (PALM_FOLDS, TUT2017),
    "UrbanSound8K": (PALM_FOLDS, URBANSOUND8K),
    "VocalSound": (PALM_FIXED, VOCALSOUND),
    "ESC10": (ESC10,),
    "FSDD": (FSDD,),
    "Synth12": (SYNTH12,),
}


def read_layout(dataset: str, root: Path, *, digests: Digests = hash_files) -> Manifest:
    """Read a data set's folder into a manifest.

    Each of the benchmark's data sets is read from PALM's copy or from the authors' original, whichever the folder
    contains; ``LAYOUTS`` lists both. The files are only hashed here, not decoded. If the layout has no list of clips, a
    folder with some of the clips is read as it is, but an audio file whose name or folder does not fit is an error.

    Args:
        dataset: Name of the data set, as `get_dataset` takes it.
        root: Its folder, or a folder that contains only this folder (as archives often unpack).
        digests: Hashes the clips; with another function than the default their files may be empty.

    Raises:
        InputError: The data set is unknown; the folder does not exist or has none of its layouts; a file's name has
            an unknown class or fold, or it is listed but missing or unreadable.
    """
    info = get_dataset(dataset)
    try:
        if not root.exists():
            raise InputError("folder does not exist", where=str(root), fix=f"give the folder of {info.name}")
        if not root.is_dir():
            raise InputError("is a file, not a folder", where=str(root), fix=f"give the folder of {info.name}")
        layout, folder = _standing(info, root)
        found, notes = one_file_each(root, layout.read(info, folder), digests)
        return Manifest(info.name, hash_clips(info, root, found, digests=digests), notes)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})",
            where=str(error.filename or root),
            fix="check its permissions and the disk",
        ) from error


def hash_clips(
    info: DatasetInfo,
    root: Path,
    found: Sequence[Found],
    name: Callable[[Path], str] = lambda file: file.stem,
    digests: Digests = hash_files,
) -> tuple[Clip, ...]:
    """Clips with the digest of their files; ``sept_core.datasets.assign`` assigns a fold to those without one.

    Args:
        info: The data set.
        root: Folder that the paths are relative to.
        found: Its clips.
        name: The clip id of a file.
        digests: Hashes the clips.

    Raises:
        OSError: A file cannot be read.
    """
    files = [item.file for item in found]
    hashes = digests(files)
    folds = [item.fold for item in found]
    if not all(folds):
        folds = assign_folds(
            info,
            [
                Unplaced(name(item.file), item.classname, item.group, digest)
                for item, digest in zip(found, hashes, strict=True)
            ],
        )
    return tuple(
        Clip(
            clip_id=name(item.file),
            path=item.file.relative_to(root).as_posix(),
            classname=item.classname,
            fold=fold,
            group=item.group,
            sha256=digest,
        )
        for item, fold, digest in zip(found, folds, hashes, strict=True)
    )


def _standing(info: DatasetInfo, root: Path) -> tuple[Layout, Path]:
    """The layout of a folder, or of the only folder in it that has one."""
    layouts = LAYOUTS[info.name]
    inner = [folder for folder in visible(root) if folder.is_dir()]
    # Layout by layout, since a folder above PALM's copy contains file names that identify some originals.
    for layout in layouts:
        if layout.stands_in(root):
            return layout, root
        standing = [folder for folder in inner if layout.stands_in(folder)]
        if len(standing) == 1:
            return layout, standing[0]
    expected = " or ".join(f"{layout.expected} ({layout.origin})" for layout in layouts)
    what = info.name if next(audio_below(root), None) else "audio"
    raise InputError(f"no {what} in {root}", fix=f"{listing(root)}; expected {expected}")
