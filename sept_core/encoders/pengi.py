"""The encoder ``pengi``: the audio encoder and the text encoder of Pengi (Deshmukh et al., NeurIPS 2023).

It is behind the tables of PALM, ZEBRA and SubT. Its weight file is ``base.pth``: msclap-2023's audio encoder (HTSAT,
44.1 kHz, 7 s) and CLIP's text model (ViT-B/16), each with msclap's projection into 1024 dimensions. The language model
in the file, which Pengi was trained to write captions with, is not read. (``base_no_text_enc.pth`` has no text encoder
and cannot be used.)

What differs from Pengi's and PALM's public code:

- Clips are mono and a long one is cropped at its centre. Both codes append the channels of a clip to one another, and
  crop at random.
- Both towers are in ``eval()``. PALM's training loop puts the frozen towers into training mode, so that its training
  features change from step to step: by dropout in the projections, stochastic depth, masks on the spectrogram, and
  batch norm, whose running statistics it changes too.
- Pengi cuts texts at 40 tokens. Here CLIP's 77 positions may be used, which were trained with CLIP and are frozen in
  Pengi; shorter texts have the same features.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sept_core.encoders.base import Encoder
from sept_core.encoders.clip import ClipTextTower
from sept_core.encoders.msclap import (
    MsclapVersion,
    Projection,
    clap_fingerprint,
    find_text_model,
    find_weights,
    load_audio,
    text_config,
)
from sept_core.encoders.tokenization import load_tokenizer
from sept_core.encoders.weights import load_exactly, read_state

if TYPE_CHECKING:
    from sept_core.encoders.weights import ModelFiles

__all__ = ["LOGIT_SCALE", "PENGI", "load_pengi"]

PENGI = MsclapVersion(
    name="pengi",
    file="base.pth",
    text_model="openai/clip-vit-base-patch16",
    text_len=77,
    audio_encoder="HTSAT",
    embedding=768,
    seconds=7,
    fmax=8000,
    repo="",
    download="download base.pth from https://zenodo.org/records/8387083",
)
"""The settings of Pengi's ``configs/base.yml``."""

LOGIT_SCALE = 100.0
"""The scale of PALM's code. Pengi has none of its own: it was trained to write captions, not by contrast."""

# The fingerprint includes this line: change it whenever a feature changes without a file changing.
_PREPROCESSING = f"pengi: mono, {PENGI.sample_rate} Hz, {PENGI.seconds} s, centre crop, repeat"


def load_pengi(files: ModelFiles) -> Encoder:
    """Load ``pengi``: text tower at once, audio tower when ``load_audio()`` is called (it needs the package msclap).

    Args:
        files: ``weights`` is ``base.pth`` or a folder that contains it; ``text_model`` a folder with CLIP's tokenizer,
            and with ``config.json`` if the text model is not the published one. If not given, it is looked for in the
            folder of the weights and in its subfolder ``clip-vit-base-patch16``.

    Raises:
        InputError: A file is missing, damaged or of another architecture.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast

    path = find_weights(PENGI, files)
    folder = find_text_model(PENGI, files, path.parent)
    config = text_config(CLIPTextConfig, folder)
    text = ClipTextTower(
        CLIPTextModel(config),
        Projection(config.projection_dim, PENGI.dim),
        load_tokenizer(CLIPTokenizerFast, folder, config.vocab_size),
        name=PENGI.name,
        dim=PENGI.dim,
    )
    load_exactly(text, read_state(path, PENGI.download), "caption_encoder.", name=PENGI.name, path=path)
    return Encoder(
        name=PENGI.name,
        text=text,
        load_audio=partial(load_audio, PENGI, path),
        logit_scale=LOGIT_SCALE,
        fingerprint=clap_fingerprint(path, folder, _PREPROCESSING),
    )
