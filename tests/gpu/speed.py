"""Sections that time a training step: fused, by token budget, captured and compiled."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sept_core.clip_batch import ClipBatch
from sept_core.encoders import prefix
from sept_core.encoders.prefix import token_budget
from sept_core.training import MOMENTUM, FusedTraining, train_epochs

from .bench import Bench, in_turn, seconds_of
from .measuring import Peak
from .study import Study, StudyConfig

__all__ = ["compiled", "fusing", "memory"]


def fusing(bench: Bench) -> dict[str, Any]:
    """The gain of training replicas, and configurations, in one batch."""
    counts = (1, 2, 4) if bench.small else (1, 2, 4, 8, 15, 30, 60)
    encoders = ("msclap-2023", "mini") if bench.on_gpu else ("mini",)
    replicas, grids = [], []
    for encoder in encoders:
        for method in ("coop", "coop+sept"):
            base = StudyConfig(encoder, "ESC10", method, **bench.sizes())
            one = 0.0
            for count in counts:
                if not bench.time_for(f"{encoder} {method} {count} replicas"):
                    continue
                training = Study(replace(base, replicas=count)).training()
                seconds = seconds_of(training.train_epoch, bench.device, bench.rounds)
                one = one or seconds
                row = {"encoder": encoder, "method": method, "replicas": count, "step_s": seconds}
                row |= {"tokens": training.step_tokens, "gain": count * one / seconds}
                replicas.append(bench.found(row))
            for size in (2,) if bench.small else (4, 16):
                if bench.time_for(f"{encoder} {method} grid of {size}"):
                    grids.append(bench.found(_grid(bench, replace(base, replicas=3), size)))
    return {"dataset": "ESC10", "replicas": replicas, "grids": grids}


def _grid(bench: Bench, config: StudyConfig, size: int) -> dict[str, Any]:
    """``size`` configurations of three replicas together, against one after the other."""
    studies = []
    for number in range(size):
        own = {"lr": 0.001 * (number + 1)} | ({"lambda_se": 0.5 * (number + 1)} if "+sept" in config.method else {})
        studies.append(Study(replace(config, hyper=own)))
    joined, apart = ([study.training() for study in studies] for _ in range(2))
    ways = {
        "together": lambda: train_epochs(joined),
        "each": lambda: [training.train_epoch() for training in apart],
    }
    taken = in_turn(ways, bench.device, bench.rounds)
    together, each = (statistics.median(taken[name]) for name in ways)
    differ = [
        float((one.params["ctx"] - other.params["ctx"]).norm() / other.params["ctx"].norm())
        for one, other in zip(joined, apart, strict=True)
    ]
    return {
        "encoder": config.encoder,
        "method": config.method,
        "configurations": size,
        "replicas_of_each": config.replicas,
        "together_s": together,
        "one_after_the_other_s": each,
        "gain": each / together,
        "contexts_differ_by": max(differ),
    }


def memory(bench: Bench) -> dict[str, Any]:
    """Peak memory and time of a step by token budget; on a GPU the largest budget that fits."""
    rows, largest = [], None
    dataset = "ESC10" if bench.small else "ESC50"
    base = StudyConfig("msclap-2023", dataset, "coop+sept", **bench.sizes(n_neighbors=10))
    one = Study(replace(base, replicas=1)).training().step_tokens
    budget = 128 if bench.small else 2048
    most = 512 if bench.small else 4096 if not bench.on_gpu else 1 << 20
    full = False
    while budget <= most and not full and bench.time_for(f"a budget of {budget} tokens", 5.0 if bench.on_gpu else 0.0):
        row = _peak(replace(base, replicas=max(1, budget // one)), budget)
        rows.append(bench.found(row))
        full = row["peak_mb"] is None
        largest = largest if full else budget
        budget *= 2
    own = []
    # The product's own budget, in which the largest studies have to fit.
    studies = [(base.encoder, "cocoop+sept", 30), ("msclap-2022", "coop+sept", 15), ("msclap-2022", "cocoop+sept", 15)]
    for encoder, method, replicas in studies[:1] if bench.small else studies:
        if bench.time_for(f"{encoder} {method}"):
            config = replace(base, encoder=encoder, method=method, replicas=2 if bench.small else replicas)
            row = {"encoder": encoder, "method": method} | _peak(config, token_budget(torch.device(bench.device)))
            own.append(bench.found(row))
    found = {"dataset": dataset, "tokens_of_a_replica": one, "by_budget": rows, "at_the_products_budget": own}
    if bench.on_gpu:
        found |= {"largest_budget_that_fits": largest, "reached_the_end_of_memory": full}
    return found


@contextmanager
def _budget(device: str, tokens: int) -> Iterator[None]:
    """The token budget of the product, which also cuts within a replica."""
    before = prefix.TOKEN_BUDGET[device]
    prefix.TOKEN_BUDGET[device] = tokens
    try:
        yield
    finally:
        prefix.TOKEN_BUDGET[device] = before


def _peak(config: StudyConfig, budget: int) -> dict[str, Any]:
    """One step; ``peak_mb`` None where memory is not enough."""
    row: dict[str, Any] = {"budget": budget, "replicas": config.replicas}
    with _budget(config.device, budget):
        study = Study(config)
        embeddings = F.normalize(torch.randn(len(study.labels), study.tower.dim), dim=-1)
        study.touch()
        peak = Peak(study.device)
        try:
            training = study.training(embeddings)
            row |= {"tokens": training.step_tokens}
            seconds = seconds_of(training.train_epoch, config.device, 1)
            row |= {"peak_mb": peak.megabytes(), "step_s": seconds}
            row["mb_per_token"] = row["peak_mb"] / min(budget, training.step_tokens)
            row["tokens_per_s"] = training.step_tokens / seconds
        except torch.OutOfMemoryError:
            row["peak_mb"] = None
    gc.collect()
    if config.device == "cuda":
        torch.cuda.empty_cache()
    return row


def compiled(bench: Bench) -> dict[str, Any]:
    """The step as a CUDA graph and compiled, compared with the plain step."""
    rows = []
    studies = [("msclap-2023", 4), ("mini", 4), ("mini", 30), ("msclap-2023", 30)]
    for encoder, replicas in studies[:1] if bench.small else studies:
        config = StudyConfig(encoder, "ESC10", "coop+sept", replicas=replicas, **bench.sizes())
        if not bench.time_for(f"{encoder} {replicas} replicas"):
            continue
        study = Study(config)
        embeddings = study.embeddings()
        plain = study.training(embeddings)
        row: dict[str, Any] = {"encoder": encoder, "replicas": replicas}
        row["as_it_is_s"] = seconds_of(plain.train_epoch, bench.device, 2 * bench.rounds)
        for name, way in (("cuda_graph", _captured), ("torch_compile", _compiled)):
            if name == "cuda_graph" and not bench.on_gpu:
                row[name] = "needs a GPU"
                continue
            if not bench.time_for(f"{encoder} {replicas} replicas {name}", 0.0 if bench.small else 30.0):
                continue
            started = time.perf_counter()
            try:
                seconds, moved = way(bench, study, embeddings)
            except Exception as error:  # what it cannot capture or compile is the result
                row[name] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
                continue
            fresh = study.training(embeddings)
            start = fresh.params["ctx"].clone()
            fresh.train_epoch()
            there = fresh.params["ctx"] - start
            row[name] = {
                "step_s": seconds,
                "gain": row["as_it_is_s"] / seconds,
                "making_s": time.perf_counter() - started,
                "first_step_differs_by": float((moved - there).norm() / there.norm()),
            }
        rows.append(bench.found(row))
    return {"kept_where_gain_exceeds": 1.1, "backend": _backend(bench), "rows": rows}


def _backend(bench: Bench) -> str:
    return "aot_eager" if bench.small else "inductor"


def _compiled(bench: Bench, study: Study, embeddings: Tensor) -> tuple[float, Tensor]:
    """The pass of the text tower compiled; seconds of a step, and what the first one added to the context."""
    plain = prefix._shared
    torch._dynamo.reset()
    prefix._shared = torch.compile(plain, backend=_backend(bench), dynamic=False)
    try:
        training = study.training(embeddings)
        start = training.params["ctx"].clone()
        training.train_epoch()
        moved = training.params["ctx"] - start
        return seconds_of(training.train_epoch, bench.device, 2 * bench.rounds), moved
    finally:
        prefix._shared = plain


def _captured(bench: Bench, study: Study, embeddings: Tensor) -> tuple[float, Tensor]:
    """The whole step, SGD included, as one CUDA graph; the same two."""
    training: FusedTraining = study.training(embeddings)
    batches = [own[0] for own in training._batches()]
    clips = ClipBatch.of(training._audio, training._labels, batches, max(map(len, batches)))
    params = {name: value.clone().requires_grad_() for name, value in training.params.items()}
    momentum = {name: torch.zeros_like(value) for name, value in training.params.items()}
    lr = torch.tensor(training._schedule.lr_at(0), device=bench.device)

    def body() -> None:
        text, both = training._text(params, clips.audio, clips.weights)
        total = training._losses(params, clips, text, both)["total"].sum()
        gradients = torch.autograd.grad(total, list(params.values()))
        with torch.no_grad():
            for (name, value), gradient in zip(params.items(), gradients, strict=True):
                momentum[name].mul_(MOMENTUM).add_(gradient)
                value.sub_(lr * momentum[name])

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            body()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    with torch.no_grad():
        for name, value in training.params.items():
            params[name].copy_(value)
            momentum[name].zero_()
    graph.replay()
    moved = (params["ctx"] - training.params["ctx"]).detach()
    return seconds_of(graph.replay, bench.device, 2 * bench.rounds), moved
