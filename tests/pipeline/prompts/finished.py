"""A finished sweep with real numbers: mini on the shipped embeddings of ESC-10, trained for seconds, without Ray."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from pipeline.search.devices import as_a_worker
from pipeline.store import Decision, Proposal, TrialStore, open_files
from sept_core.datasets import load_embeddings
from sept_core.encoders import Encoder, load_encoder
from sept_core.semantic import load_neighbors
from sept_core.trial import TrialInputs, TrialRun, make_config

SWEEP = "done"
METHODS = ("zero-shot", "coop", "dept", "coop+sept", "tip-adapter", "treff")
SPEC = f"""
name: {SWEEP}
encoder: mini
datasets: [ESC10]
methods: [{", ".join(METHODS)}]
trials: 1
shots: 2
folds: {{ESC10: ['2', '3']}}
training: {{epochs: 2, report_every: 1}}
"""
_HYPER: dict[str, dict[str, Any]] = {"zero-shot": {}, "tip-adapter": {"cache_alpha": 5.0}, "treff": {"lr": 0.001}}
CLASSES = ["dog bark", "siren", "my new class"]


@cache
def mini() -> Encoder:
    return load_encoder("mini")


@cache
def inputs() -> TrialInputs:
    return TrialInputs(mini(), load_embeddings("ESC10", mini().fingerprint), load_neighbors("ESC10"))


def finish(root: Path | str) -> TrialStore:
    """Fill a store with a sweep that has one finished trial of each method."""
    store = TrialStore(open_files(root))
    store.write_spec(SWEEP, SPEC)
    for method in METHODS:
        hyper: dict[str, Any] = _HYPER.get(method, {"n_ctx": 2, "lr": 0.05})
        add_trial(store, method, 0, hyper)
    return store


def add_trial(store: TrialStore, method: str, number: int, hyper: dict[str, Any]) -> None:
    """Train one more trial of the sweep to its end."""
    config = make_config(inputs(), method, hyper, shots=2, folds=["2", "3"], epochs=2, report_every=1)
    run = TrialRun(config, inputs())
    # With the threads of a worker, which the last digits depend on.
    with as_a_worker(1):
        while not run.finished:
            run.advance()
        result = run.result()
    store.add_proposal(SWEEP, Proposal(config.study_key, number, config.signature, config, hyper, 1))
    store.write_checkpoint(config, run.checkpoint())
    store.write_result(result)
    values = (config.study_key, number, config.signature, "finished", config.epochs, result.objective, result.curve, 2)
    store.write_decision(SWEEP, Decision(*values))  # type: ignore[arg-type]


def write_tone(path: Path, hertz: float = 440.0, seconds: float = 0.5) -> Path:
    """A clip that needs no data set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(8000 * seconds)) / 8000
    soundfile.write(path, 0.2 * np.sin(2 * np.pi * hertz * time), 8000)
    return path
