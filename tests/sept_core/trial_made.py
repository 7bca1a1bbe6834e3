"""Configurations and results of tiny trials."""

from __future__ import annotations

import dataclasses

import torch

from sept_core.learners import LEARNERS
from sept_core.methods import hyper_parameters
from sept_core.semantic import load_neighbors
from sept_core.trial import make_config

TRAINED = [name for name, learner in LEARNERS.items() if learner.trainable and learner.learns_text]
"""The baselines that SEPT can be added to."""
UNSEEN = [name for name, learner in LEARNERS.items() if learner.unseen]
"""The baselines of base-to-new."""


def suited(method, hyper):
    """Those of the hyper-parameters that a method has; TREFF's similarity grows without end at the others' rates."""
    declared = hyper_parameters(method.removesuffix("+sept"), method.endswith("+sept"))
    own = {name: value for name, value in hyper.items() if name in declared}
    return own | ({"lr": own["lr"] / 50} if method.startswith("treff") and "lr" in own else {})


def flat(params):
    """All parameters of each replica in one row."""
    return torch.cat([value.flatten(1) for value in params.values()], dim=1)


def config(inputs, baseline="coop", sept=True, **changes):
    method = f"{baseline}+sept" if sept else baseline
    defaults = {
        "hyper": suited(method, {"n_ctx": 3, "lr": 0.05, "n_neighbors": 2, "lambda_se": 3.0}),
        "shots": 2,
        "folds": ("theo", "lucas"),
        "seeds": (0, 1),
        "epochs": 4,
        "report_every": 2,
        "batch_size": 8,
    }
    return make_config(inputs, method, **(defaults | changes))


def finish(run):
    while not run.finished:
        run.advance()
    return run.result()


def cross(inputs, make_table, **changes):
    targets = {name: make_table(name, 3) for name in ("ESC10", "SESA")}
    neighbors = load_neighbors("FSDD", protocol="cross-dataset")
    wider = dataclasses.replace(inputs, targets=targets, neighbors=neighbors)
    trial = config(wider, protocol="cross-dataset", **changes)
    return trial, wider


def numbers(result):
    """What must be equal between equal trials: everything but clocks."""
    data = result.to_json()
    for name in ("finished_ms", "train_seconds"):
        del data[name]
    for report in data["curve"]:
        del report["time_s"], report["timestamp_ms"]
    return data
