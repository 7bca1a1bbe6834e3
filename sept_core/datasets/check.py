"""What is wrong with a copy of a data set, before hours are spent on it.

An *error* would poison a result: a test clip that was trained on, a clip with two classes, a file that cannot be read.
A *warning* is something that the reader of a result should know.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sept_core.datasets.folds import roles_of
from sept_core.datasets.manifest import Clip, Manifest
from sept_core.datasets.registry import DatasetInfo, halves
from sept_core.datasets.sources import source_in_name
from sept_core.datasets.wording import some
from sept_core.errors import InputError

__all__ = ["Finding", "Findings", "check_manifest"]

Progress = Callable[[int, int], None]

_SHOTS = 16
_EQUAL_SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Args:
        severity: ``error`` where it would poison a result.
        what: One line.
    """

    severity: Literal["error", "warning"]
    what: str


@dataclass(frozen=True)
class Findings:
    """All that was found, the errors first."""

    all: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[str, ...]:
        """The lines of the errors."""
        return tuple(finding.what for finding in self.all if finding.severity == "error")

    @property
    def warnings(self) -> tuple[str, ...]:
        """The lines of the warnings."""
        return tuple(finding.what for finding in self.all if finding.severity == "warning")

    def refuse(self, where: str = "") -> None:
        """Let nothing poisoned pass.

        Raises:
            InputError: There are errors; it has the first, and how many there are.
        """
        if self.errors:
            rest = f" (and {len(self.errors) - 1} more errors)" if len(self.errors) > 1 else ""
            raise InputError(f"{self.errors[0]}{rest}", where=where, mend="sept data check lists all of them")


def check_manifest(
    manifest: Manifest, root: Path | None, info: DatasetInfo, progress: Progress | None = None
) -> Findings:
    """Check a data set: every file, the classes, the folds, and what is shared between training and test.

    Args:
        manifest: Its clips.
        root: Its audio folder; every clip is read and decoded. None checks the manifest alone.
        info: What the data set is.
        progress: Called with (clips read, clips in all) after each clip.
    """
    found: list[Finding] = []
    if root is not None:
        found += _files(manifest, root, progress)
    found += _counts(manifest, info)
    found += _duplicates(manifest)
    for fold in info.folds:
        found += _fold(manifest, info, fold)
    found += _hidden_sources(manifest, info)
    return Findings(tuple(sorted(found, key=lambda finding: finding.severity)))


def _files(manifest: Manifest, root: Path, progress: Progress | None) -> Iterable[Finding]:
    missing, changed, unreadable, silent = [], [], [], []
    for done, clip in enumerate(manifest.clips, start=1):
        file = root / clip.path
        if not file.is_file():
            missing.append(clip.path)
        else:
            try:
                with file.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
                if digest != clip.sha256:
                    changed.append(clip.path)
                elif _is_silent(file):
                    silent.append(clip.path)
            except InputError as error:
                unreadable.append(f"{clip.path} ({error.what})")
            except OSError as error:
                unreadable.append(f"{clip.path} ({error.strerror or error})")
        if progress is not None:
            progress(done, len(manifest.clips))
    total = len(manifest.clips)
    if missing:
        yield _error(f"{len(missing)} of {total} clips are missing: {some(missing)}")
    if changed:
        yield _error(f"{len(changed)} of {total} clips are not those of the manifest: {some(changed)}")
    if unreadable:
        yield _error(f"{len(unreadable)} of {total} clips cannot be read: {some(unreadable)}")
    if silent:
        yield _warning(f"{len(silent)} of {total} clips are silent: {some(silent)}")


def _is_silent(file: Path) -> bool:
    """Whether a clip that can be decoded holds no sound.

    Raises:
        InputError: It cannot be decoded.
    """
    from sept_core.audio import decode_clip, is_silent

    # At its own rate: nothing is resampled, so that neither torchaudio nor time is needed.
    return is_silent(decode_clip(file)[0])


def _counts(manifest: Manifest, info: DatasetInfo) -> Iterable[Finding]:
    counts = Counter(clip.classname for clip in manifest.clips)
    empty = [name for name in info.classnames if not counts[name]]
    if empty:
        yield _error(f"{len(empty)} of {len(info.classnames)} classes have no clips: {some(empty)}")
    if info.clips and len(manifest.clips) != info.clips:
        yield _warning(f"{len(manifest.clips)} clips; {info.name} is published with {info.clips}")


def _duplicates(manifest: Manifest) -> Iterable[Finding]:
    by_content: dict[str, list[Clip]] = defaultdict(list)
    for clip in manifest.clips:
        by_content[clip.sha256].append(clip)
    doubled = [clips for clips in by_content.values() if len(clips) > 1]
    torn = [_equal(clips) for clips in doubled if len({clip.classname for clip in clips}) > 1]
    if torn:
        yield _error(f"{len(torn)} contents stand under several classes: {some(torn)}")
    alike = [_equal(clips) for clips in doubled if len({clip.classname for clip in clips}) == 1]
    if alike:
        yield _warning(f"{len(alike)} contents stand more than once in a class: {some(alike)}")


def _fold(manifest: Manifest, info: DatasetInfo, fold: str) -> Iterable[Finding]:
    """One test fold against its pool: what ``make_split`` would refuse, and what is thin."""
    roles = [(clip, roles_of(clip.fold, info)) for clip in manifest.clips]
    pool = [clip for clip, of in roles if fold in of.train]
    test = [clip for clip, of in roles if fold in of.test]
    name = f"fold {fold}" if info.split == "kfold" else "the split"
    contents = {clip.sha256: clip.clip_id for clip in pool}
    shared = [f"{contents[clip.sha256]} = {clip.clip_id}" for clip in test if clip.sha256 in contents]
    if shared:
        yield _error(f"{name}: {len(shared)} test clips are also trained on, by content: {some(shared)}")
    crossing = sorted(({clip.group for clip in pool} & {clip.group for clip in test}) - {""})
    if crossing:
        yield _error(f"{name}: {len(crossing)} sources stand in both training and test: {some(crossing)}")
    if len(test) > len(pool):
        yield _warning(f"{name}: {len(test)} clips to test on and {len(pool)} to train on; swapped, perhaps?")
    counts = Counter(clip.classname for clip in pool)
    present = {clip.classname for clip in manifest.clips}
    without = [classname for classname in info.classnames if classname in present and not counts[classname]]
    if without:
        yield _error(f"{name}: nothing to train on of {some(without)}")
    base, new = halves(info.classnames)
    few = [f"{classname} {counts[classname]}" for classname in base if 0 < counts[classname] < _SHOTS]
    if few:
        yield _warning(f"{name}: fewer than {_SHOTS} clips to draw shots from: {some(few)}")
    tested = {clip.classname for clip in test}
    untested = [classname for classname in info.classnames if classname in present and classname not in tested]
    if untested and test:
        yield _warning(f"{name}: nothing to test on of {some(untested)}")
    if not test:
        yield _error(f"{name}: no clips to test on")
    for half, classnames in (("base", base), ("new", new)):
        if test and tested.isdisjoint(classnames) and not present.isdisjoint(classnames):
            yield _error(f"{name}: no clips of the {half} classes to test on")


def _hidden_sources(manifest: Manifest, info: DatasetInfo) -> Iterable[Finding]:
    """Sources that the manifest leaves unnamed, since the published split does not keep them apart."""
    for fold in info.folds:
        sides: dict[str, set[str]] = {"train": set(), "test": set()}
        for clip in manifest.clips:
            source = "" if clip.group else source_in_name(manifest.dataset, Path(clip.path).stem)
            of = roles_of(clip.fold, info)
            for side, folds in (("train", of.train), ("test", of.test)):
                if source and fold in folds:
                    sides[side].add(source)
        crossing = sorted(sides["train"] & sides["test"])
        if crossing:
            name = f"fold {fold}" if info.split == "kfold" else "the split"
            yield _warning(
                f"{name}: {len(crossing)} speakers or sources stand in both training and test, as published by the "
                f"authors of this copy: {some(crossing)}"
            )


def _error(what: str) -> Finding:
    return Finding("error", what)


def _warning(what: str) -> Finding:
    return Finding("warning", what)


def _equal(clips: Sequence[Clip]) -> str:
    more = f" = {len(clips) - _EQUAL_SHOWN} more" if len(clips) > _EQUAL_SHOWN else ""
    return " = ".join(clip.clip_id for clip in clips[:_EQUAL_SHOWN]) + more
