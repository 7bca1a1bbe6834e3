"""How this and other processes load an encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.spec import EncoderFiles

if TYPE_CHECKING:
    from sept_core.encoders import Encoder

__all__ = ["Loader", "load"]

Loader = Callable[[EncoderFiles], "Encoder"]
"""Loads an encoder from its files; a function of a module, so that other processes can import it."""


def load(files: EncoderFiles) -> Encoder:
    """An encoder of the registry; see `sept_core.encoders.load_encoder`.

    Raises:
        InputError: The encoder is unknown, or its files are missing or belong to another one.
    """
    from pipeline.store.fetch import fetch
    from sept_core.encoders import load_encoder

    return load_encoder(files.name, files.weights, files.text_model, fetch)
