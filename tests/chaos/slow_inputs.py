"""Inputs of the tiny sweep, slowly enough to be interrupted, for workers that share no folder with the test."""

from __future__ import annotations

import dataclasses

import tiny_inputs

from pipeline.spec import StudyInputs
from sept_core.trial import TrialInputs


def provide(root: str, inputs: StudyInputs) -> TrialInputs:
    """As `tiny_inputs.provide_slowly`, without the note about the process."""
    slow = tiny_inputs._encoder(tiny_inputs._SlowTower)
    return dataclasses.replace(tiny_inputs.provide(root, inputs), encoder=slow)
