"""All replicas of a trial as one batch against one training after the other, on the encoder `mini`.

    pip install -e ".[dev]" && pytest tests/benchmarks/bench_fused.py -s

Prints, for CoOp and CoOp + SEPT with 5 neighbours, the ratio of one epoch of 12 replicas fused (for several token
budgets, which cut a step into chunks) to 12 separate trainings, on one thread as in a trial.
"""

from __future__ import annotations

import statistics
import time

import pytest
import torch

from pipeline.store import find_embeddings
from sept_core.datasets import get_dataset, halves, make_split, prompt_name
from sept_core.encoders import load_encoder
from sept_core.encoders.prefix import PromptBank
from sept_core.hyper import complete
from sept_core.learners import CoOp
from sept_core.semantic import SEPT_HYPER, SemanticExpansion, load_neighbors, load_templates
from sept_core.training import FusedTraining, Schedule

ROUNDS = 3


@pytest.mark.parametrize("sept", [False, True], ids=["coop", "coop+sept"])
@pytest.mark.parametrize("n_ctx", [4, 16])
def test_fused_against_separate_replicas(sept, n_ctx):
    torch.set_num_threads(1)
    encoder = load_encoder("mini")
    info = get_dataset("ESC10")
    table = find_embeddings(encoder.fingerprint, info.name, None)
    seen = encoder.pretraining.folds[info.name]
    splits = [make_split(table, info, fold, seed, 16, seen) for fold in "2345" for seed in (0, 1, 2)]
    base = [prompt_name(name) for name in halves(info.classnames)[0]]
    hyper = complete(CoOp.hyper, {"n_ctx": n_ctx}, "bench", {"logit_scale": encoder.logit_scale})
    semantic = None
    if sept:
        sept_hyper = complete(SEPT_HYPER, {"n_neighbors": 5}, "bench")
        semantic = SemanticExpansion.of(
            encoder.text, base, load_neighbors(info.name), load_templates(info.kind), sept_hyper
        )

    def epoch(chosen, budget):
        training = FusedTraining(
            learner=CoOp(encoder.text, hyper, base),
            classes=PromptBank.of(encoder.text, base),
            semantic=semantic,
            embeddings=table.embeddings,
            labels=torch.tensor([info.classnames.index(name) for name in table.classnames]),
            rows=[split.train for split in chosen],
            keys=[f"{split.fold}/{split.seed}" for split in chosen],
            schedule=Schedule(epochs=10, batch_size=16, lr=0.002),
            budget=budget,
        )
        started = time.perf_counter()
        training.train_epoch()
        return time.perf_counter() - started

    ways = {"separate": lambda: sum(epoch([split], None) for split in splits)}
    for budget in (512, 1024, 2048, 4096, 10**9):
        ways[f"fused, {budget} tokens"] = lambda budget=budget: epoch(splits, budget)
    seconds = {way: [] for way in ways}
    for _ in range(ROUNDS + 1):  # the first round warms up
        for way, run in ways.items():
            seconds[way].append(run())
    median = {way: statistics.median(measured[1:]) for way, measured in seconds.items()}
    print(f"\n{'coop+sept' if sept else 'coop'}, n_ctx {n_ctx}, {len(splits)} replicas, an epoch of 5 steps, 1 thread:")
    for way, took in median.items():
        print(f"  {way:>26}: {took:6.2f} s, {median['separate'] / took:4.1f}x")
