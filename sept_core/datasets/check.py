"""Finds what is wrong with a copy of a data set before hours are spent on it.

An *error* would make a result wrong: a label that is no class, a file that cannot be read, a split of our own that
tests what it trained on. A *warning* is something that the authors of the data set, or of the copy, did: trials run,
and the warning is shown with their results. A *note* changes nothing. Each says what to do, if anything can be done.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sept_core.datasets.manifest import Manifest
from sept_core.datasets.pretraining import same_sound_line, same_sound_pairs, same_sound_rows
from sept_core.datasets.registry import DATASETS, DatasetInfo, halves
from sept_core.datasets.repeats import alike_lines, repeated_lines
from sept_core.datasets.split_faults import labels_fix, labels_line, split_warnings
from sept_core.datasets.split_overlap import (
    CrossingRule,
    Row,
    check_apart,
    contradicting,
    crossing_between,
    is_published,
    rows_of,
    tolerated,
)
from sept_core.errors import InputError
from sept_core.text import Progress, plural, some

if TYPE_CHECKING:
    from sept_core.datasets.table import EmbeddingTable

__all__ = ["Finding", "Findings", "check_manifest", "count_note", "data_warnings"]

_SHOTS = 16
_ORDER = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One problem, or one thing to know.

    Args:
        severity: ``error`` if it would make a result wrong, ``note`` if it changes nothing.
        what: One line.
        fix: What to do about it; empty if nothing needs to be done.
    """

    severity: Literal["error", "warning", "note"]
    what: str
    fix: str = ""

    @property
    def line(self) -> str:
        """What was found, and what to do."""
        return f"{self.what}; {self.fix}" if self.fix else self.what


@dataclass(frozen=True)
class Findings:
    """All that was found, the errors first."""

    all: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[str, ...]:
        """The lines of the errors."""
        return self._lines("error")

    @property
    def warnings(self) -> tuple[str, ...]:
        """The lines of the warnings."""
        return self._lines("warning")

    @property
    def notes(self) -> tuple[str, ...]:
        """The lines of the notes."""
        return self._lines("note")

    def refuse(self, where: str = "") -> None:
        """Raise an error if anything would make a result wrong.

        Raises:
            InputError: There are errors; the message has the first one and their number.
        """
        errors = [finding for finding in self.all if finding.severity == "error"]
        if errors:
            rest = f" (and {plural(len(errors) - 1, 'more error')})" if len(errors) > 1 else ""
            whole = "; sept data check lists all of them" if len(errors) > 1 else ""
            raise InputError(f"{errors[0].what}{rest}", where=where, fix=f"{errors[0].fix}{whole}")

    def _lines(self, severity: str) -> tuple[str, ...]:
        return tuple(finding.line for finding in self.all if finding.severity == severity)


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
    rows = rows_of(manifest, info)
    published = is_published(info, rows)
    found: list[Finding] = [Finding("note", note) for note in manifest.notes]
    if root is not None:
        found += _files(manifest, root, info, progress)
    found += _counts(manifest, info)
    found += _labels(rows, info)
    found += [Finding("warning", line) for line in split_warnings(rows, info, info.folds, trained=False)]
    found += [Finding("warning", line) for line in repeated_lines(rows, info.folds)]
    for fold in info.folds:
        found += _fold(rows, info, fold, published)
    return Findings(tuple(sorted(found, key=lambda finding: _ORDER.index(finding.severity))))


def data_warnings(
    table: EmbeddingTable,
    folds: Sequence[str],
    rule: CrossingRule = "keep",
    *,
    unused: Collection[int] = (),
    target: bool = False,
) -> tuple[str, ...]:
    """What a reader must know about the data behind a result: one line each, with the data set's name.

    Args:
        table: The embeddings.
        folds: The test folds.
        rule: What is done with training clips that a published split shares with its test clips.
        unused: Rows that no trial uses, since the encoder was trained on them or the source contains them.
        target: Whether the data set is only tested on, so that training and test clips cannot overlap.
    """
    info = table.info
    folds = () if target else folds
    rows = rows_of(table, info)
    lines = split_warnings(rows, info, folds, rule, unused=unused)
    columns = (table.clip_ids, table.sounds, table.sha256, table.folds)
    pairs = same_sound_pairs(*columns, info, folds, unused) if folds else ()
    if pairs:
        follows = "; the training clips of these pairs are left out (crossing: drop)" if rule == "drop" else ""
        lines.append(same_sound_line(pairs) + follows)
    lines += repeated_lines(rows, folds, unused=unused, target=target)
    if folds:
        lines += alike_lines(rows, info, folds, same_sound_rows(table.sounds, table.sha256), unused)
    count = count_note(len(table), info)
    if count is not None and count.severity == "warning":
        lines.append(count.what)
    return tuple(f"{info.name}: {line}" for line in lines)


def _files(manifest: Manifest, root: Path, info: DatasetInfo, progress: Progress | None) -> Iterable[Finding]:
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
        yield _error(
            f"{len(missing)} of {total} clips are missing: {some(missing)}",
            f"unpack {info.name} again, or give the folder that holds them with --audio",
        )
    if changed:
        yield _error(
            f"{len(changed)} of {total} clips are not those of the manifest: {some(changed)}",
            f"put the files back, or take the new ones: sept data prepare {info.name} --audio {root}",
        )
    if unreadable:
        yield _error(
            f"{len(unreadable)} of {total} clips cannot be read: {some(unreadable)}",
            "replace these files, or leave them out with sept embed --skip-bad",
        )
    if silent:
        line = f"{len(silent)} of {total} clips have no sound: {some(silent)}"
        few = tolerated(len(silent), total)
        if info.name in DATASETS and not few:
            yield _error(line, f"unpack or download {info.name} again, or leave them out with sept embed --skip-bad")
        else:
            left_out = "sept embed leaves them out" + ("" if info.name in DATASETS else " with --skip-bad")
            yield _warning(f"{line}; {left_out}")


def _is_silent(file: Path) -> bool:
    """Whether a clip is silent.

    Raises:
        InputError: It cannot be decoded.
    """
    from sept_core.audio.waveform import decode_clip, is_silent

    # Not resampled, which would need torchaudio and time.
    return is_silent(decode_clip(file)[0])


def _counts(manifest: Manifest, info: DatasetInfo) -> Iterable[Finding]:
    counts = Counter(clip.classname for clip in manifest.clips)
    empty = [name for name in info.classnames if not counts[name]]
    if empty:
        yield _error(
            f"{len(empty)} of {len(info.classnames)} classes have no clips: {some(empty)}",
            f"give the whole of {info.name}: unpack or download it again",
        )
    found = count_note(len(manifest.clips), info)
    if found is not None:
        yield found


def count_note(clips: int, info: DatasetInfo) -> Finding | None:
    """A finding if the number of clips differs from the sizes that the data set is published in; else None."""
    sizes = dict(info.clips)
    if not sizes or (len(sizes) == 1 and clips in sizes):
        return None
    named = " or ".join(f"{size}{f' ({words})' if words else ''}" for size, words in info.clips)
    if clips in sizes:
        return Finding("note", f"{clips} clips ({sizes[clips]}); {info.name} is published with {named}")
    lacks = min((size - clips for size in sizes if size > clips), default=0)
    # If a few are missing, embedding has left them out: silent clips, or with --skip-bad.
    why = f"; {lacks} missing, or left out in embedding" if lacks > 0 and tolerated(lacks, clips) else ""
    return Finding("warning", f"{clips} clips; {info.name} is published with {named}{why}")


def _labels(rows: Sequence[Row], info: DatasetInfo) -> Iterable[Finding]:
    """Contents with several labels."""
    torn = contradicting(rows)
    # In a registered data set a few of them are its authors' fault; split_warnings reports that they are left out.
    if torn and not (info.name in DATASETS and tolerated(sum(map(len, torn)), len(rows))):
        yield _error(labels_line(torn), labels_fix(torn, info))


def _fold(rows: Sequence[Row], info: DatasetInfo, fold: str, published: bool) -> Iterable[Finding]:
    """One test fold against its pool: what ``make_split`` would refuse, and where clips are few."""
    pool = [index for index, row in enumerate(rows) if fold in row.roles.train]
    test = [index for index, row in enumerate(rows) if fold in row.roles.test]
    name = f"fold {fold}" if info.split == "kfold" else "the split"
    if not published:
        try:
            check_apart(info, fold, crossing_between(rows, pool, test))
        except InputError as error:
            yield _error(f"{name}: {error.what}", error.fix)
        if len(test) > len(pool):
            line = f"{name}: {len(test)} clips to test on and {len(pool)} to train on: are they swapped?"
            yield Finding("warning", line, "the CSV's fold must be the one that a clip is tested in")
    counts = Counter(rows[index].classname for index in pool)
    present = {row.classname for row in rows}
    without = [classname for classname in info.classnames if classname in present and not counts[classname]]
    if without:
        yield _error(f"{name}: no clips to train on of {some(without)}", _more_clips(info))
    base, new = halves(info.classnames)
    few = [f"{classname} {counts[classname]}" for classname in base if 0 < counts[classname] < _SHOTS]
    if few:
        line = f"{name}: fewer than {_SHOTS} clips to draw shots from: {some(few)}"
        yield Finding("warning", line, "add clips, or lower shots in the sweep's YAML")
    tested = {rows[index].classname for index in test}
    untested = [classname for classname in info.classnames if classname in present and classname not in tested]
    if untested and test:
        line = f"{name}: no clips to test on of {some(untested)}"
        yield Finding("warning", line, "add clips of these classes to it, or leave the fold out of the sweep")
    if not test:
        yield _error(f"{name}: no clips to test on", _more_clips(info))
    for half, classnames in (("base", base), ("new", new)):
        if test and tested.isdisjoint(classnames) and not present.isdisjoint(classnames):
            yield _error(f"{name}: no clips of the {half} classes to test on", _more_clips(info))


def _more_clips(info: DatasetInfo) -> str:
    if info.name in DATASETS:
        return f"give the whole of {info.name}: unpack or download it again"
    return "add such clips to the CSV, or remove its column fold or split, so that folds are made"


def _error(what: str, fix: str) -> Finding:
    return Finding("error", what, fix)


def _warning(what: str) -> Finding:
    return Finding("warning", what)
