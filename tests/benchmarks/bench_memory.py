"""Peak memory of one training step of the largest studies, bytes per text token, and the size of a checkpoint.

    pip install -e ".[dev]" && pytest tests/benchmarks/bench_memory.py -s

CoOp + SEPT and CoCoOp + SEPT at the trainer's own token budget, with 10 neighbours, 16 context tokens and 16 clips a
step, on random weights of the real size, on one CPU thread (a GPU: ``python -m tests.gpu --sections memory``); each
step in a process of its own. A step is cut into chunks of replicas. Two chunks and one more replica take the step
(three at least), and the others are there but rest: the second chunk needs more than the first, which leaves the heap
scattered, and further ones take time. ``SEPT_BENCH_STEPPED=30`` lets up to so many replicas take it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace

import pytest
import torch
from gpu.measuring import MB, Peak, alone
from gpu.study import Study, StudyConfig
from torch.nn import functional as F

from sept_core.checkpoint import Checkpoint, dump_checkpoint
from sept_core.encoders.prefix import token_budget
from sept_core.results import Report

PROMPT_LEARNERS = ("coop", "kgcoop", "dept", "cocoop")
STUDIES = (("msclap-2023", "UrbanSound8K", 30), ("msclap-2023", "ESC50", 15), ("msclap-2022", "ESC50", 15))
"""Encoder, dataset and replicas (folds x 3 seeds)."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")


@dataclass(frozen=True)
class Step:
    """One step of a study.

    Attributes:
        prompts: Class names and neighbours.
        tokens: Text tokens of a replica's step.
        stepped: Replicas that took it.
        peak: MB above the loaded model.
    """

    prompts: int
    tokens: int
    stepped: int
    peak: float


def _study(config: StudyConfig) -> Study:
    torch.set_num_threads(1)  # as in a trial
    return Study(config)


def measure_step(config: StudyConfig, stepped: int | None = None) -> Step:
    """One step of ``stepped`` of the replicas (see the module where None); in a process of its own."""
    study = _study(config)
    assert study.semantic is not None
    embeddings = F.normalize(
        torch.randn(len(study.labels), study.tower.dim, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    study.touch()
    peak = Peak(study.device)
    training = study.training(embeddings)
    tokens = training.step_tokens // config.replicas
    stepped = min(stepped or max(3, 2 * (token_budget(study.device) // tokens) + 1), config.replicas)
    for resting in study.rows[stepped:]:
        resting.clear()
    training.train_epoch()
    return Step(len(study.semantic.bank), tokens, stepped, peak.megabytes())


def checkpoint_bytes(config: StudyConfig) -> int:
    """Size of the checkpoint of a trial with five reports."""
    study = _study(config)
    state = study.training(torch.zeros(len(study.labels), study.tower.dim)).state()
    names = ("val/h", "val/base", "val/new", "loss/total", "loss/base", "loss/intra", "loss/inter")
    curve = tuple(
        Report(epoch, dict.fromkeys(names, 100 / 3), 1e3 / 3, 1_700_000_000_000) for epoch in range(10, 60, 10)
    )
    return len(dump_checkpoint(Checkpoint("0" * 16, (state,), curve, 1e3 / 3)))


def bytes_per_token(config: StudyConfig) -> float:
    """How much the peak grows with every text token: from one replica to as many as the token budget has room for."""
    one = alone(measure_step, replace(config, replicas=1))
    room = token_budget(torch.device(config.device)) // one.tokens
    many = alone(measure_step, replace(config, replicas=room), room)
    return (many.peak - one.peak) * MB / ((room - 1) * one.tokens)


def study_of(encoder: str, dataset: str, replicas: int, method: str = "coop+sept") -> StudyConfig:
    return StudyConfig(encoder, dataset, method, "cpu", replicas=replicas, n_neighbors=10)


@pytest.mark.timeout(3600)
def test_the_largest_studies() -> None:
    budget = token_budget(torch.device("cpu"))
    wanted = os.environ.get("SEPT_BENCH_STEPPED")
    print(
        f"\npeak MB of a step above the loaded model, token budget {budget}\n"
        f"{'encoder':>12} {'dataset':>13} {'method':>12}"
        f" {'prompts':>8} {'tokens':>7} {'replicas':>9} {'stepped':>8} {'MB':>7}"
    )
    for study in STUDIES:
        for method in ("coop+sept", "cocoop+sept"):
            config = study_of(*study, method)
            step = alone(measure_step, config, int(wanted) if wanted else None)
            print(
                f"{config.encoder:>12} {config.dataset:>13} {config.method:>12} {step.prompts:8} {step.tokens:7,} "
                f"{config.replicas:9} {step.stepped:8} {step.peak:7,.0f}",
                flush=True,
            )
    for encoder in ("msclap-2022", "msclap-2023"):
        per_token = bytes_per_token(study_of(encoder, "UrbanSound8K", 1))
        print(
            f"{encoder}: {per_token / MB:.2f} MB per text token of CoOp + SEPT on UrbanSound8K, so {budget} tokens are "
            f"{budget * per_token / MB:,.0f} MB",
            flush=True,
        )


def test_the_size_of_a_checkpoint() -> None:
    print(f"\ncheckpoint, 5 reports, KB:\n{'':>32} " + " ".join(f"{name:>8}" for name in PROMPT_LEARNERS))
    for study in STUDIES:
        # SEPT has no parameters.
        sizes = [alone(checkpoint_bytes, study_of(*study, name)) / 1e3 for name in PROMPT_LEARNERS]
        encoder, dataset, replicas = study
        print(f"{encoder:>12} {dataset:>13} x {replicas:>3} " + " ".join(f"{size:8,.0f}" for size in sizes), flush=True)
