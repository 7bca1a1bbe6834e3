"""Numbers that are set in the environment."""

from __future__ import annotations

import os

from sept_core.errors import InputError

__all__ = ["number_setting"]


def number_setting(name: str, default: float, fix: str) -> float:
    """The value of a variable, or the default if it is not set.

    Args:
        name: Name of the variable.
        default: Value if it is not set, or empty.
        fix: What to do if it is not a number, or negative.

    Raises:
        InputError: It is not a finite number from 0 on.
    """
    stated = os.environ.get(name, "")
    try:
        value = float(stated or default)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"{name} is '{stated}'", fix=fix)
    return value
