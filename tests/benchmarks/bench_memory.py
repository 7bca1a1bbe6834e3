"""Peak memory of one training step of the largest studies, bytes per text token, and the size of a checkpoint.

    pip install -e ".[dev]" && pytest tests/benchmarks/bench_memory.py -s

CoOp + SEPT and CoCoOp + SEPT at the trainer's own token budget, with 10 neighbours, 16 context tokens and 16 clips a
step, on random weights of the real size, on one CPU thread and on a GPU where there is one; each step in a process of
its own. A step is cut into chunks of replicas. Two chunks and one more replica take the step (three at least), and the
others are there but rest: the second chunk needs more than the first, which leaves the heap scattered, and further
ones take time. ``SEPT_BENCH_STEPPED=30`` lets up to so many replicas take it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from measuring import MB, Peak, alone
from random_msclap import write_msclap
from random_study import Study, StudyConfig
from torch.nn import functional as F

from sept_core.checkpoint import Checkpoint, dump_checkpoint
from sept_core.encoders.prefix import token_budget
from sept_core.results import Report

CLIPS, PROMPT_LEARNERS = 32, ("coop", "kgcoop", "dept", "cocoop")
STUDIES = (("msclap-2023", "UrbanSound8K", 30), ("msclap-2023", "ESC50", 15), ("msclap-2022", "ESC50", 15))
"""Encoder, dataset and replicas (folds x 3 seeds)."""


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


def measure_step(config: StudyConfig, stepped: int | None = None) -> Step:
    """One step of ``stepped`` of the replicas (see the module where None); in a process of its own."""
    study = Study(config)
    assert study.semantic is not None
    embeddings = F.normalize(torch.randn(CLIPS, study.tower.dim, generator=torch.Generator().manual_seed(0)), dim=-1)
    rows = study.rows(CLIPS)
    study.touch()
    peak = Peak(study.device)
    training = study.training(embeddings, rows)
    tokens = training.step_tokens // config.replicas
    stepped = min(stepped or max(3, 2 * (token_budget(study.device) // tokens) + 1), config.replicas)
    for resting in rows[stepped:]:
        resting.clear()
    training.train_epoch()
    return Step(len(study.semantic.bank), tokens, stepped, peak.megabytes())


def checkpoint_bytes(config: StudyConfig) -> int:
    """Size of the checkpoint of a trial with five reports."""
    study = Study(config)
    state = study.training(torch.zeros(CLIPS, study.tower.dim), study.rows(CLIPS)).state()
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


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    if sys.platform != "linux":
        pytest.skip("peak memory is read from /proc")
    paths = {name: tmp_path_factory.mktemp(name) for name in ("msclap-2022", "msclap-2023")}
    for name, path in paths.items():
        alone(write_msclap, name, path)
    yield paths
    for path in paths.values():
        for file in path.iterdir():
            file.unlink()  # hundreds of megabytes


def study_of(folders: dict[str, Path], encoder: str, dataset: str, replicas: int, device: str) -> StudyConfig:
    return StudyConfig(
        folder=folders[encoder],
        encoder=encoder,
        dataset=dataset,
        baseline="coop",
        sept=True,
        replicas=replicas,
        n_neighbors=10,
        n_ctx=16,
        batch=16,
        device=device,
        n_templates=1,  # margins take time to make, and no memory of a step
    )


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_largest_studies(folders: dict[str, Path], device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    budget = token_budget(torch.device(device))
    wanted = os.environ.get("SEPT_BENCH_STEPPED")
    print(
        f"\n{device}: peak MB of a step above the loaded model, token budget {budget}\n"
        f"{'encoder':>12} {'dataset':>13} {'method':>12}"
        f" {'prompts':>8} {'tokens':>7} {'replicas':>9} {'stepped':>8} {'MB':>7}"
    )
    for study in STUDIES:
        for baseline in ("coop", "cocoop"):
            config = replace(study_of(folders, *study, device), baseline=baseline)
            step = alone(measure_step, config, int(wanted) if wanted else None)
            print(
                f"{config.encoder:>12} {config.dataset:>13} {config.method:>12} {step.prompts:8} {step.tokens:7,} "
                f"{config.replicas:9} {step.stepped:8} {step.peak:7,.0f}",
                flush=True,
            )
    for encoder in folders:
        per_token = bytes_per_token(study_of(folders, encoder, "UrbanSound8K", 1, device))
        print(
            f"{encoder}: {per_token / MB:.2f} MB per text token of CoOp + SEPT on UrbanSound8K, so {budget} tokens are "
            f"{budget * per_token / MB:,.0f} MB",
            flush=True,
        )


def test_the_size_of_a_checkpoint(folders: dict[str, Path]) -> None:
    print(f"\ncheckpoint, 5 reports, KB:\n{'':>32} " + " ".join(f"{name:>8}" for name in PROMPT_LEARNERS))
    for encoder, dataset, replicas in STUDIES:
        config = replace(study_of(folders, encoder, dataset, replicas, "cpu"), sept=False)  # SEPT has no parameters
        sizes = [alone(checkpoint_bytes, replace(config, baseline=name)) / 1e3 for name in PROMPT_LEARNERS]
        print(f"{encoder:>12} {dataset:>13} x {replicas:>3} " + " ".join(f"{size:8,.0f}" for size in sizes), flush=True)
