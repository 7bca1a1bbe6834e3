"""Encoders by name. Each loader imports its own libraries, so that asking for one never costs the others."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from sept_core.encoders.base import Encoder
from sept_core.errors import InputError

__all__ = ["ENCODERS", "load_encoder"]


def _mini() -> Encoder:
    from sept_core.encoders.mini import load_mini

    return load_mini()


ENCODERS: dict[str, Callable[[], Encoder]] = {"mini": _mini}


def load_encoder(name: str) -> Encoder:
    """Load an encoder by name, on the CPU, frozen and in ``eval()``.

    Raises:
        InputError: No encoder has this name.
    """
    loader = ENCODERS.get(name)
    if loader is None:
        near = get_close_matches(name, ENCODERS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise InputError(f"unknown encoder '{name}'", mend=f"{hint}known: {', '.join(sorted(ENCODERS))}")
    return loader()
