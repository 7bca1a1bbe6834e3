"""Pengi with random weights in its authors' file format, and its published call chain to compare with.

Pengi's code is not on a package index. The reference below is its call chain with the real classes of transformers and
msclap: tokenizer -> CLIPModel's text model -> pooled state -> CLIP's projection -> projection; waveform -> HTSAT ->
projection.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import pre_tokenizers
from torch import Tensor, nn

from sept_core.encoders import Encoder, load_encoder

transformers = pytest.importorskip("transformers")

TEXTS = ["rain", "this is a sound of dog bark", "the engine of a helicopter far away", "Sea Waves crashing"]
START, END = "<|startoftext|>", "<|endoftext|>"
FOLDER = "clip-vit-base-patch16"
TEXT_LEN = 40  # Pengi pads and cuts texts to it
DIM = 1024


class ReferenceProjection(nn.Module):
    """The projection of both encoders, with its dropout."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, dim, bias=False)
        self.linear2 = nn.Linear(dim, dim, bias=False)
        self.layer_norm = nn.LayerNorm(dim)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        first = self.linear1(x)
        return self.layer_norm(first + self.drop(self.linear2(nn.functional.gelu(first))))


class ReferenceText(nn.Module):
    """The text encoder, ``caption_encoder`` in the file."""

    def __init__(self, clip: Any, dim: int) -> None:
        super().__init__()
        self.base = clip.text_model
        self.clip_text_projection = clip.text_projection
        self.projection = ReferenceProjection(clip.config.projection_dim, dim)

    def forward(self, tokens: Any) -> Tensor:
        return self.projection(self.clip_text_projection(self.base(**tokens)[1]))


class Rest(nn.Module):
    """Stands for what the file also contains: the language model and the mapping networks."""

    def __init__(self) -> None:
        super().__init__()
        self.gpt = nn.Linear(3, 2)


class ReferenceAudio(nn.Module):
    """The audio encoder, ``audio_encoder`` in the file."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        from msclap.models.audio import get_audio_encoder

        # 44.1 kHz and 8 kHz are Pengi's settings, which HTSAT ignores.
        self.base = get_audio_encoder("HTSAT")(44100, 1024, 320, 64, 50, 8000, None, 768)
        self.projection = ReferenceProjection(768, dim)

    def forward(self, windows: Tensor) -> Tensor:
        return self.projection(self.base(windows)["embedding"])


@dataclass(frozen=True)
class Case:
    """The folder with the files, and the published call chain on weights loaded from the same file."""

    folder: Path
    text: ReferenceText
    audio: ReferenceAudio | None
    tokenizer: Any

    @property
    def weights(self) -> Path:
        return self.folder / "base.pth"

    def load(self) -> Encoder:
        return load_encoder("pengi", self.folder)

    def reference(self, texts: Sequence[str]) -> Tensor:
        """Features of plain texts, each padded to 40 tokens."""
        tokens = self.tokenizer(list(texts), max_length=TEXT_LEN, padding="max_length", return_tensors="pt")
        with torch.no_grad():
            return self.text(tokens)

    def word_ids(self, text: str) -> list[int]:
        """Ids of a text by the tokenizer, without start and end token."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def clip_tokenizer(folder: Path) -> Any:
    """A small tokenizer of CLIP's kind, saved to ``folder``: all bytes, and the words of ``TEXTS`` letter by letter."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = dict.fromkeys([*letters, *(f"{letter}</w>" for letter in letters)])
    merges = {}
    for word in sorted({word for text in TEXTS for word in text.lower().split()}):
        head, *tail = [*word[:-1], f"{word[-1]}</w>"]
        for letter in tail:
            merges[f"{head} {letter}"] = None
            head += letter
            pieces[head] = None
    # The end token has the highest id, as in CLIP: models with an old config.json are pooled at the highest id.
    vocabulary = {piece: index for index, piece in enumerate([*pieces, START, END])}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    tokenizer = transformers.CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    return tokenizer


def lively(module: nn.Module) -> None:
    """Fresh weights are so small that attention and position would hardly matter to a comparison."""
    with torch.no_grad():
        for key, value in module.named_parameters():
            if value.dim() > 1:
                value.mul_(5.0 if "position" in key else 3.0)


def build(root: Path, *, with_audio: bool = False, **sizes: int) -> Case:
    """Write ``base.pth`` and the text model's folder, then load the reference from the file.

    Args:
        root: An empty folder.
        with_audio: Whether the file has the audio encoder, of its only size (133 MB).
        sizes: Sizes of CLIP's text model; by default the published ones.
    """
    torch.manual_seed(0)
    tokenizer = clip_tokenizer(root / FOLDER)
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, **sizes},
        vision_config=vision,
        projection_dim=sizes.get("projection_dim", 512),
    )
    config.save_pretrained(root / FOLDER)  # of texts and images, as it is published
    parts: dict[str, nn.Module] = {"caption_encoder": ReferenceText(transformers.CLIPModel(config), DIM)}
    lively(parts["caption_encoder"])
    if with_audio:
        parts["audio_encoder"] = ReferenceAudio(DIM)
    state = nn.ModuleDict({**parts, "caption_decoder": Rest()}).state_dict()
    # transformers saved the positions with the weights when Pengi was trained.
    state["caption_encoder.base.embeddings.position_ids"] = torch.arange(77)[None]
    torch.save({"model": state}, root / "base.pth")
    fresh = {"caption_encoder": ReferenceText(transformers.CLIPModel(config), DIM)}
    if with_audio:
        fresh["audio_encoder"] = ReferenceAudio(DIM)
    saved = torch.load(root / "base.pth", weights_only=True)["model"]
    for name, module in fresh.items():
        own = {key.removeprefix(f"{name}."): value for key, value in saved.items() if key.startswith(f"{name}.")}
        own.pop("base.embeddings.position_ids", None)
        module.load_state_dict(own, strict=True)
        module.eval()
    return Case(root, fresh["caption_encoder"], fresh.get("audio_encoder"), tokenizer)
