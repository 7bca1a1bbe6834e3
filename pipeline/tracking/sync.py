"""MLflow rebuilt from the trial store: what ``sept track sync SWEEP`` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.search.selection import with_fold_values
from pipeline.tracking.writer import SweepWriter
from sept_core.results import Report, TrialConfig

if TYPE_CHECKING:
    from pipeline.store import TrialStore

__all__ = ["SyncSummary", "sync"]


@dataclass(frozen=True)
class SyncSummary:
    """What was brought into line: trials with a decision, those without one, and those whose result is gone."""

    experiment: str
    ended: int
    unended: int
    gone: int


def sync(
    store: TrialStore,
    sweep: str,
    writer: SweepWriter,
    *,
    budgets: Mapping[str, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SyncSummary:
    """Write everything that the store knows of a sweep; what is there already stays untouched.

    The caller holds the sweep's lease: MLflow allows one writer, and a running sweep tracks itself.

    Args:
        store: The trial store.
        sweep: Name of the sweep.
        writer: Writer of the same sweep.
        budgets: Study key -> trials that it is to have; a study that has them all is shown as FINISHED.
        progress: Called with trials written and trials in all.

    Raises:
        Exception: What MLflow raises where it cannot be reached.
    """
    proposals = store.proposals(sweep)
    decided = with_fold_values(store, proposals, store.decisions(sweep))
    decisions = {(decision.study, decision.number): decision for decision in decided}
    experiment = writer.open(budgets)
    ended = gone = 0
    for done, proposal in enumerate(proposals, start=1):
        decision = decisions.get((proposal.study, proposal.number))
        if decision is not None:
            shown = writer.end(proposal, decision)
            ended, gone = ended + shown, gone + (not shown)
        elif curve := _curve(store, proposal.config):
            # Interrupted: shown as far as it has come, like a sweep that was stopped shows it.
            writer.report(proposal, curve)
        if progress is not None:
            progress(done, len(proposals))
    writer.close("stopped")
    return SyncSummary(experiment, ended, len(proposals) - ended - gone, gone)


def _curve(store: TrialStore, config: TrialConfig) -> tuple[Report, ...]:
    """The reports in a trial's checkpoint; none where there is no sound one."""
    from sept_core.checkpoint import CheckpointError, read_header  # loads torch

    data = store.read_checkpoint(config)
    try:
        return () if data is None else tuple(Report.from_json(report) for report in read_header(data)["curve"])
    except (CheckpointError, ValueError, KeyError):
        return ()
