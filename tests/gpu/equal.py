"""Sections that compare numbers: fused against separate, GPU against CPU, bfloat16 against float32."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import torch

from sept_core.training import FusedTraining, train_epochs

from .bench import Bench, ToleranceError, clock, deterministic
from .study import METHODS, Study, StudyConfig

__all__ = ["bfloat16", "equality"]

# Of the losses of a step, and of what the steps added to all of a replica's parameters, relative. Both sides compute in
# float32, in different order.
LOSSES, LEARNED = 1e-4, 1e-3
STEPS = 3


def equality(bench: Bench) -> dict[str, Any]:
    """Every method: fused against separate and against a grid on this device, and this device against the CPU."""
    rows, faults = [], []
    for encoder in ("mini",) if bench.small else ("mini", "msclap-2023", "msclap-2022"):
        for method in METHODS:
            if not bench.time_for(f"{encoder} {method}"):
                continue
            row = _compared(bench, encoder, method)
            rows.append(bench.found(row))
            for name in ("separate", "grid", "cpu"):
                if (found := row.get(name)) and not (found["losses"] <= LOSSES and found["learned"] <= LEARNED):
                    faults.append(f"{encoder} {method}: fused against {name}")
            if not row["same_again"]:
                faults.append(f"{encoder} {method}: another run of the same training gave other bits")
    result = {"tolerance": {"losses": LOSSES, "learned": LEARNED}, "steps": 1 if bench.small else STEPS, "rows": rows}
    if faults:
        raise ToleranceError("; ".join(faults), result)
    return result


def _compared(bench: Bench, encoder: str, method: str) -> dict[str, Any]:
    sizes = bench.sizes(n_neighbors=3, n_ctx=4, batch=4)
    config = StudyConfig(
        encoder, "ESC10", method, steps=1 if bench.small else STEPS, replicas=2, hyper={"lr": 0.01}, **sizes
    )
    study = Study(config)
    embeddings = study.embeddings()
    with deterministic():
        fused, again = study.training(embeddings), study.training(embeddings)
        start = {name: value.cpu().clone() for name, value in fused.params.items()}
        losses = fused.train_epoch()
        again.train_epoch()
        row: dict[str, Any] = {"encoder": encoder, "method": method, "same_again": _bits(fused, again)}
        alone = [study.training(embeddings, slice(index, index + 1)) for index in range(config.replicas)]
        separately = [one.train_epoch() for one in alone]
        mean = {name: statistics.fmean(one[name] for one in separately) for name in losses}
        joined = {name: torch.cat([one.params[name] for one in alone]) for name in start}
        row["separate"] = _differences(losses, mean, start, fused.params, joined)
        # The same training beside one with another learning rate and, with SEPT, other margins.
        other = Study(replace(config, hyper={"lr": 0.03} | ({"margin_inter": 1.5} if study.sept else {})))
        proposal = study.training(embeddings)
        outcome = train_epochs([other.training(embeddings), proposal])[1]
        assert isinstance(outcome, dict)
        row["grid"] = _differences(losses, outcome, start, fused.params, proposal.params)
        row["grid"]["bit_equal"] = _bits(fused, proposal)
        if bench.on_gpu:
            there = Study(replace(config, device="cpu")).training(embeddings)
            row["cpu"] = _differences(there.train_epoch(), losses, start, there.params, fused.params)
    return row


def _bits(one: FusedTraining, other: FusedTraining) -> bool:
    return all(torch.equal(value, other.params[name]) for name, value in one.params.items())


def _differences(losses: Any, others: Any, start: Any, params: Any, other_params: Any) -> dict[str, Any]:
    """Largest relative differences: of a loss, and of what one replica learned."""
    of_loss = max(abs(others[name] - value) / max(abs(value), 1e-6) for name, value in losses.items())
    learned = []
    for replica in range(len(start["ctx"])):
        moved, other = (
            torch.cat([(of[name][replica].cpu() - value[replica]).flatten() for name, value in start.items()])
            for of in (params, other_params)
        )
        learned.append(float((moved - other).norm() / moved.norm()))
    return {"losses": of_loss, "learned": max(learned)}


def bfloat16(bench: Bench) -> dict[str, Any]:
    """What bfloat16 in the text tower does to validation H, and what it saves."""
    rows = []
    epochs = 2 if bench.small else 20
    encoders, methods = ("mini",), ("coop", "coop+sept")
    if not bench.small:
        encoders, methods = ("msclap-2023", "mini"), METHODS
    for encoder in encoders:
        for method in methods:
            if not bench.time_for(f"{encoder} {method}"):
                continue
            steps = 1 if "cocoop" in method or bench.small else 4
            base = StudyConfig(
                encoder, "ESC10", method, replicas=4, steps=steps, epochs=epochs, hyper={"lr": 0.02}, **bench.sizes()
            )
            found: dict[str, list[float]] = {}
            seconds: dict[str, float] = {}
            untrained: list[float] = []
            for precision in ("float32", "bfloat16"):
                study = Study(replace(base, precision=precision))  # type: ignore[arg-type]
                training = study.training()
                untrained = study.validation(training)
                training.train_epoch()
                started = clock(bench.device)
                for _ in range(epochs - 1):
                    training.train_epoch()  # waits for the device at its end
                seconds[precision] = (clock(bench.device) - started) / (epochs - 1)
                found[precision] = study.validation(training)
            drift = [low - full for full, low in zip(found["float32"], found["bfloat16"], strict=True)]
            row = {
                "encoder": encoder,
                "method": method,
                "h_untrained": statistics.fmean(untrained),
                "h_float32": statistics.fmean(found["float32"]),
                "h_bfloat16": statistics.fmean(found["bfloat16"]),
                "drift": statistics.fmean(drift),
                "largest_drift_of_a_replica": max(map(abs, drift)),
                "epoch_seconds": seconds,
                "gain": seconds["float32"] / seconds["bfloat16"],
            }
            rows.append(bench.found(row))
    return {"epochs": epochs, "replicas": 4, "validation_clips_per_group": 160, "rows": rows}
