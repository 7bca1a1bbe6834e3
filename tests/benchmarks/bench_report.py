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

from pipeline.reports import collect, write_report
from pipeline.reports.space_pairs import space_pairs
from pipeline.spec import load_sweep
from pipeline.store import LocalFiles, TrialStore
from pipeline.store.prompt_spaces import write_prompt_space
from sept_core.prompt_space import PromptSpace, View

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
        for pair in space_pairs(collect(store, spec.name)):
            space = made_up_space(halves)
            write_prompt_space(store, pair.key, space)
    return store


def made_up_space(halves: list[list[str]]) -> PromptSpace:
    """Three views of 50 classes with 10 neighbours each, half of the margins violated."""
    rng = random.Random(0)
    classes = [name for half in halves for name in half]
    size, group = len(classes), ("base", "new")

    def points(count: int) -> list[tuple[float, float]]:
        return [(round(rng.gauss(0, 0.3), 4), round(rng.gauss(0, 0.3), 4)) for _ in range(count)]

    def view(title: str, learned: bool) -> View:
        names = [f"violated_{kind}_{of}" for kind in ("intra", "inter") for of in group]
        names += [f"{kind}_{of}" for kind in ("ratio", "drift") for of in group] + ["drift"]
        return View(
            title,
            {name: [round(rng.random(), 4) for _ in range(10 if learned else 1)] for name in names},
            [[round(rng.uniform(0.2, 1.4), 4) for _ in range(size)] for _ in range(size)],
            [[round(rng.random() * learned, 4) for _ in range(size)] for _ in range(size)],
            points(size),
            points(10 * size),
        )

    views = [view("hand-written", False), view("CoOp", True), view("CoOp + SEPT", True)]
    return PromptSpace(classes, CLASSES, [["term"] * 10] * size, 5, views, 0.4)


def test_the_report_of_the_whole_benchmark(finished: TrialStore) -> None:
    began = time.perf_counter()
    _, files = write_report(finished, "full")
    seconds = time.perf_counter() - began
    size = len(finished.files.read(files.page)) / 1e6
    print(f"\n88 studies x {TRIALS} trials: {seconds:.1f} s, page {size:.1f} MB")
    assert seconds < 60
    assert size < 15
