"""Errors of other processes: carried as a kind and a line, for an exception raised there comes wrapped by Ray."""

from __future__ import annotations

from typing import Literal

from pipeline.store import StoreAway
from sept_core.errors import InputError, SeptError

__all__ = ["Fault", "fault_of", "raised_there"]

Fault = Literal["input", "away", "other"]
"""Somebody's input, a store that does not answer and may come back, or anything else."""


def fault_of(error: Exception) -> Fault:
    """Of what kind an error is."""
    if isinstance(error, InputError):
        return "input"
    return "away" if isinstance(error, SeptError) and error.resumable else "other"


def raised_there(fault: Fault, line: str) -> SeptError:
    """The error again, in this process."""
    kinds: dict[Fault, type[SeptError]] = {"input": InputError, "away": StoreAway, "other": SeptError}
    return kinds[fault](line)
