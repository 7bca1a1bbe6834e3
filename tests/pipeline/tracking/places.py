"""A place in MLflow for one sweep, what is to be seen there, and the events that a sweep consists of."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import synthetic_results as made
import torch

from pipeline.store import TrialStore
from pipeline.tracking import MlflowTracker, SweepWriter, TrackingSummary, TrackingTarget, mlflow_client, sync
from sept_core.checkpoint import Checkpoint, dump_checkpoint
from sept_core.results import Report
from sept_core.training import TrainState

Cases = Sequence[made.Case]
Event = tuple[Any, ...]
MakePlace = Callable[..., "Place"]

# What changes something in MLflow.
WRITES = {
    "create_experiment",
    "create_run",
    "delete_run",
    "log_artifacts",
    "log_batch",
    "restore_experiment",
    "set_tag",
    "set_terminated",
    "update_run",
}


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it."""


class Counting:
    """MLflow's client with its writes listed; after the chosen one got through the process is killed."""

    def __init__(self, client: Any, killed_after: int = 0) -> None:
        self.client = client
        self.killed_after = killed_after
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        if name not in WRITES:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            value = method(*args, **kwargs)
            self.calls.append(name)
            if len(self.calls) == self.killed_after:
                raise Killed
            return value

        return call


@dataclass(frozen=True)
class Place:
    """An experiment of MLflow that is still empty, and the store that it is to show."""

    target: TrackingTarget
    sweep: str
    store: TrialStore

    def keep(self, cases: Cases) -> None:
        """Put what belongs to these trials into the store, checkpoints included."""
        made.fill_store(self.store, list(cases), self.sweep)
        for case in cases:
            self.checkpoint(case, case.decision.curve)

    def checkpoint(self, case: made.Case, curve: tuple[Report, ...]) -> None:
        """Put a checkpoint of a trial's trial into the store."""
        state = TrainState(curve[-1].epoch, {"ctx": torch.arange(6.0).reshape(2, 3)}, {})
        data = dump_checkpoint(Checkpoint(case.proposal.signature, (state,), curve, curve[-1].time_s))
        self.store.write_checkpoint(case.proposal.config, data)

    def writer(self, client: Any = None) -> SweepWriter:
        """A writer that knows nothing yet, like that of a new process."""
        return SweepWriter(client or mlflow_client(self.target), self.target, self.sweep, self.store)

    def play(self, cases: Cases, client: Any = None) -> dict[Any, Any]:
        """The sweep from its beginning to its end; what is seen then."""
        writer = self.writer(client)
        writer.open(budgets(cases))
        for name, *arguments in events(cases):
            getattr(writer, name)(*arguments)
        writer.close("finished")
        return self.seen()

    def replay(self, cases: Cases, client: Any = None, state: str = "finished") -> dict[Any, Any]:
        """What a launch tells that finds everything ended in the store; what is seen then."""
        writer = self.writer(client)
        writer.open(budgets(cases))
        for case in cases:
            writer.end(case.proposal, case.decision)
        writer.close(state)
        return self.seen()

    def sync(self, cases: Cases) -> dict[Any, Any]:
        """``sept track sync`` of what is in the store; what is seen then."""
        sync(self.store, self.sweep, self.writer(), budgets=budgets(cases))
        return self.seen()

    def track(self, cases: Cases, tracker: MlflowTracker | None = None) -> TrackingSummary:
        """The sweep as a launch tells it to its tracker."""
        tracker = tracker or MlflowTracker(self.target, self.store)
        self.tell(tracker, cases)
        tracker.sweep_ended("finished")
        return tracker.close()

    def tell(self, tracker: MlflowTracker, cases: Cases) -> None:
        """All but the end."""
        tracker.sweep_started(self.sweep, plans(cases))
        for name, proposal, *rest in events(cases):
            if name == "start":
                tracker.trial_started(proposal, 0)
            elif name == "report":
                tracker.reported(proposal, rest[0][0])
            else:
                tracker.trial_ended(proposal, rest[0], None)

    def seen(self) -> dict[Any, Any]:
        """Everything that a person can see of the sweep in MLflow, without the ids that MLflow makes up itself."""
        client = mlflow_client(self.target)
        experiment = client.get_experiment_by_name(self.sweep)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        runs = [run for run in runs if run.data.tags.get("sept.role") != "sweep"]
        studies = {run.info.run_id: run.data.tags["sept.study"] for run in runs}
        shown: dict[Any, Any] = {}
        for run in runs:
            tags = {name: value for name, value in run.data.tags.items() if name.startswith("sept.")}
            assert tags.pop("sept.sweep") == self.sweep
            key = (tags["sept.study"], tags.get("sept.number"))
            assert key not in shown, f"{key} is there twice"
            parent = run.data.tags.get("mlflow.parentRunId")
            shown[key] = {
                "name": run.info.run_name,
                "status": run.info.status,
                "start": run.info.start_time,
                "end": run.info.end_time,
                "params": run.data.params,
                "tags": tags,
                "shown": run.data.metrics,
                "curves": {name: history(client, run.info.run_id, name) for name in run.data.metrics},
                "files": files(client, run.info.run_id),
                "under": None if parent is None else studies[parent],
            }
        return shown


def history(client: Any, run_id: str, name: str) -> list[tuple[int, float, int]]:
    """(step, value, timestamp) of every point."""
    points = client.get_metric_history(run_id, name)
    return sorted((point.step, point.value, point.timestamp) for point in points)


def files(client: Any, run_id: str) -> dict[str, str]:
    """Digest by name of what is attached to a run."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for item in client.list_artifacts(run_id):
            data = Path(client.download_artifacts(run_id, item.path, folder)).read_bytes()
            found[item.path] = hashlib.sha256(data).hexdigest()
    return found


def plans(cases: Cases) -> list[Any]:
    return [SimpleNamespace(key=key, budget=budget) for key, budget in budgets(cases).items()]


def budgets(cases: Cases) -> dict[str, int]:
    keys = [case.proposal.study for case in cases]
    return {key: keys.count(key) for key in dict.fromkeys(keys)}


def events(cases: Cases) -> Iterator[Event]:
    """What happens in a sweep in which two trials run side by side, and the later one ends first."""
    for first in range(0, len(cases), 2):
        pair = cases[first : first + 2]
        for case in pair:
            yield "start", case.proposal
        for step in range(max(len(case.decision.curve) for case in pair)):
            for case in pair:
                if step < len(case.decision.curve):
                    yield "report", case.proposal, [case.decision.curve[step]]
        for case in reversed(pair):
            yield "end", case.proposal, case.decision


def few_cases() -> list[made.Case]:
    """One study of each outcome."""
    states = ("finished", "pruned", "failed", "finished")
    return [made.make_case("FSDD", "coop+sept", number, state) for number, state in enumerate(states)]


def tried_again(case: made.Case) -> made.Case:
    """The same trial, when its trial failed at first and has finished since."""
    again = made.make_case(case.proposal.config.dataset, case.proposal.config.method, case.proposal.number)
    assert again.proposal == case.proposal
    return replace(again, decision=replace(again.decision, decided_ms=case.decision.decided_ms + 90_000))


def started_afresh(case: made.Case) -> made.Case:
    """The same trial with the same numbers, when its trial lost its checkpoint and made every report once more."""
    later = tuple(replace(report, timestamp_ms=report.timestamp_ms + 45_000) for report in case.decision.curve)
    return replace(case, decision=replace(case.decision, curve=later))
