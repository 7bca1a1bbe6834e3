"""Frozen audio-language encoders behind one contract.

The names of encoders are needed where nothing is encoded, so torch is loaded with the first class that is used.
"""

from typing import TYPE_CHECKING

from sept_core.encoders.registry import ENCODERS, known_encoder, load_encoder

if TYPE_CHECKING:
    from sept_core.encoders.base import (
        AudioTower,
        CausalBlock,
        CausalTextTower,
        Encoder,
        Preparation,
        TextTower,
        Tokens,
    )

__all__ = [
    "ENCODERS",
    "AudioTower",
    "CausalBlock",
    "CausalTextTower",
    "Encoder",
    "Preparation",
    "TextTower",
    "Tokens",
    "known_encoder",
    "load_encoder",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sept_core.encoders import base

    return getattr(base, name)
