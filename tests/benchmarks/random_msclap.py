"""msclap with random weights at its real size, in the files of the package, for measurements that do not depend on
weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gpu.encoders import random_encoder, text_model

from sept_core.encoders.msclap import VERSIONS

__all__ = ["write_msclap"]


def write_msclap(name: str, folder: Path) -> Path:
    """Write ``CLAP_weights_*.pth`` and the tokenizer beside it; ``load_encoder(name, folder)`` reads them.

    Args:
        name: ``msclap-2022`` or ``msclap-2023``.
        folder: An existing folder; takes about 650 MB.

    Returns:
        ``folder``.
    """
    pytest.importorskip("msclap.models.clap")
    encoder = random_encoder(name)
    _, tokenizer = text_model(name, small=True)
    tokenizer.save_pretrained(folder)
    text, audio = encoder.text, encoder.load_audio()
    parts = {"caption_encoder.base": text.base, "caption_encoder.projection": text.projection}
    parts["audio_encoder"] = audio.encoder
    state = {f"{prefix}.{key}": value for prefix, part in parts.items() for key, value in part.state_dict().items()}
    content = {"model": {**state, "logit_scale": torch.tensor(1 / 0.07).log()}}
    torch.save(content, folder / VERSIONS[name].file)
    return folder
