"""``pengi`` against its published call chain (``pengi_made``), on random weights in its authors' file format."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from encoder_contract import CONTEXT, NAMES, check_audio, check_encoder, check_text
from pengi_made import FOLDER, TEXTS, Case, build

from sept_core.encoders import Encoder, load_encoder
from sept_core.encoders.prefix import PromptBank, encode_prompts
from sept_core.errors import InputError

SMALL = {
    "vocab_size": 600,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "projection_dim": 12,
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return build(tmp_path_factory.mktemp("pengi"), **SMALL)


@pytest.fixture(scope="module")
def loaded(case: Case) -> Encoder:
    return case.load()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    root = tmp_path_factory.mktemp("whole")
    yield build(root, with_audio=True, **SMALL)
    shutil.rmtree(root)  # hundreds of megabytes


@pytest.fixture
def folder(case: Case, tmp_path: Path) -> Path:
    """A copy of the files, to damage."""
    return Path(shutil.copytree(case.folder, tmp_path / "copy"))


def check_texts(case: Case, encoder: Encoder) -> None:
    ours = encoder.text.encode(TEXTS)
    torch.testing.assert_close(ours, case.reference(TEXTS), rtol=1e-5, atol=1e-5)
    assert torch.pdist(F.normalize(ours, dim=-1)).min() > 1e-3  # or the comparison would show nothing


def check_clips(case: Case, encoder: Encoder) -> None:
    tower = encoder.load_audio()
    size = 7 * 44100
    generator = torch.Generator().manual_seed(1)
    tone = torch.sin(torch.arange(size + 50_001) * 0.05)
    clips = [
        0.3 * torch.randn(44107, generator=generator),  # short: repeated
        tone[:size],
        0.2 * torch.randn(len(tone), generator=generator) + 0.5 * tone,  # long: cropped
    ]
    windows = [clips[0].repeat(8)[:size], clips[1], clips[2][25_000 : 25_000 + size]]
    with torch.no_grad():
        theirs = F.normalize(case.audio(torch.stack(windows)), dim=-1)
        ours = tower(torch.stack([tower.prepare(clip) for clip in clips]))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert torch.pdist(ours).min() > 1e-3


def test_the_text_tower_keeps_the_contract(loaded):
    check_encoder(loaded)
    check_text(loaded.text)
    assert loaded.logit_scale == 100
    assert (loaded.text.dim, loaded.text.max_tokens, loaded.text.causal) == (1024, 76, True)


def test_features_of_plain_texts_equal_the_published_chain(case, loaded):
    check_texts(case, loaded)


@pytest.mark.parametrize("end", ["", "."])
def test_a_context_of_real_words_equals_the_published_feature_of_the_plain_text(case, loaded, end):
    ids = loaded.text.words(CONTEXT)
    assert ids.tolist() == case.word_ids(CONTEXT)
    bank = PromptBank.of(loaded.text, NAMES, end=end)
    theirs = case.reference([f"{CONTEXT} {name}{end}" for name in NAMES])
    torch.testing.assert_close(encode_prompts(loaded.text, loaded.text.embed(ids), bank), theirs, rtol=1e-5, atol=1e-5)


def test_a_learned_context_replaces_the_tokens_after_the_start_token(case, loaded):
    # As PALM's CoOp does it: the embeddings of placeholder words are replaced by the context.
    torch.manual_seed(3)
    context = torch.randn(16, loaded.text.token_dim)
    layer = case.text.base.embeddings.token_embedding
    hook = layer.register_forward_hook(
        lambda _, __, embedded: torch.cat(
            [embedded[:, :1], context.expand(len(embedded), -1, -1), embedded[:, 17:]], dim=1
        )
    )
    theirs = case.reference([" ".join(["x"] * 16 + [f"{name}."]) for name in NAMES])
    hook.remove()
    ours = encode_prompts(loaded.text, context, PromptBank.of(loaded.text, NAMES, end="."))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours, case.reference(NAMES), atol=1e-2)


def test_a_prompt_may_fill_all_77_positions_and_no_more(loaded):
    bank = PromptBank.of(loaded.text, ["rain"])
    room = 76 - bank.longest
    assert encode_prompts(loaded.text, torch.randn(room, 16), bank).isfinite().all()
    with pytest.raises(InputError, match="exceed the tower's 76"):
        encode_prompts(loaded.text, torch.randn(room + 1, 16), bank)


def test_case_is_ignored_and_special_tokens_are_refused(loaded):
    with pytest.raises(InputError, match="'rain' and 'Rain': the same tokens"):
        PromptBank.of(loaded.text, ["rain", "Rain"])
    for token in ("<|startoftext|>", "<|ENDOFTEXT|>"):
        with pytest.raises(InputError, match="a special token of the text tower; take it out of the name"):
            PromptBank.of(loaded.text, [f"rain {token} dog"])


def test_names_saved_by_data_parallel_training_and_an_old_config_give_the_same_features(case, loaded, folder):
    state = torch.load(folder / "base.pth", weights_only=True)["model"]
    torch.save({"model": {f"module.{key}": value for key, value in state.items()}}, folder / "base.pth")
    config = folder / FOLDER / "config.json"
    content = config.read_text(encoding="utf-8")
    old = content.replace(f'"eos_token_id": {case.tokenizer.eos_token_id}', '"eos_token_id": 2')
    assert old != content
    config.write_text(old, encoding="utf-8")
    again = load_encoder("pengi", folder)
    assert torch.equal(again.text.encode(TEXTS), loaded.text.encode(TEXTS))
    assert again.fingerprint != loaded.fingerprint


def test_the_fingerprint_follows_the_files_and_not_their_place(loaded, folder):
    moved = (folder / FOLDER).rename(folder / "elsewhere")
    assert load_encoder("pengi", folder / "base.pth", moved).fingerprint == loaded.fingerprint
    (moved / "merges.txt").write_text((moved / "merges.txt").read_text() + "\n")
    assert load_encoder("pengi", folder, moved).fingerprint != loaded.fingerprint


def test_missing_files_say_in_one_line_where_to_get_them(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = "download base.pth from https://zenodo.org/records/8387083$"
    with pytest.raises(InputError, match=f"not on this machine; give a local path as weights, or {source}"):
        load_encoder("pengi")
    with pytest.raises(InputError, match=f"nowhere.pth: .*check the path, or {source}"):
        load_encoder("pengi", tmp_path / "nowhere.pth")
    with pytest.raises(InputError, match=f"not in this folder; put base.pth there, or {source}"):
        load_encoder("pengi", tmp_path)
    shutil.rmtree(folder / FOLDER)
    with pytest.raises(InputError, match="text_model='hub:openai/clip-vit-base-patch16'$"):
        load_encoder("pengi", folder)


def test_a_file_without_text_encoder_or_with_code_in_it_is_refused(folder):
    path = folder / "base.pth"
    state = torch.load(path, weights_only=True)["model"]
    without = {key: value for key, value in state.items() if not key.startswith("caption_encoder.projection")}
    torch.save({"model": without}, path)
    with pytest.raises(
        InputError, match="base.pth: .*not the weights of pengi .*4 missing, such as caption_encoder.proj"
    ):
        load_encoder("pengi", folder)
    torch.save({"model": state, "args": Path("code")}, path)
    with pytest.raises(InputError, match="base.pth: the weights cannot be read"):
        load_encoder("pengi", folder)


def test_another_text_model_is_refused_by_name(folder):
    (folder / FOLDER / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    with pytest.raises(InputError, match="config.json: describes a gpt2, not a clip_text_model"):
        load_encoder("pengi", folder)


@pytest.mark.slow
def test_audio_features_equal_the_published_chain(whole):
    encoder = whole.load()
    check_clips(whole, encoder)
    check_audio(encoder)


@pytest.mark.slow
def test_an_audio_encoder_that_is_not_in_the_file_is_refused_and_so_is_a_machine_without_msclap(loaded, monkeypatch):
    with pytest.raises(InputError, match="base.pth: .*missing, such as audio_encoder.base.htsat"):
        loaded.load_audio()
    for module in {"msclap", *(name for name in sys.modules if name.partition(".")[0] == "msclap")}:
        monkeypatch.setitem(sys.modules, module, None)  # importing it now fails
    with pytest.raises(InputError, match="pengi encodes audio with the package msclap.*; pip install msclap$"):
        loaded.load_audio()


@pytest.mark.long
def test_the_published_sizes_give_the_published_features(tmp_path):
    case = build(tmp_path, with_audio=True)
    encoder = case.load()
    check_texts(case, encoder)
    check_text(encoder.text)
    check_clips(case, encoder)
    shutil.rmtree(tmp_path)  # hundreds of megabytes
