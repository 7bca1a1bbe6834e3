"""Inputs of the tiny sweep, slowed down, with a note of every epoch that is trained: what was trained twice shows."""

from __future__ import annotations

import os
from pathlib import Path

import tiny_inputs

from pipeline.spec import StudyInputs
from sept_core.trial import Report, TrialInputs, TrialRun

_advance = TrialRun.advance


def provide(root: str, inputs: StudyInputs) -> TrialInputs:
    """As `tiny_inputs.provide_slowly`; from now on this process notes what it trains."""
    notes = Path(root, "trained")
    notes.mkdir(parents=True, exist_ok=True)

    def advance(run: TrialRun) -> Report | None:
        before = run.epoch
        report = _advance(run)
        with (notes / run.config.signature).open("a") as lines:
            lines.write(f"{before} {os.getpid()}\n")
        return report

    TrialRun.advance = advance  # type: ignore[method-assign]
    return tiny_inputs.provide_slowly(root, inputs)
