"""Errors of other processes, sent as a kind and a line, because Ray wraps an exception that is raised there."""

from __future__ import annotations

from typing import Literal

from pipeline.store import StoreAway
from sept_core.errors import InputError, SeptError

__all__ = ["Fault", "fault_of", "raised_there"]

Fault = Literal["input", "away", "other"]
"""Bad input, a store that does not answer but may come back, or anything else."""


def fault_of(error: Exception) -> Fault:
    """The kind of an error."""
    if isinstance(error, InputError):
        return "input"
    return "away" if isinstance(error, SeptError) and error.resumable else "other"


def raised_there(fault: Fault, line: str) -> SeptError:
    """The error, rebuilt in this process."""
    kinds: dict[Fault, type[SeptError]] = {"input": InputError, "away": StoreAway, "other": SeptError}
    return kinds[fault](line)
