"""How far a sweep is, read from the store alone: while it runs, after a crash, in a copied folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pipeline.prepared import own_datasets
from pipeline.spec import parse_sweep
from pipeline.store import Lease, TrialStore
from pipeline.sweeps import best_verdict, known_sweep

__all__ = ["StudyStatus", "SweepStatus", "study_budgets", "sweep_status"]


@dataclass(frozen=True)
class StudyStatus:
    """One study.

    Attributes:
        begun: Trials that were asked for and have not ended.
        best_objective: Validation H of the best finished trial (cross-dataset: accuracy on the source), percent.
    """

    key: str
    budget: int
    finished: int
    pruned: int
    failed: int
    begun: int
    best_objective: float | None


@dataclass(frozen=True)
class SweepStatus:
    """A sweep.

    Attributes:
        running: Who holds the sweep's lease and since when; empty where nobody does.
        failures: A line for each failed trial.
    """

    sweep: str
    studies: tuple[StudyStatus, ...]
    running: str
    failures: tuple[str, ...]

    @property
    def ended(self) -> int:
        """Trials that have ended."""
        return sum(study.finished + study.pruned + study.failed for study in self.studies)

    @property
    def budget(self) -> int:
        """Trials that the sweep is to have."""
        return sum(study.budget for study in self.studies)

    def to_json(self) -> dict[str, Any]:
        """Plain values, totals included."""
        return asdict(self) | {"ended": self.ended, "budget": self.budget}


def study_budgets(store: TrialStore, sweep: str) -> dict[str, int]:
    """Study key -> trials that it is to have, by the sweep's stored spec, in the order of the spec.

    Raises:
        InputError: The store has no sweep of this name, or its spec is no longer valid.
    """
    spec = parse_sweep(known_sweep(store, sweep), f"sweeps/{sweep}/spec.yaml", own=own_datasets(store.files))
    return {study.key: study.trials for study in spec.studies()}


def sweep_status(store: TrialStore, sweep: str) -> SweepStatus:
    """Read a sweep's state.

    Raises:
        InputError: The store has no sweep of this name.
    """
    budgets = study_budgets(store, sweep)
    members, verdicts = store.members(sweep), store.verdicts(sweep)
    studies = []
    for key, budget in budgets.items():
        decided = [verdict for verdict in verdicts if verdict.study == key]
        states = [verdict.state for verdict in decided]
        best = best_verdict(decided)
        studies.append(
            StudyStatus(
                key=key,
                budget=budget,
                finished=states.count("finished"),
                pruned=states.count("pruned"),
                failed=states.count("failed"),
                begun=sum(member.study == key for member in members) - len(decided),
                best_objective=best.objective if best else None,
            )
        )
    holder = Lease(store.files, sweep).holder()
    running = ""
    if holder is not None:
        since = datetime.fromtimestamp(holder.since_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        running = f"its lease is held by process {holder.pid} on {holder.host} since {since}"
    failures = tuple(
        f"{verdict.study} #{verdict.number} failed: {verdict.error}"
        for verdict in verdicts
        if verdict.state == "failed"
    )
    return SweepStatus(sweep, tuple(studies), running, failures)
