"""What it costs to measure how much SEPT acts: one more backward pass in the first step of each reported epoch.

    pip install -e ".[dev]" && pytest tests/benchmarks/bench_activity.py -s

CoOp + SEPT on `mini`, one CPU thread, the numbers of the quickstart: 4 replicas, 5 steps an epoch, a report every 5
epochs; without the validation of a report, which makes the share smaller. Epochs with and without it alternate.
"""

from __future__ import annotations

import time

import torch
from gpu.study import Study, StudyConfig
from torch.utils.flop_counter import FlopCounterMode

EVERY, ROUNDS = 5, 24


def test_the_price_of_a_report() -> None:
    torch.set_num_threads(1)
    training = Study(StudyConfig("mini", "ESC10", "coop+sept", "cpu", replicas=4, n_ctx=4, steps=5)).training()
    operations: dict[bool, int] = {}
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for reported in (True, False):
        with FlopCounterMode(display=False) as counter:
            training.train_epoch(reported=reported)
        operations[reported] = counter.get_total_flops()
    for at in range(2 * ROUNDS):
        reported = at % 2 == at // 2 % 2  # which comes first alternates too
        start = time.process_time()
        training.train_epoch(reported=reported)
        seconds[reported].append(time.process_time() - start)
    extra = (operations[True] / operations[False] - 1) / EVERY
    shortest = {reported: min(taken) for reported, taken in seconds.items()}
    print(f"\nmore operations: {extra:.2%}; more time, by the shortest epochs of {ROUNDS}: "
          f"{(shortest[True] / shortest[False] - 1) / EVERY:.2%}")  # fmt: skip
    assert 0 < extra < 0.03
