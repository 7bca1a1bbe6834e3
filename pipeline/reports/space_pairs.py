"""The trials whose prompt spaces are compared: the best trial of each SEPT study and that of its twin without SEPT.

The best trial is the one over all test folds of its study, which ``sept best`` names and ``sept export`` exports.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.reports.find_row import pick_study
from pipeline.reports.rows import ForUse
from pipeline.reports.sweep_table import SweepTable
from pipeline.store import TrialStore
from pipeline.store.prompt_spaces import SpaceKey, read_prompt_spaces
from pipeline.text import has_sept, without_sept
from sept_core.prompt_space import PromptSpace
from sept_core.trial_config import parts_of_key

__all__ = ["SpacePair", "pair_of", "space_pairs", "stored_spaces"]


@dataclass(frozen=True)
class SpacePair:
    """A trial and its twin without SEPT; ``twin`` is None if there is none, or if the trial has no SEPT."""

    main: ForUse
    twin: ForUse | None

    @property
    def trials(self) -> tuple[ForUse, ...]:
        """Both, in the order in which they are shown: the twin first."""
        return (self.main,) if self.twin is None else (self.twin, self.main)

    @property
    def key(self) -> SpaceKey:
        """Identifies their space in the store."""
        return self.main.study, self.main.signature, None if self.twin is None else self.twin.signature


def space_pairs(table: SweepTable) -> tuple[SpacePair, ...]:
    """The pairs of a sweep, one for each SEPT study with a finished trial."""
    return tuple(_paired(use, table.for_use) for use in table.for_use if has_sept(use.method))


def stored_spaces(store: TrialStore, pairs: Sequence[SpacePair]) -> list[PromptSpace | None]:
    """What has been measured of each pair; None if nothing has."""
    found = read_prompt_spaces(store, (pair.key for pair in pairs))
    return [found.get(pair.key) for pair in pairs]


def pair_of(table: SweepTable, wanted: str | None) -> SpacePair:
    """The pair that a study belongs to; the study is given as in `pick_study`.

    Raises:
        InputError: No study matches, or several do.
    """
    use = pick_study(table, wanted)
    pairs = space_pairs(table)
    return next((pair for pair in pairs if use in pair.trials), None) or _paired(use, table.for_use)


def _paired(use: ForUse, others: Iterable[ForUse]) -> SpacePair:
    if not has_sept(use.method):
        return SpacePair(use, None)
    # Cells that only SEPT depends on, such as neighbours and variants, have a twin without a cell.
    parts = parts_of_key(use.study)
    plain, cell = parts._replace(method=without_sept(parts.method), cell=""), set(parts.cell.split(","))
    # The twin is in the same cell, as far as it depends on the axes.
    twins = {other.study: other for other in others}
    found = [
        (len(own), study)
        for study in twins
        if (other := parts_of_key(study))._replace(cell="") == plain
        and (own := {one for one in other.cell.split(",") if one}) <= cell
    ]
    return SpacePair(use, twins[max(found)[1]] if found else None)
