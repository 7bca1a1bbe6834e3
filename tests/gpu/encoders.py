"""The four encoders in memory: ``mini`` as it ships, the others with random weights of the published architecture.

Speed and memory do not depend on the values of weights. Tokenizers are trained on the class names and neighbours that
ship
with this package, to about 1.5 tokens a word.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers, trainers

from sept_core.datasets import DATASETS
from sept_core.encoders import AudioTower, Encoder, TextTower, load_encoder
from sept_core.encoders.msclap import VERSIONS, MsclapAudioTower, Projection, audio_encoder
from sept_core.semantic import load_neighbors

from .bench import MissingError

__all__ = ["ENCODERS", "encoder_on", "random_encoder", "text_model", "write_tokenizer"]

ENCODERS = ("mini", "msclap-2022", "msclap-2023", "laion-clap")
VOCABULARY = 2000
BERT_MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_MARKS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}

warnings.filterwarnings("ignore", message="torch.meshgrid")  # msclap's audio encoder calls it the old way


@lru_cache(maxsize=4)
def random_encoder(name: str, small: bool = False) -> Encoder:
    """An encoder on the CPU, frozen, the same at every call. ``small``: two narrow layers in place of a text model."""
    if name == "mini":
        return load_encoder("mini")
    torch.manual_seed(0)
    base, tokenizer = text_model(name, small)
    width = base.config.hidden_size
    if name == "laion-clap":
        from transformers import ClapTextConfig
        from transformers.models.clap.modeling_clap import ClapProjectionLayer

        from sept_core.encoders.bidirectional import RobertaTextTower

        projection = ClapProjectionLayer(ClapTextConfig(hidden_size=width))
        text: TextTower = RobertaTextTower(base, projection, tokenizer, name=name, dim=512, max_tokens=511)
        audio: Callable[[], AudioTower] = _laion_audio
    else:
        from sept_core.encoders.bidirectional import BertTextTower
        from sept_core.encoders.gpt2 import Gpt2TextTower

        version = VERSIONS[name]
        projection = Projection(width, version.dim)
        if name == "msclap-2022":
            text = BertTextTower(
                base, projection, tokenizer, name=name, dim=version.dim, max_tokens=version.text_len - 1
            )
        else:
            text = Gpt2TextTower(base, projection, tokenizer, version.dim, version.text_len)
        audio = partial(_msclap_audio, name)
    return Encoder(name, text.eval().requires_grad_(False), audio, 1 / 0.07, f"random {name}")


@lru_cache(maxsize=4)
def encoder_on(name: str, device: str, small: bool = False) -> Encoder:
    """`random_encoder` with a text tower of its own on ``device``."""
    encoder = random_encoder(name, small)
    return encoder if device == "cpu" else replace(encoder, text=copy.deepcopy(encoder.text).to(device))


def text_model(name: str, small: bool = False) -> tuple[Any, Any]:
    """The text model of an encoder with random weights, and a tokenizer of transformers for it."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(name, Path(folder))
        file = partial("{}/{}".format, folder)
        if name == "msclap-2023":
            tokenizer: Any = transformers.GPT2TokenizerFast(file("vocab.json"), file("merges.txt"))
            sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4} if small else {}
            base: Any = transformers.GPT2Model(transformers.GPT2Config(**sizes))
        elif name == "msclap-2022":
            tokenizer = transformers.BertTokenizerFast(file("vocab.txt"))
            base = transformers.BertModel(transformers.BertConfig(**(SMALL if small else {})))
        else:
            tokenizer = transformers.RobertaTokenizerFast(file("vocab.json"), file("merges.txt"))
            base = transformers.ClapTextModel(transformers.ClapTextConfig(**(SMALL if small else {})))
    with torch.no_grad():
        for key, value in base.named_parameters():
            # Initial weights are so small that all texts would have the same features, and comparing losses would mean
            # nothing.
            if value.dim() == 2 and "wpe" not in key and "position" not in key:
                value.mul_(2.0)
    return base, tokenizer


def write_tokenizer(name: str, folder: Path) -> None:
    """Train a tokenizer of an encoder's kind and write its vocabulary into ``folder``."""
    if name == "laion-clap":
        roberta = ByteLevelBPETokenizer()
        roberta.train_from_iterator(_texts(), VOCABULARY, special_tokens=ROBERTA_MARKS, show_progress=False)
        roberta.save_model(str(folder))
        return
    if name == "msclap-2023":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=BERT_MARKS, show_progress=False)
    tokenizer.train_from_iterator(_texts(), trainer)
    tokenizer.model.save(str(folder))


def _texts() -> Iterator[str]:
    for dataset in DATASETS:
        for name, terms in load_neighbors(dataset, protocol="cross-dataset").by_class.items():
            yield from (f" {text}" for text in (name, *terms))


def _msclap_audio(name: str) -> AudioTower:
    version = VERSIONS[name]
    torch.manual_seed(0)
    try:
        encoder = audio_encoder(version)
    except (ImportError, OSError) as error:
        raise MissingError(f"the audio tower of {name} needs the package msclap ({error})") from error
    return MsclapAudioTower(version, encoder).eval().requires_grad_(False)


def _laion_audio() -> AudioTower:
    from transformers import ClapAudioConfig, ClapAudioModel, ClapFeatureExtractor
    from transformers.models.clap.modeling_clap import ClapProjectionLayer

    from sept_core.encoders.laion import LaionAudioTower

    torch.manual_seed(0)
    config = ClapAudioConfig()
    extractor = ClapFeatureExtractor(truncation="rand_trunc")
    tower = LaionAudioTower(ClapAudioModel(config), ClapProjectionLayer(config), extractor, config.projection_dim)
    return tower.eval().requires_grad_(False)
