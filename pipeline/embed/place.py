"""Where an encoder is loaded from, in this process and in others."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sept_core.encoders import AudioTower, Encoder

__all__ = ["LOADER", "EncoderPlace", "load"]

LOADER = f"{__name__}:load"


def load(name: str, weights: str | None, text_model: str | None) -> Encoder:
    """An encoder of the registry; see `sept_core.encoders.load_encoder`."""
    from pipeline.store.fetch import fetch
    from sept_core.encoders import load_encoder

    return load_encoder(name, weights, text_model, fetch)


@dataclass(frozen=True)
class EncoderPlace:
    """What every process loads the encoder by.

    Attributes:
        name: Of the encoder.
        weights: Local path, ``s3://`` address or ``hub:OWNER/NAME``; None for an earlier download.
        text_model: Where its tokenizer lies, likewise.
        loader: ``package.module:function``, called with the three above.
    """

    name: str
    weights: str | None = None
    text_model: str | None = None
    loader: str = LOADER

    def load(self) -> Encoder:
        """The encoder.

        Raises:
            InputError: Unknown, or its files are missing or not its own.
        """
        module, _, function = self.loader.partition(":")
        encoder: Encoder = getattr(importlib.import_module(module), function)(self.name, self.weights, self.text_model)
        return encoder

    def load_audio(self) -> AudioTower:
        """Its audio tower."""
        return self.load().load_audio()
