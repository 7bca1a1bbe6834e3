"""The msclap encoders against the package itself, on random weights in its own file format.

The audio encoders have their real architecture; the text models have their real width and two layers.
"""

from __future__ import annotations

import copy
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from msclap_made import RATE, TEXTS, Case, build, clap_wrapper
from plain_prompts import plain_prompts

from sept_core.encoders import AudioTower, Encoder, load_encoder
from sept_core.encoders.gpt2 import Gpt2TextTower
from sept_core.encoders.prefix import PromptBank, encode_prompts
from sept_core.errors import InputError

CONTEXT, NAMES = "this is a sound of", ["dog bark", "rain", "sea waves crashing"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session", params=["msclap-2023", "msclap-2022"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp(request.param)
    yield build(root, request.param)
    torch.set_num_threads(threads)
    shutil.rmtree(root)  # hundreds of megabytes


@pytest.fixture(scope="session")
def loaded(case: Case) -> Encoder:
    return case.load()


@pytest.fixture(scope="session")
def audio(loaded: Encoder) -> AudioTower:
    return loaded.load_audio()


@pytest.fixture
def folder(case: Case, tmp_path: Path) -> Path:
    """A copy of the case's folder to damage; the weights are linked, so replace them, never write into them."""
    for path in case.folder.rglob("*"):
        target = tmp_path / path.relative_to(case.folder)
        if path.is_dir():
            target.mkdir()
        else:
            target.hardlink_to(path)
    return tmp_path


def test_audio_features_equal_the_packages_on_the_same_waveform(case, loaded, audio, monkeypatch):
    window = round(audio.seconds * audio.sample_rate)
    generator = torch.Generator().manual_seed(1)
    tone = torch.sin(torch.arange(window + 50_001) * 0.05)
    clips = [
        0.3 * torch.randn(RATE + 7, generator=generator),  # short: repeated
        tone[:window],
        0.2 * torch.randn(len(tone), generator=generator) + 0.5 * tone,  # long: cropped
    ]
    named = {f"{index}.wav": clip for index, clip in enumerate(clips)}
    monkeypatch.setattr(case.wrapper, "read_audio", lambda path, resample: (named[path][None], RATE))
    # The package's crop starts anywhere; where it happens to start in the middle, it must be ours.
    monkeypatch.setattr(clap_wrapper.random, "randrange", lambda stop: stop // 2)
    theirs = F.normalize(case.wrapper.get_audio_embeddings(list(named)), dim=-1)
    ours = audio(torch.stack([audio.prepare(clip) for clip in clips]))
    assert ours.shape == (3, audio.dim)
    assert audio.dim == loaded.text.dim
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert torch.pdist(ours).min() > 1e-3  # or the comparison would show nothing


def test_a_long_clip_is_cropped_at_its_centre_every_time(audio):
    window = round(audio.seconds * audio.sample_rate)
    clip = torch.arange(window + 1000.0)
    for _ in range(2):
        assert torch.equal(audio.prepare(clip), clip[500 : 500 + window])


def test_features_of_plain_texts_equal_the_packages(case, loaded):
    ours = loaded.text.encode(TEXTS)
    torch.testing.assert_close(ours, case.reference(TEXTS), rtol=1e-5, atol=1e-5)
    assert torch.pdist(F.normalize(ours, dim=-1)).min() > 1e-3


@pytest.mark.parametrize("end", ["", "."])
def test_a_context_of_real_words_equals_the_packages_embedding_of_the_plain_text(case, loaded, end):
    ids = loaded.text.words(CONTEXT)
    assert ids.tolist() == case.word_ids(CONTEXT)
    context = loaded.text.embed(ids)
    bank = PromptBank.of(loaded.text, [f" {name}" for name in NAMES], end=end)
    theirs = case.reference([f"{CONTEXT} {name}{end}" for name in NAMES])
    torch.testing.assert_close(encode_prompts(loaded.text, context, bank), theirs, rtol=1e-5, atol=1e-5)


def test_encoding_together_or_one_by_one_gives_the_same_features_and_gradients(loaded):
    tower = copy.deepcopy(loaded.text).double()
    bank = PromptBank.of(tower, NAMES)
    torch.manual_seed(2)
    context = 0.1 * torch.randn(2, 3, tower.token_dim, dtype=torch.float64)
    weights = torch.randn(2, len(NAMES), tower.dim, dtype=torch.float64)
    outcomes = []
    for encode in (encode_prompts, partial(plain_prompts, tokens=tower.max_tokens)):
        learned = context.clone().requires_grad_()
        features = encode(tower, learned, bank)
        outcomes.append((features.detach(), torch.autograd.grad((features * weights).sum(), learned)[0]))
    for mine, plain in zip(*outcomes, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-9, atol=1e-10)
    assert outcomes[0][1].abs().min(dim=-1).values.min() > 0  # every context token has a say


def test_the_2023_tower_is_causal_and_shares_its_prefix(case, loaded):
    assert loaded.text.causal == isinstance(loaded.text, Gpt2TextTower) == (case.name == "msclap-2023")


def test_the_encoder_is_frozen_in_float32_with_the_weights_own_scale(case, loaded, audio):
    for tower in (loaded.text, audio):
        assert not any(module.training for module in tower.modules())
        assert not any(parameter.requires_grad for parameter in tower.parameters())
        assert {parameter.dtype for parameter in tower.parameters()} == {torch.float32}
    assert loaded.logit_scale == pytest.approx(case.wrapper.clap.logit_scale.exp().item())
    assert torch.equal(loaded.text.encode(TEXTS), loaded.text.encode(TEXTS))


def test_an_exclamation_mark_is_stripped_where_it_would_move_the_pooling(case, loaded):
    kept = {"msclap-2023": "dog bark", "msclap-2022": "dog bark!"}[case.name]
    ours = loaded.text.encode(["dog bark!", "rain and thunder"])
    torch.testing.assert_close(ours[:1], case.reference([kept]), rtol=1e-5, atol=1e-5)


def test_names_are_the_same_where_their_tokens_are_and_only_there(case, loaded):
    # What is stripped or folded by one version's tokenizer is told apart by the other's.
    same, apart = {
        "msclap-2023": (["rain", "rain!"], ["rain", "Rain"]),
        "msclap-2022": (["rain", "Rain"], ["rain", "rain!"]),
    }[case.name]
    for end in ("", "."):
        with pytest.raises(InputError, match=f"'rain' and '{same[1]}': the same tokens"):
            PromptBank.of(loaded.text, same, end=end)
        assert len(PromptBank.of(loaded.text, apart, end=end)) == 2


def test_a_name_of_which_nothing_is_left_is_refused_with_the_full_stop_too(case, loaded):
    if case.name == "msclap-2023":
        for end in ("", "."):
            with pytest.raises(InputError, match="has no tokens|leaves no token"):
                PromptBank.of(loaded.text, ["rain", "!"], end=end)


def test_a_literal_special_token_in_a_name_is_refused(case, loaded):
    special = {"msclap-2023": ["<|endoftext|>"], "msclap-2022": ["[SEP]", "[cls]", "[mask]"]}[case.name]
    for token in special:
        with pytest.raises(InputError, match="a special token of the text tower; take it out of the name"):
            PromptBank.of(loaded.text, ["rain", f"rain {token} dog"], end=".")


@pytest.mark.parametrize("text", ["", "  "])
def test_a_text_without_tokens_is_refused(loaded, text):
    with pytest.raises(InputError, match="has no tokens"):
        loaded.text.tokenize(["rain", text])


def test_a_text_longer_than_the_package_pads_to_is_refused(loaded):
    with pytest.raises(InputError, match="the text 'rain rain.* tokens, the text tower of msclap.* takes"):
        loaded.text.tokenize([" ".join(["rain"] * 200)])
    too_long = torch.zeros(1, loaded.text.max_tokens + 1, loaded.text.token_dim)
    with pytest.raises(InputError, match="lower n_ctx"):
        loaded.text(too_long, torch.tensor([3]))


def test_the_fingerprint_follows_the_files_and_not_their_place(case, loaded, folder):
    moved = load_encoder(case.name, folder / case.weights.name)
    assert moved.fingerprint == loaded.fingerprint
    text_folder = next(path for path in folder.iterdir() if path.is_dir())
    config = text_folder / "tokenizer_config.json"
    content = config.read_text(encoding="utf-8")
    config.unlink()
    config.write_text(content + "\n", encoding="utf-8")
    assert load_encoder(case.name, folder).fingerprint != loaded.fingerprint


def test_weights_are_found_through_fetch_and_refused_without(case, loaded):
    asked = []

    def fetch(address: str) -> Path:
        asked.append(address)
        return case.folder

    assert load_encoder(case.name, "s3://bucket/clap", fetch=fetch).fingerprint == loaded.fingerprint
    assert asked == ["s3://bucket/clap"]
    with pytest.raises(InputError, match="s3://bucket/clap: .* cannot be fetched"):
        load_encoder(case.name, "s3://bucket/clap")


def test_the_hub_is_asked_only_by_name_and_then_for_the_tokenizer_as_well(
    case, loaded, folder, tmp_path_factory, monkeypatch
):
    text_folder = next(path for path in folder.iterdir() if path.is_dir())
    text_folder = text_folder.rename(tmp_path_factory.mktemp("hub") / text_folder.name)
    asked = []

    def snapshot(repo: str, allow_patterns: list[str], local_files_only: bool) -> str:
        asked.append((repo, local_files_only))
        if repo == "no/network":
            raise OSError("connection\nrefused")
        return str(folder if case.weights.name in allow_patterns else text_folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    encoder = load_encoder(case.name, "hub:microsoft/msclap")
    text_repo = {"msclap-2023": "gpt2", "msclap-2022": "bert-base-uncased"}[case.name]
    assert encoder.fingerprint == loaded.fingerprint
    assert asked == [("microsoft/msclap", False), (text_repo, False)]
    asked.clear()
    load_encoder(case.name)
    assert asked == [("microsoft/msclap", True), (text_repo, True)]
    with pytest.raises(InputError, match="hub:no/network: cannot be downloaded .connection refused.; check the name"):
        load_encoder(case.name, "hub:no/network")


def test_missing_weights_say_in_one_line_how_to_get_them(case, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="not on this machine.*weights='hub:microsoft/msclap'$"):
        load_encoder(case.name)
    with pytest.raises(InputError, match="nowhere.pth: .*not there.*hub:microsoft/msclap'$"):
        load_encoder(case.name, tmp_path / "nowhere.pth")
    with pytest.raises(InputError, match=f"{case.weights.name}: .*not in this folder"):
        load_encoder(case.name, tmp_path)


def test_a_missing_tokenizer_says_in_one_line_how_to_get_it(case, folder, tmp_path_factory, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    text_folder = next(path for path in folder.iterdir() if path.is_dir())
    shutil.rmtree(text_folder)
    with pytest.raises(InputError, match=f"text_model='hub:{text_folder.name}'$"):
        load_encoder(case.name, folder)
    with pytest.raises(InputError, match="no tokenizer in this folder"):
        load_encoder(case.name, folder, tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("damage", ["truncated", "rubbish", "empty", "not a model"])
def test_a_corrupt_weight_file_gives_one_clear_line(case, folder, damage):
    path = folder / case.weights.name
    content = path.read_bytes()[:1_000_000]
    path.unlink()
    if damage == "not a model":
        torch.save({"model": {"epoch": 3}}, path)
    else:
        path.write_bytes({"truncated": content, "rubbish": b"rubbish" * 99, "empty": b""}[damage])
    with pytest.raises(InputError, match="cannot be read|does not contain the weights") as caught:
        load_encoder(case.name, folder)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_refused_by_name(case, folder):
    text_folder = next(path for path in folder.iterdir() if path.is_dir())
    (text_folder / "config.json").unlink()  # so the published model, of twelve layers, is expected
    with pytest.raises(InputError, match=f"not the weights of {case.name} .*missing, such as caption_encoder.base"):
        load_encoder(case.name, folder)


def test_an_audio_encoder_of_another_architecture_is_refused_by_name(case, folder):
    state = torch.load(case.weights, weights_only=True, mmap=True)["model"]
    path = folder / case.weights.name
    path.unlink()
    torch.save({"model": {key.replace("audio_encoder.base", "audio_encoder.trunk"): state[key] for key in state}}, path)
    with pytest.raises(InputError, match=f"not the weights of {case.name} .*missing, such as audio_encoder"):
        load_encoder(case.name, folder).load_audio()


def test_the_text_model_of_the_other_version_is_refused_by_name(case, folder):
    other = {"msclap-2023": "msclap-2022", "msclap-2022": "msclap-2023"}[case.name]
    text_folder = next(path for path in folder.iterdir() if path.is_dir())
    with pytest.raises(InputError, match=r"config.json: describes a (gpt2|bert), not a (bert|gpt2); give the config"):
        load_encoder(other, folder / case.weights.name, text_folder)


def test_a_text_tower_needs_neither_msclap_nor_torchaudio_and_audio_says_what_it_lacks(case, loaded, monkeypatch):
    absent = ("msclap", "torchaudio", "torchlibrosa")
    for module in {*absent, *(name for name in sys.modules if name.partition(".")[0] in absent)}:
        monkeypatch.setitem(sys.modules, module, None)  # importing it now fails
    encoder = case.load()
    assert torch.equal(encoder.text.encode(TEXTS), loaded.text.encode(TEXTS))
    with pytest.raises(InputError, match=f"{case.name} encodes audio with the package msclap.*; pip install msclap$"):
        encoder.load_audio()


def test_mini_takes_no_weights():
    with pytest.raises(InputError, match="leave weights out"):
        load_encoder("mini", "weights.pth")
