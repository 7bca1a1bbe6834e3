"""Writes a sweep from the trial store into MLflow: ``sept track sync SWEEP``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.search.selection import with_fold_values
from pipeline.tracking.writer import SweepWriter
from sept_core.results import Report
from sept_core.trial_config import TrialConfig

if TYPE_CHECKING:
    from pipeline.store import TrialStore

__all__ = ["SyncSummary", "sync"]


@dataclass(frozen=True)
class SyncSummary:
    """Number of trials with a decision, without one, and with a result that is gone."""

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
    """Write everything that the store has of a sweep into MLflow; what is already there stays unchanged.

    The caller holds the lease of the sweep: MLflow allows one writer, and a running sweep writes its own records.

    Args:
        store: The trial store.
        sweep: Name of the sweep.
        writer: Writer for the same sweep.
        budgets: Number of trials that each study is to have, by its key; a complete study is shown as FINISHED.
        progress: Called with the number of trials written and the total.

    Raises:
        Exception: Raised by MLflow if it cannot be reached.
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
            # An interrupted trial is shown with its curve so far, as after a stop.
            writer.report(proposal, curve)
        if progress is not None:
            progress(done, len(proposals))
    writer.close("stopped")
    return SyncSummary(experiment, ended, len(proposals) - ended - gone, gone)


def _curve(store: TrialStore, config: TrialConfig) -> tuple[Report, ...]:
    """The reports in the checkpoint of a trial; empty if there is no valid one."""
    from sept_core.checkpoint import CheckpointError, read_header  # loads torch

    data = store.read_checkpoint(config)
    try:
        return () if data is None else tuple(Report.from_json(report) for report in read_header(data)["curve"])
    except (CheckpointError, ValueError, KeyError):
        return ()
