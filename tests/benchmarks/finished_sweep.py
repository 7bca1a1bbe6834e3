"""A finished sweep of any size in a store: made-up numbers in records of the real shape and size."""

from __future__ import annotations

import os
import random
from pathlib import Path
from unittest import mock

import synthetic_results as made

from pipeline.spec import SweepSpec, parse_sweep
from pipeline.store import Decision, Proposal, TrialStore, open_files
from sept_core.results import Report, TrialResult
from sept_core.trial_config import TrialConfig

__all__ = ["NAME", "fill"]

NAME = "finished"
REPORTS, SEEDS = 10, (0, 1, 2)
STUDIES = tuple((dataset, method) for dataset in ("ESC10", "FSDD") for method in ("coop", "coop+sept"))
METRICS = ("loss/total", "loss/base", "loss/intra", "loss/inter", "val/h", "val/base", "val/new")


def fill(root: Path, trials: int) -> SweepSpec:
    """Write a sweep with this many finished trials, spread evenly over four studies, and return its spec."""
    each = -(-trials // len(STUDIES))
    text = f"name: {NAME}\nencoder: mini\ndatasets: [ESC10, FSDD]\nmethods: [coop, coop+sept]\ntrials: {each}\n"
    spec = parse_sweep(text + "training: {epochs: 50, report_every: 5}\n", "finished.yaml")
    store = TrialStore(open_files(root))
    # Thousands of records at once need not each survive a power cut.
    with mock.patch.object(os, "fsync"):
        store.write_spec(NAME, spec.text())
        for dataset, method in STUDIES:
            for number in range(each):
                _add(store, dataset, method, number)
    return spec


def _add(store: TrialStore, dataset: str, method: str, number: int) -> None:
    rng = random.Random(f"{dataset} {method} {number}")
    params: dict[str, int | float | str] = {"n_ctx": rng.choice([4, 8, 16]), "lr": 10 ** rng.uniform(-4, -1)}
    config = made.make_config(dataset, method, params | {"logit_scale": 16.0})
    config = config.model_copy(update={"seeds": SEEDS, "epochs": 50, "report_every": 5})
    created = made.START_MS + 60_000 * number
    curve = tuple(
        Report(5 * step, {name: rng.uniform(0, 100) for name in METRICS}, 2.5 * step, created + 2500 * step)
        for step in range(1, REPORTS + 1)
    )
    result = _result(config, curve, rng)
    proposal = Proposal(config.study_key, number, config.signature, config, params, created)
    decision = Decision(
        study=config.study_key,
        number=number,
        signature=config.signature,
        state="finished",
        epoch=config.epochs,
        objective=result.objective,
        curve=curve,
        decided_ms=created + 30_000,
    )
    store.write_config(config)
    store.add_proposal(NAME, proposal)
    store.write_result(result)
    store.write_decision(NAME, decision)


def _result(config: TrialConfig, curve: tuple[Report, ...], rng: random.Random) -> TrialResult:
    plain = made.make_result(config, curve, rng)
    classes = [f"class {number}" for number in range(5)]
    return TrialResult(
        **vars(plain)
        | {
            "replicas": tuple(row | {"seed": seed} for row in plain.replicas for seed in config.seeds),
            "confusion": {part: made.counts(rng, len(classes)) for part in ("base", "new")},
            "classnames": {"base": classes, "new": classes},
        }
    )
