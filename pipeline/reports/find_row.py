"""Finds the row or study of a sweep that a person has typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from pipeline.reports.rows import Chosen, ForUse
from pipeline.reports.sweep_table import SweepTable
from sept_core.errors import InputError
from sept_core.suggestions import nearest_hint
from sept_core.trial_config import parts_of_key, row_of_study

__all__ = ["pick_row", "pick_study", "pick_uses", "short_key", "studies_named"]


def pick_study(table: SweepTable, wanted: str | None) -> ForUse:
    """The best configuration of a study, given by its key, ``DATASET.METHOD``, dataset or method.

    Args:
        table: The result of the sweep.
        wanted: The typed text; None if the sweep has only one study.

    Raises:
        InputError: No study matches, or several do.
    """
    studies = {use.study: use for use in table.for_use}
    return studies[_pick(table, {key: _names(key) for key, use in studies.items()}, wanted)]


def pick_row(table: SweepTable, wanted: str | None) -> Chosen:
    """The row, given in the same way, or by the key of one of its studies.

    Raises:
        InputError: No row matches, or several do.
    """
    rows = {row.study: row for row in table.studies}
    names: dict[str, tuple[str, ...]] = {key: _names(key) for key in rows}
    for use in table.for_use:
        if use.row in names:
            names[use.row] += _names(use.study)
    return rows[_pick(table, names, wanted)]


def pick_uses(table: SweepTable, wanted: str | None) -> list[ForUse]:
    """The configurations to use: of all studies, of one, or of all studies of a row.

    Raises:
        InputError: No study or row is meant, or several.
    """
    if wanted is None:
        rows = {row.study for row in table.studies}
    else:
        rows = {pick_row(table, wanted).study}
        # Of a row of several studies none stands for the others.
        with suppress(InputError):
            use = pick_study(table, wanted)
            return [use] if use.row in rows else []
    return [use for use in table.for_use if use.row in rows]


def short_key(study: str) -> str:
    """A study as a person types it: ``ESC10.coop+sept``, of one test fold ``ESC10.coop.fold-2``."""
    return _names(study)[2]


def studies_named(sweep: str, studies: Iterable[str], wanted: str | None) -> list[str]:
    """The studies of a sweep with this name: a key, ``DATASET.METHOD``, dataset or method; None means all of them.

    Raises:
        InputError: No study has this name.
    """
    names = {study: _names(study) for study in studies}
    found = [study for study in names if wanted is None or wanted in names[study]]
    if not found and wanted is not None:
        words = dict.fromkeys(word for known in names.values() for word in known)
        fix = f"{nearest_hint(wanted, words)}known: {', '.join(map(short_key, names))}"
        raise InputError(f"sweep '{sweep}' has no study '{wanted}'", fix=fix)
    return found


def _pick(table: SweepTable, known: Mapping[str, tuple[str, ...]], wanted: str | None) -> str:
    if wanted is None:
        if len(known) == 1:
            return next(iter(known))
        raise InputError(f"sweep '{table.sweep}' has several studies", fix=f"give one: {', '.join(known)}")
    if wanted in known:
        return wanted
    meant = [key for key, names in known.items() if wanted in names]
    # If each test fold has a study, one does not represent the others, including those without a finished trial.
    apart = [key for key in (*known, *table.without) if row_of_study(key) != key and wanted in _names(key)]
    if len(apart) > 1 and set(meant) & set(apart) and len({row_of_study(key) for key in (*apart, *meant)}) == 1:
        raise InputError(
            f"'{wanted}' has a search for each test fold (selection: strict): no configuration is best over all folds",
            fix=f"give the study of one fold: {', '.join(apart)}",
        )
    if len(meant) > 1:
        # In a sweep with axes, the name without a cell is that of the study without one.
        meant = [key for key in meant if short_key(key) == wanted] or meant
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise InputError(f"'{wanted}' may be several studies", fix=f"give one: {', '.join(meant)}")
    # If the result of one fold is gone, so is the row.
    rows = {row_of_study(key) for key in table.lost}
    gone = [_names(key) for key in (*table.lost, *(use.study for use in table.for_use)) if row_of_study(key) in rows]
    lost = [key for key in table.lost if any(wanted in names and row_of_study(key) in names for names in gone)]
    if lost:
        again = "launch the sweep again, which trains them again"
        raise InputError(f"results of {', '.join(lost)} are gone", fix=again)
    without = [_names(key) for key in table.without]
    if any(wanted in names for names in without):
        raise InputError(f"no trial of study '{wanted}' has finished yet", fix="wait for one")
    words = dict.fromkeys(word for names in (*known.values(), *without, *gone) for word in names)
    fix = f"{nearest_hint(wanted, words)}known: {', '.join(known)}"
    raise InputError(f"sweep '{table.sweep}' has no study '{wanted}'", fix=fix)


def _names(study: str) -> tuple[str, ...]:
    """Names of a study: its key, the key of its row, ``DATASET.METHOD`` (with the fold), method, dataset."""
    parts = parts_of_key(study)
    fold, cell = f".{parts.fold}" if parts.fold else "", f"@{parts.cell}" if parts.cell else ""
    method = f"{parts.method}{fold}{cell}"
    words = (f"{parts.dataset}.{method}", method, f"{parts.dataset}.{parts.method}{cell}", f"{parts.method}{cell}")
    return study, row_of_study(study), *words, f"{parts.dataset}.{parts.method}", parts.method, parts.dataset
