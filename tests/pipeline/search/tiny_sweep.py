"""A small sweep with a tiny encoder, and what a sweep left in the store as plain values that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import tiny_inputs
import yaml

from pipeline.search.driver import SweepDriver
from pipeline.search.inputs import Loader
from pipeline.search.messages import Assignment
from pipeline.spec import SweepSpec, parse_sweep
from pipeline.store import LocalFiles, TrialStore

SWEEP: dict[str, Any] = {
    "name": "tiny",
    "encoder": "mini",
    "datasets": ["FSDD"],
    "methods": ["zero-shot", "coop", "coop+sept"],
    "trials": 7,
    "parallel": 2,
    "shots": 2,
    "folds": {"FSDD": ["theo"]},
    "training": {"epochs": 4, "report_every": 1, "batch_size": 8},
    "sampler": {"name": "tpe", "seed": 3, "n_startup_trials": 2},
    "pruner": {"name": "median", "n_startup_trials": 1, "n_warmup_epochs": 1},
    "resources": {"workers": 2},
    "spaces": {
        "coop": {"n_ctx": {"choices": [1, 2]}, "lr": {"low": 0.01, "high": 5.0, "log": True}},
        "sept": {"n_neighbors": {"low": 1, "high": 3}},
    },
}

SHORT: dict[str, Any] = SWEEP | {
    "methods": ["zero-shot", "coop"],
    "trials": 5,
    "spaces": {"coop": SWEEP["spaces"]["coop"]},
}
"""Six trials, for tests that wait for what happens to them."""


def make_spec(changes: Mapping[str, Any] | None = None, **more: Any) -> SweepSpec:
    """The sweep with changes by dotted key."""
    return parse_sweep(yaml.safe_dump(SWEEP), "tiny.yaml", {**(changes or {}), **more})


def outcome_of(root: Path, sweep: str = "tiny") -> dict[str, Any]:
    """Trials, decisions and results without what differs between two runs: times, and the machine's load."""
    store = TrialStore(LocalFiles(root))
    proposals = store.proposals(sweep)
    decisions = store.decisions(sweep)
    pruned = {decision.signature for decision in decisions if decision.state == "pruned"}
    results = {}
    for proposal in proposals:
        result = store.read_result(proposal.study, proposal.signature)
        if result is not None and proposal.signature not in pruned:
            plain = result.to_json()
            plain["curve"] = [report["metrics"] for report in plain["curve"]]
            results[proposal.study, proposal.number] = {
                name: plain[name] for name in ("state", "curve", "validation", "test", "replicas", "confusion")
            }
    return {
        "members": {(proposal.study, proposal.number): (proposal.signature, proposal.params) for proposal in proposals},
        "verdicts": {
            (decision.study, decision.number): (
                decision.signature,
                decision.state,
                decision.epoch,
                decision.objective,
                [report.metrics for report in decision.curve],
            )
            for decision in decisions
        },
        "results": results,
    }


def run_inline(spec: SweepSpec, root: Path, provider: Loader = tiny_inputs.provide) -> None:
    """The whole sweep in this process, one trial after the other: what every launch must come to."""
    # Imports Ray, which a launch prepares first.
    from pipeline.search.worker import TrialProcess

    driver = SweepDriver(spec, TrialStore(LocalFiles(root)), [], partial(provider, str(root)))
    driver.replay()
    inputs = {study.key: study.inputs for study in spec.studies()}
    while (proposal := driver.ask()) is not None:
        trial = TrialProcess(Assignment(str(root), provider, inputs[proposal.study], proposal.config))
        message = trial.step()
        go_on = driver.begun(proposal, message.curve)
        while go_on:
            message = trial.step()
            assert message.phase in ("report", "ended"), message.error
            if message.phase == "ended":
                driver.concluded(proposal)
                break
            go_on = driver.reported(proposal, message.curve)
    assert driver.finished


def worker_pids(root: Path) -> list[int]:
    """Processes that run trials of ``provide_slowly`` in this store at the moment, found by what they left there."""
    pids = [int(path.name) for path in (root / "pids").iterdir()]
    return sorted(pid for pid in pids if b"TrialWorker" in _title(pid))


def _title(pid: int) -> bytes:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return b""
