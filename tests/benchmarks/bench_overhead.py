"""The cost of the orchestration: overhead per trial compared with a stock stack, resuming, the driver's memory,
requests.

    pip install -e ".[dev]" && pytest tests/benchmarks/bench_overhead.py -s

About half an hour on two idle cores. For a quick look (two minutes):

    SEPT_BENCH_TRIALS=10 SEPT_BENCH_MANY=20 SEPT_BENCH_STORED=200,400 SEPT_BENCH_TRACKED=100 pytest ... -s

Overhead is wall time less training spread evenly over the workers, everything included: imports, Ray's start, the
search, the store, MLflow. Trainings take some tens of milliseconds, so that wall time is nearly all overhead.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import finished_sweep
import pytest
import s3_server
from gpu.measuring import alone
from mlflow_server import UnavailableError, team_server
from s3_faults import proxying
from two_stacks import ENVIRONMENT, Outcome, ours, resident_mb, spec_of, stock

from pipeline.spec import SweepSpec
from pipeline.store import TrialStore, open_files
from pipeline.tracking import MlflowTracker, SweepWriter, TrackingTarget, default_target, mlflow_client, prepare, sync

TRIALS = int(os.environ.get("SEPT_BENCH_TRIALS", "120"))
STORED = [int(number) for number in os.environ.get("SEPT_BENCH_STORED", "1000,5000").split(",")]
MANY = int(os.environ.get("SEPT_BENCH_MANY", "1000"))
TRACKED = int(os.environ.get("SEPT_BENCH_TRACKED", "1000"))


STOCK = "Tuner, OptunaSearch, ASHAScheduler, MLflowLoggerCallback"
EQUAL = f"{STOCK}, workers reused and a checkpoint at every report, as ours"


def test_overhead_per_trial_against_the_stock_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    print(f"\n{TRIALS} trials of 4 reports, 2 workers, SQLite")
    overheads = [
        measure(tmp_path / "ours", TRIALS, "a launch of ours", ours),
        measure(tmp_path / "stock", TRIALS, f"{STOCK}, as they come", stock, False),
        measure(tmp_path / "equal", TRIALS, EQUAL, stock, True),
    ]
    for name, overhead in zip(("as it comes", "doing what ours does"), overheads[1:], strict=True):
        print(f"  overhead of the stock stack {name}: {overhead / overheads[0]:.1f} times that of ours")


def test_overhead_and_memory_of_many_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    print(f"\n{MANY} trials of 4 reports in one study, 2 workers, SQLite")
    measure(tmp_path / "ours", MANY, "a launch of ours", ours)
    measure(tmp_path / "equal", MANY, EQUAL, stock, True)


def measure(root: Path, trials: int, name: str, run: Callable[..., Outcome], *arguments: object) -> float:
    """Run a stack in a process of its own and print what it took; returns its overhead per trial in seconds."""
    prepare(default_target(root))
    outcome = alone(run, root, trials, *arguments)
    assert (len(outcome.training), outcome.reports) == (trials, 4 * trials)
    assert runs_in(default_target(root), "tags.`sept.role` = 'trial'" if run is ours else "") == trials
    even = sum(outcome.training) / int(spec_of(1).resources.workers)
    overhead, later = (outcome.wall - even) / trials, (outcome.wall - outcome.begun - even) / trials
    half = outcome.memory[trials // 2 :]
    growth = 1000 * statistics.linear_regression(range(len(half)), half).slope
    print(
        f"  {name}:\n"
        f"    wall {outcome.wall:.1f} s, training {sum(outcome.training):.1f} s; "
        f"overhead {overhead:.3f} s a trial, {later:.3f} s after the start ({outcome.begun:.1f} s)\n"
        f"    driver {outcome.memory[-1]:.0f} MB, {growth:.1f} MB more per 1,000 trials in the second half"
    )
    return overhead


def runs_in(target: TrackingTarget, wanted: str) -> int:
    client = mlflow_client(target)
    experiments = [found.experiment_id for found in client.search_experiments()]
    return len(client.search_runs(experiments, wanted, max_results=10_000))


@dataclass(frozen=True)
class Resumed:
    """A launch that finds everything done: seconds, and MB that the process grew by."""

    seconds: float
    tracked: float
    grown: float


def resume(root: Path, spec: SweepSpec, tracking: bool) -> Resumed:
    """Launch a finished sweep; in a process of its own."""
    from pipeline.search.sweep import launch

    target, store = default_target(root), TrialStore(open_files(root))
    mlflow_client(target)
    tracker = MlflowTracker(target, store)
    before, began = resident_mb(), time.monotonic()
    outcome = launch(spec, root, observers=[tracker] if tracking else [])
    launched = time.monotonic()
    assert tracker.close().complete
    ended = time.monotonic()
    assert outcome.state == "finished"
    assert outcome.started == 0
    return Resumed(launched - began, ended - began, resident_mb() - before)


def test_resuming_a_finished_sweep(tmp_path: Path) -> None:
    print("\nresuming a finished sweep from a local store, without MLflow")
    grown = []
    for trials in STORED:
        root = tmp_path / str(trials)
        spec = finished_sweep.fill(root, trials)
        resumed = alone(resume, root, spec, False)
        grown.append(resumed.grown)
        print(f"  {trials} trials: {resumed.seconds:.1f} s, {resumed.grown:.0f} MB")
    slope = 1000 * (grown[-1] - grown[0]) / (STORED[-1] - STORED[0])
    print(f"  the driver's memory: {slope:.1f} MB per 1,000 trials")


def test_resuming_a_finished_sweep_with_mlflow(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    spec = finished_sweep.fill(root, TRACKED)
    target, store = default_target(root), TrialStore(open_files(root))
    prepare(target)
    began = time.monotonic()
    assert sync(store, spec.name, SweepWriter(mlflow_client(target), target, spec.name, store)).unended == 0
    rebuilt = time.monotonic() - began
    resumed = alone(resume, root, spec, True)
    print(
        f"\nMLflow (SQLite) of {TRACKED} trials: rebuilt from the store in {rebuilt:.1f} s "
        f"({1000 * rebuilt / TRACKED:.0f} ms a trial)\n"
        f"  resuming with all of them there: launch {resumed.seconds:.1f} s, MLflow looked through after "
        f"{resumed.tracked:.1f} s, {resumed.grown:.0f} MB"
    )


def test_requests_over_http(tmp_path: Path) -> None:
    trials = 40
    spec = finished_sweep.fill(tmp_path / "runs", trials)
    store = TrialStore(open_files(tmp_path / "runs"))
    proposals = {(proposal.study, proposal.number): proposal for proposal in store.proposals(spec.name)}
    (tmp_path / "server").mkdir()
    try:
        with (
            s3_server.serving() as endpoint,
            team_server(endpoint, tmp_path / "server" / "log") as address,
            proxying(address) as proxy,
        ):
            target = TrackingTarget(proxy.address, None)
            writer = SweepWriter(mlflow_client(target), target, spec.name, store)
            began, reports = time.monotonic(), 0
            for decision in store.decisions(spec.name):
                proposal = proposals[decision.study, decision.number]
                writer.start(proposal)
                for report in decision.curve:
                    writer.report(proposal, [report])
                reports += len(decision.curve)
                writer.end(proposal, decision)
            writer.close("finished")
            seconds = time.monotonic() - began
    except UnavailableError as error:
        pytest.skip(str(error))
    kinds = Counter[str]()
    for (method, path), count in proxy.seen.items():
        kinds["files" if method == "PUT" else path.partition("?")[0].rpartition("/")[2]] += count
    total, files = kinds.total(), kinds["files"]
    print(
        f"\n{trials} trials of {reports // trials} reports on a server (PostgreSQL, S3): {total / trials:.2f} requests "
        f"a trial, {(total - files - reports) / trials:.2f} beside reports and files; {1000 * seconds / total:.0f} ms "
        f"a request\n  " + ", ".join(f"{name} {count}" for name, count in kinds.most_common())
    )
    assert kinds["log-batch"] == reports + 3 * trials
