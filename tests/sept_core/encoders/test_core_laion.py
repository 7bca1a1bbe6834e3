"""``laion-clap`` against transformers' own ClapModel and processor, on random weights saved by ``save_pretrained``.

The audio model has its real architecture; the text model its real width and two layers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_prompts import plain_prompts
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor

from sept_core.encoders import AudioTower, Encoder, load_encoder
from sept_core.encoders.prefix import PromptBank, encode_prompts
from sept_core.errors import InputError

transformers = pytest.importorskip("transformers")

TEXTS = ["rain", "this is a sound of dog bark", "the engine of a helicopter far away", "Sea Waves crashing"]
CONTEXT, NAMES = "this is a sound of", ["dog bark", "rain", "sea waves crashing"]
RATE, WINDOW = 48_000, 480_000

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """The folder of a model, and transformers' own loading of it."""

    folder: Path
    model: Any
    extractor: Any
    tokenizer: Any

    def reference(self, texts: Sequence[str]) -> Tensor:
        """transformers' own embeddings of plain texts, unit norm, in one padded batch."""
        with torch.no_grad():
            return self.model.get_text_features(**self.tokenizer(list(texts), padding=True, return_tensors="pt"))

    def reference_audio(self, clips: Sequence[Tensor]) -> Tensor:
        """transformers' own embeddings of waveforms, unit norm."""
        inputs = self.extractor([clip.numpy() for clip in clips], sampling_rate=RATE, return_tensors="pt")
        with torch.no_grad():
            return self.model.get_audio_features(**inputs)


def build(folder: Path) -> Case:
    torch.manual_seed(0)
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(TEXTS * 3, vocab_size=320, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    tokenizer = transformers.RobertaTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    config = transformers.ClapConfig(
        text_config={"num_hidden_layers": 2, "vocab_size": len(tokenizer)}, audio_config={}, logit_scale_init_value=18.5
    )
    model = transformers.ClapModel(config)
    with torch.no_grad():  # fresh weights are so small that attention and position would hardly matter
        for key, value in model.named_parameters():
            if value.dim() > 1:
                value.mul_(3.0)
            elif key == "logit_scale_t":
                value.add_(1.0)
    model.save_pretrained(folder)
    transformers.ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
    return Case(
        folder,
        transformers.ClapModel.from_pretrained(folder).eval(),
        transformers.ClapFeatureExtractor.from_pretrained(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
    )


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("laion-clap")
    yield build(folder)
    torch.set_num_threads(threads)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def loaded(case: Case) -> Encoder:
    return load_encoder("laion-clap", case.folder)


@pytest.fixture(scope="module")
def audio(loaded: Encoder) -> AudioTower:
    return loaded.load_audio()


@pytest.fixture
def folder(case: Case, tmp_path: Path) -> Path:
    """A copy of the model's folder to damage; the files are linked, so replace them, never write into them."""
    for path in case.folder.iterdir():
        (tmp_path / path.name).hardlink_to(path)
    return tmp_path


def rewrite(path: Path, **values: object) -> None:
    """Replace keys of a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8")) | values
    path.unlink()
    path.write_text(json.dumps(content), encoding="utf-8")


def test_audio_features_equal_transformers_on_the_same_waveform(case, audio, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    tone = torch.sin(torch.arange(WINDOW + 50_001) * 0.05)
    clips = [
        0.3 * torch.randn(3 * RATE + 7, generator=generator),  # short: three times, then silence
        tone[:WINDOW],
        0.2 * torch.randn(len(tone), generator=generator) + 0.5 * tone,  # long: cropped
    ]
    # Their crop starts anywhere; where it happens to start in the middle, it must be ours.
    monkeypatch.setattr(np.random, "randint", lambda low, high: (low + high - 1) // 2)
    ours = audio(torch.stack([audio.prepare(clip) for clip in clips]))
    assert ours.shape == (3, audio.dim)
    torch.testing.assert_close(ours, case.reference_audio(clips), rtol=0, atol=1e-5)
    assert torch.pdist(ours).min() > 1e-3  # or the comparison would show nothing


def test_a_long_clip_is_cropped_at_its_centre_every_time(audio):
    clip = torch.arange(WINDOW + 1000.0)
    for _ in range(2):
        assert torch.equal(audio.prepare(clip), clip[500 : 500 + WINDOW])


def test_features_of_plain_texts_equal_transformers_whatever_they_are_padded_to(case, loaded):
    ours = F.normalize(loaded.text.encode(TEXTS), dim=-1)
    torch.testing.assert_close(ours, case.reference(TEXTS), rtol=0, atol=1e-5)
    alone = torch.cat([loaded.text.encode([text]) for text in TEXTS])
    torch.testing.assert_close(F.normalize(alone, dim=-1), case.reference(TEXTS), rtol=0, atol=1e-5)
    assert torch.pdist(ours).min() > 1e-3


@pytest.mark.parametrize("end", ["", "."])
def test_a_context_of_real_words_equals_transformers_embedding_of_the_plain_text(case, loaded, end):
    words = case.tokenizer(CONTEXT, add_special_tokens=False)["input_ids"]
    assert loaded.text.words(CONTEXT).tolist() == words
    context = loaded.text.embed(torch.tensor(words))
    bank = PromptBank.of(loaded.text, [f" {name}" for name in NAMES], end=end)
    theirs = case.reference([f"{CONTEXT} {name}{end}" for name in NAMES])
    for ours in (encode_prompts(loaded.text, context, bank), plain_prompts(loaded.text, context, bank, tokens=77)):
        torch.testing.assert_close(F.normalize(ours, dim=-1), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("token", ["</s>", "<mask>", "<pad>"])
def test_a_literal_special_token_in_a_name_is_refused(loaded, token):
    with pytest.raises(InputError, match=f"contains {token}, a special token of the text tower"):
        PromptBank.of(loaded.text, ["rain", f"rain{token}"], end=".")


def test_gradients_reach_every_context_token_and_no_weight(loaded):
    bank = PromptBank.of(loaded.text, NAMES)
    context = 0.1 * torch.randn(2, 3, loaded.text.token_dim, generator=torch.Generator().manual_seed(2))
    context.requires_grad_()
    encode_prompts(loaded.text, context, bank).square().sum().backward()
    assert context.grad.abs().sum(dim=-1).min() > 0
    assert all(parameter.grad is None for parameter in loaded.text.parameters())


def test_the_encoder_is_frozen_in_float32_with_the_scale_of_audio_logits(case, loaded, audio):
    for tower in (loaded.text, audio):
        assert not any(module.training for module in tower.modules())
        assert not any(parameter.requires_grad for parameter in tower.parameters())
        assert {parameter.dtype for parameter in tower.parameters()} == {torch.float32}
    assert loaded.logit_scale == pytest.approx(18.5)
    assert (audio.sample_rate, audio.seconds, audio.dim) == (48_000, 10.0, loaded.text.dim)


def test_the_longest_text_fills_roberta_s_positions_and_a_longer_one_is_refused(loaded):
    longest = torch.zeros(1, loaded.text.max_tokens, loaded.text.token_dim)
    assert torch.isfinite(loaded.text(longest, torch.tensor([loaded.text.max_tokens]))).all()
    with pytest.raises(InputError, match="lower n_ctx"):
        loaded.text(F.pad(longest, (0, 0, 0, 1)), torch.tensor([3]))
    with pytest.raises(InputError, match="the text 'rain rain.* the text tower of laion-clap takes 511"):
        loaded.text.tokenize([" ".join(["rain"] * 600)])
    with pytest.raises(InputError, match="'' has no tokens"):
        loaded.text.tokenize(["rain", ""])


def test_weights_in_torch_s_format_and_half_precision_give_the_same_encoder_but_another_fingerprint(loaded, folder):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    again = load_encoder("laion-clap", folder)
    assert torch.equal(again.text.encode(TEXTS), loaded.text.encode(TEXTS))
    assert again.fingerprint != loaded.fingerprint
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    save_file(halves, folder / "model.safetensors")
    half = load_encoder("laion-clap", folder).text
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    torch.testing.assert_close(half.encode(TEXTS), loaded.text.encode(TEXTS), rtol=0.05, atol=0.05)


def test_the_fingerprint_follows_weights_preprocessing_and_tokenizer(loaded, folder):
    assert load_encoder("laion-clap", folder).fingerprint == loaded.fingerprint
    seen = {loaded.fingerprint}
    for name in ("preprocessor_config.json", "tokenizer_config.json", "config.json"):
        rewrite(folder / name, changed=1)
        seen.add(load_encoder("laion-clap", folder).fingerprint)
    assert len(seen) == 4


def test_files_are_found_through_fetch_and_the_tokenizer_may_lie_elsewhere(case, loaded, folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("tokenizer")
    for name in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).rename(elsewhere / name)
    places = {"s3://bucket/clap": folder, "s3://bucket/roberta": elsewhere}
    fetched = load_encoder("laion-clap", "s3://bucket/clap", "s3://bucket/roberta", fetch=places.__getitem__)
    assert fetched.fingerprint == loaded.fingerprint
    with pytest.raises(InputError, match="no tokenizer in this folder"):
        load_encoder("laion-clap", folder)


def test_missing_files_say_in_one_line_how_to_get_them(folder, tmp_path_factory, monkeypatch):
    empty = tmp_path_factory.mktemp("empty")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(empty))
    with pytest.raises(InputError, match="not on this machine.*weights='hub:laion/clap-htsat-unfused'$"):
        load_encoder("laion-clap")
    with pytest.raises(InputError, match="not there.*weights='hub:laion/clap-htsat-unfused'$"):
        load_encoder("laion-clap", empty / "nowhere")
    with pytest.raises(InputError, match="neither model.safetensors nor pytorch_model.bin is there"):
        load_encoder("laion-clap", empty)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"preprocessor_config.json: no such file"):
        load_encoder("laion-clap", folder)


@pytest.mark.parametrize("damage", ["truncated", "rubbish", "empty"])
def test_a_corrupt_weight_file_gives_one_clear_line(folder, damage):
    path = folder / "model.safetensors"
    content = path.read_bytes()[:1_000_000]
    path.unlink()
    path.write_bytes({"truncated": content, "rubbish": b"rubbish" * 99, "empty": b""}[damage])
    with pytest.raises(InputError, match="model.safetensors: the weights cannot be read") as caught:
        load_encoder("laion-clap", folder)
    assert "\n" not in str(caught.value)


def test_a_model_of_another_architecture_is_refused(folder):
    config = folder / "config.json"
    text = json.loads(config.read_text(encoding="utf-8"))["text_config"]
    rewrite(config, text_config=text | {"num_hidden_layers": 3})
    with pytest.raises(InputError, match=r"not the weights of laion-clap .*missing, such as text_model.*layer.2"):
        load_encoder("laion-clap", folder)
    rewrite(config, text_config=text | {"max_position_embeddings": 130})
    with pytest.raises(InputError, match=r"of another shape, such as text_model.embeddings"):
        load_encoder("laion-clap", folder)
    rewrite(config, model_type="clip")
    with pytest.raises(InputError, match=r"config.json: describes a clip, not a clap"):
        load_encoder("laion-clap", folder)


def test_fused_models_and_other_paddings_are_refused(folder):
    audio = json.loads((folder / "config.json").read_text(encoding="utf-8"))["audio_config"]
    rewrite(folder / "preprocessor_config.json", padding="repeat")
    with pytest.raises(InputError, match="padding 'repeat' is not 'repeatpad'"):
        load_encoder("laion-clap", folder)
    rewrite(folder / "config.json", audio_config=audio | {"enable_fusion": True})
    with pytest.raises(InputError, match="fused CLAP takes random crops"):
        load_encoder("laion-clap", folder)
