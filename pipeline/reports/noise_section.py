"""The section of a report about noisy test clips, and the tables that ``sept robust`` shares with it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.reports.document import Section, Sheet
from pipeline.reports.noise_rows import NoisyRow
from pipeline.reports.rows import method_title
from pipeline.reports.tables import TITLES, spread_of

__all__ = ["NOISE_WORDS", "noise_section", "noise_sheets"]

NOISE_WORDS = frozenset({"dataset", "method", "noise"})
"""Columns with words."""

_SHOWN = ("h", "base", "new", "accuracy", "targets", "source")
_LEAD = (
    "The chosen trials of each row on the same test clips with noise added: the same folds, seeds and parameters, "
    "chosen and trained without noise."
)
_NOTE = (
    "Columns: signal-to-noise ratio over the whole clip. babble, rain and white are synthetic noises; each clip has "
    "the same noise at every ratio. Mean ± standard deviation over replicas."
)


def noise_sheets(rows: Sequence[NoisyRow]) -> list[Sheet]:
    """A table for each measure, the headline first: a line for each row and kind of noise, a column for each ratio."""
    measured = [one for one in rows if one.noisy]
    levels = sorted({noise.snr_db for one in measured for noise in one.noisy}, reverse=True)
    names = {noise.snr_db: noise.level for one in measured for noise in one.noisy}
    sheets: list[Sheet] = []
    for measure in dict.fromkeys(name for one in measured for name in _measures(one)):
        lines = []
        for one in measured:
            if measure not in one.clean:
                continue
            for kind in dict.fromkeys(noise.kind for noise in one.noisy):
                by_level = {noise.snr_db: test for noise, test in one.noisy.items() if noise.kind == kind}
                cells = (_cell(one, by_level.get(level), measure) for level in levels)
                who = (one.row.dataset, method_title(one.row.method), kind)
                lines.append((*who, _cell(one, one.clean, measure), *cells))
        columns = ("dataset", "method", "noise", "clean", *(names[level] for level in levels))
        title = f"{TITLES.get(measure, measure)}, %"
        sheets.append(Sheet(columns, tuple(lines), NOISE_WORDS, title=title, folded=bool(sheets)))
    return sheets


def noise_section(rows: Sequence[NoisyRow], sweep: str) -> Section | None:
    """The section; None if nothing has been measured.

    Args:
        rows: The rows of the sweep.
        sweep: Its name, for the command that measures the rest.
    """
    if not any(one.noisy for one in rows):
        return None
    most = {noise for one in rows for noise in one.noisy}
    lacking = sum(one.noisy.keys() != most for one in rows)
    rest = [f"{lacking} of {len(rows)} rows have not been measured with every noise: sept robust {sweep}."]
    return Section(
        "noise",
        "Noisy test clips",
        lead=(_LEAD,),
        sheets=tuple(noise_sheets(rows)),
        notes=(*(rest if lacking else ()), _NOTE),
    )


def _measures(one: NoisyRow) -> list[str]:
    return [name for name in _SHOWN if name in one.clean]


def _cell(one: NoisyRow, test: dict[str, float] | None, measure: str) -> str:
    return "-" if test is None else spread_of(one.row, test[measure], test[f"{measure}_std"])
