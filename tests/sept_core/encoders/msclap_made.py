"""Tiny encoders of msclap with random weights, saved as the published ones are."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor

from sept_core.encoders import Encoder, load_encoder

transformers = pytest.importorskip("transformers")

clap_wrapper = pytest.importorskip("msclap.CLAPWrapper")

TEXTS = ["rain", "this is a sound of dog bark", "the engine of a helicopter far away", "Sea Waves crashing"]

RATE = 44100


@dataclass(frozen=True)
class Case:
    """One version: the folder that holds its files, and the package's own wrapper of the same weights."""

    name: str
    folder: Path
    weights: Path
    wrapper: Any

    def load(self) -> Encoder:
        return load_encoder(self.name, self.folder)

    def reference(self, texts: Sequence[str]) -> Tensor:
        """The package's own embeddings of plain texts."""
        return self.wrapper.get_text_embeddings(list(texts))

    def word_ids(self, text: str) -> list[int]:
        """Ids of a text by the package's tokenizer, without start and end token."""
        return self.wrapper.tokenizer(text, add_special_tokens=False)["input_ids"]


def gpt2_tokenizer(folder: Path) -> transformers.GPT2TokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    folder.mkdir()
    tokenizer.model.save(str(folder))
    return transformers.GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))


def bert_tokenizer(folder: Path) -> transformers.BertTokenizerFast:
    words = sorted({word.lower() for text in TEXTS for word in text.split()} - {"crashing"})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, "crash", "##ing"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return transformers.BertTokenizerFast(str(folder / "vocab.txt"))


def lively(module: torch.nn.Module) -> torch.nn.Module:
    """Fresh weights are so small that attention and position would hardly matter to a comparison."""
    with torch.no_grad():
        for key, value in module.named_parameters():
            if "LayerNorm" not in key and "ln_" not in key and "norm" not in key:
                value.mul_(3.0)
    return module


CLAP_SETTINGS = (
    *("window_size", "hop_size", "mel_bins", "fmin", "fmax", "out_emb"),
    *("text_model", "transformer_embed_dim", "d_proj"),
)


def save_as_published(version: str, path: Path) -> None:
    """Random weights of the package's own model, with the extra buffers that the published files hold."""
    text = (Path(clap_wrapper.__file__).parent / f"configs/config_{version}.yml").read_text(encoding="utf-8")
    settings = vars(clap_wrapper.CLAPWrapper.read_config_as_args(None, text, is_config_str=True))
    state = clap_wrapper.CLAP(
        audioenc_name=settings["audioenc_name"],
        sample_rate=settings["sampling_rate"],
        classes_num=settings["num_classes"],
        **{key: settings[key] for key in CLAP_SETTINGS},
    ).state_dict()
    if version == "2023":
        state["caption_encoder.base.h.0.attn.bias"] = torch.ones(1, 1, 1024, 1024, dtype=torch.uint8)
        state["caption_encoder.base.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    else:
        state["caption_encoder.base.embeddings.position_ids"] = torch.arange(512)[None]
    torch.save({"model": state}, path)


def build(root: Path, name: str) -> Case:
    """Write the package's own weight file and text model folder, then load them with the package."""
    torch.manual_seed(0)
    version = name.removeprefix("msclap-")
    if version == "2023":
        folder = root / "gpt2"
        tokenizer = gpt2_tokenizer(folder)
        base = transformers.GPT2Model(transformers.GPT2Config(n_layer=2, vocab_size=len(tokenizer)))
    else:
        folder = root / "bert-base-uncased"
        tokenizer = bert_tokenizer(folder)
        base = transformers.BertModel(transformers.BertConfig(num_hidden_layers=2, vocab_size=len(tokenizer)))
    tokenizer.save_pretrained(folder)
    lively(base).save_pretrained(folder)
    weights = root / f"CLAP_weights_{version}.pth"
    with contextlib.chdir(root):  # the package asks transformers for "gpt2", which takes a folder of that name first
        save_as_published(version, weights)
        wrapper = clap_wrapper.CLAPWrapper(weights, version=version)
    (folder / "model.safetensors").unlink()  # ours takes the text model from the weight file
    return Case(name, root, weights, wrapper)
