"""The report of a finished search over the whole benchmark: 88 studies of 40 trials, 25 + 25 classes in each dataset.

    pip install -e ".[dev]" && pytest tests/benchmarks/bench_report.py -s

Made-up numbers. Prints the seconds that it takes and the size of the page.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from unittest import mock

import pytest
import synthetic_results as made

from pipeline.reports import write_report
from pipeline.spec import load_sweep
from pipeline.store import LocalFiles, TrialStore

TRIALS, CLASSES = 40, 25


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialStore:
    """A third of the trials pruned; every searched hyper-parameter drawn at random."""
    spec = load_sweep("full", {"encoder": "mini"})
    halves = [[f"sound of a thing {number}" for number in range(start, start + CLASSES)] for start in (0, CLASSES)]
    folds = ("1", "2", "3", "4", "5")
    monkeypatch.setattr(made, "DATASETS", dict.fromkeys(spec.datasets, (folds, *halves)))
    monkeypatch.setattr(made, "LEVELS", dict.fromkeys(spec.methods, (90.0, 70.0)))
    store = TrialStore(LocalFiles(tmp_path))
    # Thousands of records at once need not each survive a power cut.
    with mock.patch.object(os, "fsync"):
        store.write_spec(spec.name, spec.text())
        for study in spec.studies():
            for number in range(TRIALS if study.searched else 1):
                rng = random.Random(f"{study.key} {number}")
                params = {
                    name: rng.choice(dim.choices)
                    if dim.choices
                    else rng.randint(int(dim.low or 0), int(dim.high or 0))
                    if study.declared[name].kind is int
                    else rng.uniform(float(dim.low or 0), float(dim.high or 0))
                    for name, dim in study.searched.items()
                }
                state = "pruned" if number % 3 == 2 else "finished"
                case = made.make_case(study.dataset, study.method, number, state, params)
                store.add_proposal(spec.name, case.proposal)
                if case.result is not None:
                    store.write_result(case.result)
                store.write_decision(spec.name, case.decision)
    return store


def test_the_report_of_the_whole_benchmark(finished: TrialStore) -> None:
    began = time.perf_counter()
    _, files = write_report(finished, "full")
    seconds = time.perf_counter() - began
    size = len(finished.files.read(files.page)) / 1e6
    print(f"\n88 studies x {TRIALS} trials: {seconds:.1f} s, page {size:.1f} MB")
    assert seconds < 60
    assert size < 15
