"""A sweep's wall time against the training time of its trials, spread evenly over its workers.

    pip install -e ".[dev]" && pytest tests/benchmarks/bench_sweep.py -s

Runs the bundled quickstart sweep in an empty folder, tracking included, and prints how much of the wall time is
training; the rest is Ray's start, imports, reading, writing, tracking, and idle workers at the end.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from pipeline.search.sweep import launch
from pipeline.spec import load_sweep
from pipeline.store import TrialStore, open_files
from pipeline.tracking import MlflowTracker, default_target, prepare
from sept_core.checkpoint import read_header


def training_seconds(store: TrialStore, proposal) -> float:
    """Of a finished trial from its result, of a pruned one from its last checkpoint."""
    result = store.read_result(proposal.study, proposal.signature)
    if result is not None:
        return result.train_seconds
    data = store.read_checkpoint(proposal.config)
    return 0.0 if data is None else float(read_header(data)["seconds"])


def test_wall_time_against_training_time(tmp_path: Path):
    workers = os.cpu_count() or 1
    spec = load_sweep("quickstart", {"resources.workers": workers})
    store = TrialStore(open_files(tmp_path))
    target = default_target(tmp_path, None)
    started = time.monotonic()
    prepare(target)
    prepared = time.monotonic() - started
    tracker = MlflowTracker(target, store)
    outcome = launch(spec, tmp_path, observers=[tracker])
    tracker.close()
    wall = time.monotonic() - started
    proposals = store.proposals(spec.name)
    training = sum(training_seconds(store, proposal) for proposal in proposals)
    ideal = training / workers
    print(
        f"\n{len(proposals)} trials ({outcome.pruned} pruned), {workers} workers: {training:.0f} s of training, "
        f"{ideal:.0f} s spread evenly; wall {wall:.0f} s, of which {prepared:.0f} s prepare MLflow\n"
        f"wall / even spread = {wall / ideal:.2f}; overhead {(wall - ideal) / len(proposals):.2f} s a trial"
    )
    assert outcome.state == "finished"
