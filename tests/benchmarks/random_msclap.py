"""The msclap encoders at full size with random weights, in the package's own file format, for benchmarks.

Speed and memory do not depend on what the weights say, so nothing has to be downloaded. The tokenizers are trained on
the class names and neighbours that ship with this package, to about 1.5 tokens a word.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from sept_core.datasets import DATASETS
from sept_core.encoders.msclap import VERSIONS
from sept_core.semantic import load_neighbors

__all__ = ["write_msclap"]

VOCABULARY = 2000
BERT_MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

warnings.filterwarnings("ignore", message="torch.meshgrid")  # msclap's audio encoder calls it the old way


def write_msclap(name: str, folder: Path) -> Path:
    """Write ``CLAP_weights_*.pth`` and the tokenizer beside it; ``load_encoder(name, folder)`` reads them.

    Args:
        name: ``msclap-2022`` or ``msclap-2023``.
        folder: An existing folder; takes about 650 MB.

    Returns:
        ``folder``.
    """
    transformers = pytest.importorskip("transformers")
    clap = pytest.importorskip("msclap.models.clap")
    torch.manual_seed(0)
    version = VERSIONS[name]
    if version.text_model == "gpt2":
        base = transformers.GPT2Model(transformers.GPT2Config())
        _train_bpe(folder)
        tokenizer = transformers.GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    else:
        base = transformers.BertModel(transformers.BertConfig())
        _train_wordpiece(folder)
        tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    with torch.no_grad():
        for key, value in base.named_parameters():
            # Fresh weights are so small that all texts would come out alike, and losses would compare nothing.
            if value.dim() == 2 and "wpe" not in key and "position" not in key:
                value.mul_(2.0)
    audio = clap.AudioEncoder(
        version.audio_encoder,
        version.embedding,
        version.dim,
        sample_rate=version.sample_rate,
        window_size=1024,
        hop_size=320,
        mel_bins=64,
        fmin=50,
        fmax=version.fmax,
        classes_num=527,
    )
    parts = {
        "caption_encoder.base": base,
        "caption_encoder.projection": clap.Projection(base.config.hidden_size, version.dim),
        "audio_encoder": audio,
    }
    state = {f"{prefix}.{key}": value for prefix, part in parts.items() for key, value in part.state_dict().items()}
    torch.save({"model": {**state, "logit_scale": torch.tensor(1 / 0.07).log()}}, folder / version.file)
    return folder


def _texts() -> Iterable[str]:
    for dataset in DATASETS:
        for name, terms in load_neighbors(dataset, protocol="cross-dataset").by_class.items():
            yield from (f" {text}" for text in (name, *terms))


def _train_bpe(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_texts(), trainer)
    tokenizer.model.save(str(folder))


def _train_wordpiece(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=BERT_MARKS, show_progress=False)
    tokenizer.train_from_iterator(_texts(), trainer)
    tokenizer.model.save(str(folder))
