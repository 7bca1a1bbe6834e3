"""The trials of a sweep as a table of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pipeline.spec.known_sweep import known_sweep
from pipeline.store import Decision, Proposal, TrialStore
from sept_core.results import TrialResult

__all__ = ["trials_frame"]

_AT_ONCE = 256
"""Results in memory at a time."""

_FIRST = (
    "study",
    "number",
    "dataset",
    "method",
    "signature",
    "state",
    "epoch",
    "objective",
    "seconds",
    "decided",
    "error",
)


def trials_frame(store: TrialStore, sweep: str) -> pd.DataFrame:
    """See ``pipeline.trials``.

    Raises:
        InputError: The store has no sweep of this name.
    """
    known_sweep(store, sweep)
    decisions = {(one.study, one.number): one for one in store.decisions(sweep)}
    proposals = store.proposals(sweep)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(proposals), _AT_ONCE):
        rows += _rows(store, proposals[start : start + _AT_ONCE], decisions)
    frame = pd.DataFrame(rows)
    names = [*_FIRST, *(sorted(name for name in frame.columns if name not in _FIRST))]
    frame = frame.reindex(columns=names)
    frame["epoch"] = frame["epoch"].astype("Int64")
    frame["decided"] = pd.to_datetime(frame["decided"], unit="ms", utc=True)
    return frame


def _rows(
    store: TrialStore, proposals: Sequence[Proposal], decisions: dict[tuple[str, int], Decision]
) -> list[dict[str, Any]]:
    ended = [decisions.get((one.study, one.number)) for one in proposals]
    finished = [(one.study, one.signature) for one in ended if one is not None and one.state == "finished"]
    results = store.read_results(dict.fromkeys(finished))
    return [
        _row(proposal, decision, results.get((proposal.study, proposal.signature)))
        for proposal, decision in zip(proposals, ended, strict=True)
    ]


def _row(proposal: Proposal, decision: Decision | None, result: TrialResult | None) -> dict[str, Any]:
    config = proposal.config
    row: dict[str, Any] = {
        "study": proposal.study,
        "number": proposal.number,
        "dataset": config.dataset,
        "method": config.method,
        "signature": proposal.signature,
        "state": "unfinished",
        "error": "",
    }
    row |= {f"params_{name}": value for name, value in config.hyper.items()}
    if decision is None:
        return row
    row |= {
        "state": decision.state,
        "epoch": decision.epoch,
        "objective": decision.objective,
        "seconds": decision.curve[-1].time_s if decision.curve else 0.0,
        "decided": decision.decided_ms,
        "error": decision.error,
    }
    # A pruned trial may have been finished by another sweep; this one never looks at that.
    if decision.state == "finished" and result is not None:
        row |= {f"val_{name}": value for name, value in result.validation.items()}
        row |= {f"test_{name}": value for name, value in result.test.items()}
    return row
