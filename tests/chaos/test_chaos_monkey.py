"""Driver, workers, nodes and the head's processes killed at random: afterwards nothing tells that anything happened.

The short run is part of every test run. The long one is what the figures in docs/reliability.md are from:

    pytest tests/chaos/test_chaos_monkey.py -m long -s
"""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from monkey import Monkey, Nodes
from tiny_sweep import SWEEP, outcome_of, run_inline

from pipeline.search.studies import Past, propose, pruned_at
from pipeline.spec import SweepSpec, load_sweep
from pipeline.store import Decision, Lease, LocalFiles, Proposal, TrialStore
from pipeline.tracking import default_target, mlflow_client
from pipeline.tracking.describe import rounded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

LONG_SWEEPS, LONG_KILLS = 6, 20


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    nodes = Nodes(2, tmp_path_factory.mktemp("nodes") / "log.txt")
    yield nodes
    nodes.close()


def sweep_of(folder: Path, number: int, trials: int) -> SweepSpec:
    """A sweep of its own: other proposals, other trials."""
    content = SWEEP | {
        "name": f"monkey{number}",
        "methods": ["zero-shot", "coop", "coop+sept", "cocoop"],
        "trials": trials,
        "sampler": SWEEP["sampler"] | {"seed": number},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content))
    return load_sweep(folder / "sweep.yaml")


@pytest.mark.timeout(500)
def test_a_few_kills_of_every_kind_leave_no_trace(nodes: Nodes, tmp_path: Path) -> None:
    # So many trials that the last kill finds some of them running.
    spec = sweep_of(tmp_path, 0, trials=7)
    script = ("worker", "node", "driver", "stop", "gcs_server", "raylet")
    monkey = Monkey(nodes, tmp_path, seed=5, kills=5, script=script)
    monkey.run()
    assert monkey.done == dict.fromkeys(script, 1)
    check(monkey, spec, tmp_path / "undisturbed")


@pytest.mark.long
@pytest.mark.parametrize("number", range(1, LONG_SWEEPS + 1))
def test_many_kills_leave_no_trace(
    nodes: Nodes, tmp_path: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    # So many that it does not end before the last kill.
    spec = sweep_of(tmp_path, number, trials=18)
    monkey = Monkey(nodes, tmp_path, seed=number, kills=LONG_KILLS)
    began = time.monotonic()
    monkey.run()
    figures = check(monkey, spec, tmp_path / "undisturbed")
    with capsys.disabled():
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(monkey.done.items()))
        print(
            f"\nsweep {number}: {kinds}; {monkey.launches} launches, {figures['trials']} trials, "
            f"{figures['intervals']} checkpoint intervals and {figures['again']} trained again, "
            f"{time.monotonic() - began:.0f} s"
        )


def check(monkey: Monkey, spec: SweepSpec, calm: Path) -> dict[str, int]:
    """What must hold afterwards; how much was trained, and how much of it again."""
    root = monkey.root
    store = TrialStore(LocalFiles(root))
    proposals, decisions = store.proposals(spec.name), store.decisions(spec.name)
    run_inline(spec, calm)
    assert outcome_of(root, spec.name) == outcome_of(calm, spec.name)
    assert Lease(store.files, spec.name).holder() is None
    assert not (root / "quarantine").exists()
    # Whoever writes into a folder removes what dead writers left there. Nobody writes into a pruned trial's any more.
    pruned = {(decision.study, decision.signature) for decision in decisions if decision.state == "pruned"}
    assert {tuple(path.parts[-3:-1]) for path in root.rglob("*.tmp")} <= pruned
    _check_search(spec, proposals, decisions)
    _check_mlflow(root, spec, proposals, decisions)
    _check_report(root, spec, proposals, decisions)
    return {"trials": len(decisions)} | _check_training(root)


def _check_training(root: Path) -> dict[str, int]:
    """No trial ever went back by more than the interval that it was in when it was killed."""
    counts: Counter[str] = Counter()
    for notes in (root / "trained").iterdir():
        epochs = [int(line.split()[0]) for line in notes.read_text().splitlines()]
        assert epochs[0] == 0
        for before, after in itertools.pairwise(epochs):
            assert after - before in (0, 1), f"{notes.name}: {epochs}"
        counts["intervals"] += len(set(epochs))
        counts["again"] += len(epochs) - len(set(epochs))
    return {"intervals": counts["intervals"], "again": counts["again"]}


def _check_search(spec: SweepSpec, proposals: list[Proposal], decisions: list[Decision]) -> None:
    """Every proposal and every pruning is what Optuna answers to the history that the store holds."""
    decided = {(decision.study, decision.number): decision for decision in decisions}
    for study in spec.studies():
        own = [proposal for proposal in proposals if proposal.study == study.key]
        assert len(own) == study.trials
        history = [Past(proposal.params, decided[proposal.study, proposal.number]) for proposal in own]
        for proposal in own:
            assert proposal.params == propose(study, history[: proposal.number])
            decision = decided[proposal.study, proposal.number]
            stopped = pruned_at(study, proposal.number, history, decision.curve, proposal.config.epochs)
            assert stopped == (len(decision.curve) if decision.state == "pruned" else None)


def _check_mlflow(root: Path, spec: SweepSpec, proposals: list[Proposal], decisions: list[Decision]) -> None:
    """One finished run for each trial, with the decision's state and the curve's points, each study, and the report."""
    client = mlflow_client(default_target(str(root)))
    experiment = client.get_experiment_by_name(spec.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    trials = {
        (run.data.tags["sept.study"], int(run.data.tags["sept.number"])): run
        for run in runs
        if run.data.tags["sept.role"] == "trial"
    }
    assert len(runs) == len(proposals) + len(spec.studies()) + 1
    assert trials.keys() == {(decision.study, decision.number) for decision in decisions}
    for decision in decisions:
        run = trials[decision.study, decision.number]
        assert run.data.tags["sept.signature"] == decision.signature
        assert run.data.tags["sept.state"] == decision.state
        points = client.get_metric_history(run.info.run_id, "val/h")
        assert sorted((point.step, point.value, point.timestamp) for point in points) == [
            (report.epoch, rounded(report.metrics["val/h"]), report.timestamp_ms) for report in decision.curve
        ]


def _check_report(root: Path, spec: SweepSpec, proposals: list[Proposal], decisions: list[Decision]) -> None:
    """The report shows of each test fold the finished trial with the best validation of this fold's replicas."""
    rows: list[dict[str, Any]] = json.loads((root / "sweeps" / spec.name / "report" / "results.json").read_text())[
        "rows"
    ]
    shown = {(row["dataset"], row["method"]): {one["fold"]: one["signature"] for one in row["choices"]} for row in rows}
    for study in spec.studies():
        finished = [decision for decision in decisions if decision.study == study.key and decision.state == "finished"]
        for fold, signature in shown[study.dataset, study.method].items():
            best = max(finished, key=lambda decision: (decision.fold_values[fold], -decision.number))
            assert signature == best.signature
