"""Trials, proposals and decisions that a store can hold, and what damages them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from pipeline.store import Decision, Proposal, TrialStore
from sept_core.checked_json import seal, unseal
from sept_core.results import Report, TrialResult
from sept_core.trial_config import METHOD_VERSION, TrialConfig


def make_config(lr: float = 0.01) -> TrialConfig:
    return TrialConfig(
        method_version=METHOD_VERSION,
        protocol="base-to-new",
        selection="heldout",
        encoder="mini",
        encoder_fingerprint="0123456789abcdef",
        dataset="ESC10",
        manifest_digest="fedcba9876543210",
        embeddings_digest="fedcba9876543210",
        neighbors_digest=None,
        templates_digest=None,
        baseline="coop",
        sept=False,
        hyper={"n_ctx": 4, "lr": lr, "init": "random"},
        shots=16,
        folds=("2", "3"),
        seeds=(0,),
        epochs=20,
        report_every=10,
        batch_size=16,
    )


def make_curve(*objectives: float) -> tuple[Report, ...]:
    return tuple(
        Report(10 * (step + 1), {"val/h": h, "val/base": h, "loss/total": 1 / 3}, 0.1 * step, 1_700_000_000_000 + step)
        for step, h in enumerate(objectives)
    )


def make_result(config: TrialConfig) -> TrialResult:
    return TrialResult(
        signature=config.signature,
        config=config,
        state="finished",
        curve=make_curve(61.25, 70.1),
        validation={"h": 70.1, "base": 72.0, "new": 68.3},
        test={"h": 66.6},
        replicas=({"fold": "2", "seed": 0, "val_h": 70.1},),
        confusion={"base": [[3, 1], [0, 4]], "new": [[2]]},
        classnames={"base": ["baby cry", "chainsaw"], "new": ["rain"]},
        train_seconds=1.25,
        finished_ms=1_700_000_000_123,
        versions={"torch": "2.14.1"},
        machine="Linux x86_64",
    )


def make_proposal(number: int = 0, lr: float = 0.01, created_ms: int = 5) -> Proposal:
    config = make_config(lr)
    return Proposal(config.study_key, number, config.signature, config, {"lr": lr}, created_ms)


def make_decision(number: int = 0, *, objective: float | None = 70.1, **changes: Any) -> Decision:
    config = make_config()
    curve = make_curve(61.25, 70.1)
    decision = Decision(config.study_key, number, config.signature, "finished", 20, objective, curve, decided_ms=7)
    return dataclasses.replace(decision, **changes)


def key_of(store: TrialStore, ending: str) -> str:
    (key,) = [key for key in store.files.list() if key.endswith(ending)]
    return key


def reseal(data: bytes, **changes: Any) -> bytes:
    """A sealed document with other content and a digest that fits."""
    return seal({**unseal(data), **changes})


def safetensors(payload: bytes) -> bytes:
    """A file with one byte tensor, by the format's specification."""
    header = json.dumps({"x": {"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]}}).encode()
    return len(header).to_bytes(8, "little") + header + payload
