"""Inputs of the tiny sweep with which some trials go wrong, by the prompt length that they try."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import slow_inputs
import tiny_inputs
import torch

from pipeline.spec import StudyInputs
from sept_core.trial import Report, TrialInputs, TrialRun

NAN, RAISES, NO_MEMORY, KILLED, TOO_LARGE = 2, 3, 4, 5, 6
_advance = TrialRun.advance


def provide(root: str, inputs: StudyInputs) -> TrialInputs:
    """As `tiny_inputs.provide`; until ``mended`` lies beside the store, trials go wrong in their second epoch."""
    beside = Path(root).parent

    def advance(run: TrialRun) -> Report | None:
        with (beside / "attempts").open("a") as lines:
            lines.write(f"{run.config.hyper.get('n_ctx', 0)} {run.epoch}\n")
        if run.epoch > 0 and not (beside / "mended").exists():
            _go_wrong(run)
        return _advance(run)

    TrialRun.advance = advance  # type: ignore[method-assign]
    return tiny_inputs.provide(root, inputs)


def provide_slowly(root: str, inputs: StudyInputs) -> TrialInputs:
    """As `slow_inputs.provide`."""
    return slow_inputs.provide(root, inputs)


def _go_wrong(run: TrialRun) -> None:
    kind = run.config.hyper.get("n_ctx")
    if kind == NAN:
        for value in run._trainings[0].params.values():
            value.fill_(float("nan"))
    elif kind == RAISES:
        raise RuntimeError("a trial's own mistake")
    elif kind == NO_MEMORY:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000, before[1]))
        try:
            torch.ones(1_000_000_000)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
    elif kind == KILLED:
        # As the kernel does when memory runs out.
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == TOO_LARGE:
        run.eaten = torch.ones(int(os.environ["SEPT_TEST_EATEN_BYTES"]), dtype=torch.uint8)  # type: ignore[attr-defined]
