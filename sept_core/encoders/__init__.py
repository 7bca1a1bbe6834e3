"""Frozen audio-language encoders behind one contract."""

from sept_core.encoders.base import AudioTower, CausalBlock, CausalTextTower, Encoder, Preparation, TextTower, Tokens
from sept_core.encoders.registry import ENCODERS, load_encoder

__all__ = [
    "ENCODERS",
    "AudioTower",
    "CausalBlock",
    "CausalTextTower",
    "Encoder",
    "Preparation",
    "TextTower",
    "Tokens",
    "load_encoder",
]
