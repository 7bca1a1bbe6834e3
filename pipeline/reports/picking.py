"""Which row or study of a sweep is meant by what a person types."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from pipeline.reports.rows import Chosen, ForUse
from pipeline.reports.sweep_table import SweepTable
from sept_core.errors import InputError
from sept_core.nearest import nearest_hint
from sept_core.results import row_of_study

__all__ = ["pick_row", "pick_study", "pick_uses"]


def pick_study(table: SweepTable, wanted: str | None) -> ForUse:
    """The configuration for use of the study that is meant: by its key, ``DATASET.METHOD``, or either of these two.

    Args:
        table: The sweep's result.
        wanted: What was typed; None where the sweep has but one study.

    Raises:
        InputError: None, or several, are meant.
    """
    studies = {use.study: use for use in table.for_use}
    return studies[_pick(table, {key: _names(key) for key, use in studies.items()}, wanted)]


def pick_row(table: SweepTable, wanted: str | None) -> Chosen:
    """The row that is meant, likewise; the key of one of its studies means it too.

    Raises:
        InputError: None, or several, are meant.
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


def _pick(table: SweepTable, known: Mapping[str, tuple[str, ...]], wanted: str | None) -> str:
    if wanted is None:
        if len(known) == 1:
            return next(iter(known))
        raise InputError(f"sweep '{table.sweep}' has several studies", fix=f"name one: {', '.join(known)}")
    if wanted in known:
        return wanted
    meant = [key for key, names in known.items() if wanted in names]
    # Where each test fold has a study, none stands for the others, those without a finished trial included.
    apart = [key for key in (*known, *table.without) if row_of_study(key) != key and wanted in _names(key)]
    if len(apart) > 1 and set(meant) & set(apart) and len({row_of_study(key) for key in (*apart, *meant)}) == 1:
        raise InputError(
            f"'{wanted}' was searched for each test fold apart (selection: strict): no configuration saw all folds",
            fix=f"name one fold's study: {', '.join(apart)}",
        )
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise InputError(f"'{wanted}' may be several studies", fix=f"name one: {', '.join(meant)}")
    # Where one fold's result is gone, the row is, too.
    rows = {row_of_study(key) for key in table.lost}
    gone = [_names(key) for key in (*table.lost, *(use.study for use in table.for_use)) if row_of_study(key) in rows]
    lost = [key for key in table.lost if any(wanted in names and row_of_study(key) in names for names in gone)]
    if lost:
        again = "launch the sweep again, which trains them once more"
        raise InputError(f"results of {', '.join(lost)} are gone", fix=again)
    without = [_names(key) for key in table.without]
    if any(wanted in names for names in without):
        raise InputError(f"no trial of study '{wanted}' has finished yet", fix="wait for one")
    words = dict.fromkeys(word for names in (*known.values(), *without, *gone) for word in names)
    fix = f"{nearest_hint(wanted, words)}known: {', '.join(known)}"
    raise InputError(f"sweep '{table.sweep}' has no study '{wanted}'", fix=fix)


def _names(study: str) -> tuple[str, ...]:
    """What a study may be called: its key or its row's, ``DATASET.METHOD`` (with the fold behind), method, dataset."""
    row = row_of_study(study)
    dataset, method, fold = row.split(".")[0], row.split(".")[-1], study[len(row) :]
    apart = (f"{dataset}.{method}{fold}", f"{method}{fold}") if fold else ()
    return study, row, *apart, f"{dataset}.{method}", method, dataset
