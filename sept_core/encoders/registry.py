"""Encoders by name. Each loader imports its own libraries, so that loading one does not load those of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sept_core.datasets.pretraining import load_pretraining
from sept_core.errors import InputError
from sept_core.suggestions import known_words

if TYPE_CHECKING:
    from sept_core.encoders.base import Encoder
    from sept_core.encoders.weights import Fetch, ModelFiles, Place

__all__ = ["ENCODERS", "known_encoder", "load_encoder"]


def _mini(files: ModelFiles) -> Encoder:
    from sept_core.encoders.mini import load_mini

    if files.weights is not None:
        raise InputError("mini comes with its weights", where=str(files.weights), fix="leave weights out")
    if files.text_model is not None:
        raise InputError("mini comes with its tokenizer", where=str(files.text_model), fix="leave text_model out")
    # By content, source and sound, so that a copy of ESC-10 or FSDD under another name is recognised.
    return replace(load_mini(), pretraining=load_pretraining("mini"))


def _msclap_2022(files: ModelFiles) -> Encoder:
    from sept_core.encoders.msclap import load_msclap

    return load_msclap("msclap-2022", files)


def _msclap_2023(files: ModelFiles) -> Encoder:
    from sept_core.encoders.msclap import load_msclap

    return load_msclap("msclap-2023", files)


def _pengi(files: ModelFiles) -> Encoder:
    from sept_core.encoders.pengi import load_pengi

    return load_pengi(files)


def _laion_clap(files: ModelFiles) -> Encoder:
    from sept_core.encoders.laion import load_laion

    return load_laion(files)


ENCODERS: dict[str, Callable[[ModelFiles], Encoder]] = {
    "mini": _mini,
    "msclap-2022": _msclap_2022,
    "msclap-2023": _msclap_2023,
    "laion-clap": _laion_clap,
    "pengi": _pengi,
}


def known_encoder(name: str) -> str:
    """Check that an encoder has this name, and return it.

    Raises:
        InputError: No encoder has this name.
    """
    if name not in ENCODERS:
        raise InputError(f"unknown encoder '{name}'", fix=known_words(name, sorted(ENCODERS)))
    return name


def load_encoder(
    name: str, weights: Place | None = None, text_model: Place | None = None, fetch: Fetch | None = None
) -> Encoder:
    """Load an encoder by name, on the CPU, in float32, frozen and in ``eval()``.

    Args:
        name: One of ``ENCODERS``.
        weights: Its weights: a local path, ``hub:OWNER/NAME`` to download them, or an address that ``fetch``
            understands. None for an earlier download on this machine (``mini`` has its own).
        text_model: Folder of the text model's tokenizer, in the same form, if it is not next to the weights.
        fetch: Copies an address such as ``s3://bucket/folder`` to a local file or folder.

    Raises:
        InputError: No encoder has this name, or its files are missing, damaged or of another architecture.
    """
    loader = ENCODERS[known_encoder(name)]
    from sept_core.encoders.weights import ModelFiles

    return loader(ModelFiles(weights, text_model, fetch))
