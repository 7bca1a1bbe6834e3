"""The contract of encoders, on ``mini`` and on the encoder of docs/encoder.md as the page has it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from encoder_contract import check_audio, check_encoder, check_text
from msclap_made import bert_tokenizer
from safetensors.torch import save_file

from sept_core.encoders import ENCODERS, load_encoder
from sept_core.errors import InputError

transformers = pytest.importorskip("transformers")

PAGE = Path(__file__).parents[3] / "docs" / "encoder.md"


def test_mini_keeps_the_contract():
    encoder = load_encoder("mini")
    check_encoder(encoder)
    check_text(encoder.text)
    check_audio(encoder)


@pytest.fixture
def page(monkeypatch) -> ModuleType:
    """The page's file as a module, and its encoder in the registry by the page's lines."""
    code, line, _ = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    module = ModuleType("sept_core.encoders.speech_clap")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    registry = dict(vars(sys.modules["sept_core.encoders.registry"]))
    exec(compile(f"from __future__ import annotations\n{line}", str(PAGE), "exec"), registry)
    monkeypatch.setitem(ENCODERS, module.NAME, registry["_speech_clap"])
    return module


@pytest.fixture
def folder(page, tmp_path) -> Path:
    """The files of a small random model."""
    torch.manual_seed(0)
    tokenizer = bert_tokenizer(tmp_path / "text")
    text_config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    audio_config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    text_config.save_pretrained(tmp_path / "text")
    audio_config.save_pretrained(tmp_path / "audio")
    text = torch.nn.ModuleDict(
        {"base": transformers.BertModel(text_config), "projection": torch.nn.Linear(16, page.DIM)}
    )
    with torch.no_grad():
        for value in text.parameters():
            value.mul_(3.0)
    parts = {"text": text, "audio": page.SpeechTower(audio_config)}
    save_file(
        {f"{part}.{key}": value for part, module in parts.items() for key, value in module.state_dict().items()},
        tmp_path / "model.safetensors",
    )
    return tmp_path


def test_the_encoder_of_the_page_keeps_the_contract(page, folder):
    encoder = load_encoder("speech-clap", folder)
    assert load_encoder("speech-clap", folder).fingerprint == encoder.fingerprint
    check_encoder(encoder)
    check_text(encoder.text)
    check_audio(encoder)
    with pytest.raises(InputError, match="the files of speech-clap are not on this machine; give a local path"):
        load_encoder("speech-clap")
