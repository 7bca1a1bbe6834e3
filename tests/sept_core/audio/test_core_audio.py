"""Decoding: what a clip becomes, and one clear line for every file that cannot become one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sept_core.audio.waveform import load_clip
from sept_core.errors import InputError


def _write(path: Path, samples: np.ndarray, rate: int = 16000, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def _sine(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_a_clip_at_the_asked_rate_comes_back_sample_for_sample(tmp_path: Path) -> None:
    samples = _sine(0.1, 16000)
    clip = load_clip(_write(tmp_path / "a.wav", samples), 16000)
    assert clip.dtype == torch.float32
    assert torch.equal(clip, torch.from_numpy(samples))


def test_channels_are_averaged_and_never_concatenated(tmp_path: Path) -> None:
    left, right = _sine(0.1, 16000), _sine(0.1, 16000, 880.0)
    clip = load_clip(_write(tmp_path / "a.wav", np.stack([left, right], axis=1)), 16000)
    assert torch.allclose(clip, torch.from_numpy((left + right) / 2), atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_another_rate_is_resampled_and_keeps_pitch_and_length(tmp_path: Path, rate: int) -> None:
    clip = load_clip(_write(tmp_path / "a.wav", _sine(1.0, rate), rate), 16000)
    assert abs(len(clip) - 16000) <= 1
    assert int(torch.fft.rfft(clip[:16000]).abs().argmax()) == 440


def test_ogg_is_decoded(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", _sine(0.5, 16000), 16000, format="OGG", subtype="VORBIS")
    assert len(load_clip(tmp_path / "a.ogg", 16000)) == 8000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.wav: no such audio file; "):
        load_clip(tmp_path / "none.wav", 16000)


@pytest.mark.parametrize("content", [b"", b"this is no audio at all", b"RIFF\x00\x00\x00\x00WAVE"])
def test_a_file_that_is_no_audio_gives_one_line_with_the_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.wav: cannot be decoded as audio") as caught:
        load_clip(path, 16000)
    assert "\n" not in str(caught.value)


def test_a_zero_length_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no samples"):
        load_clip(_write(tmp_path / "a.wav", np.zeros(0, np.float32)), 16000)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_samples_are_refused(tmp_path: Path, value: float) -> None:
    samples = _sine(0.1, 16000)
    samples[7] = value
    with pytest.raises(InputError, match="non-finite"):
        load_clip(_write(tmp_path / "a.wav", samples), 16000)


def test_where_torchaudio_cannot_load_only_resampling_fails_and_says_how_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None in sys.modules makes the import raise ImportError, as a torchaudio of another build would.
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    monkeypatch.setitem(sys.modules, "torchaudio.functional", None)
    path = _write(tmp_path / "a.wav", _sine(0.1, 8000), 8000)
    assert len(load_clip(path, 8000)) == 800
    with pytest.raises(InputError, match="pip install") as caught:
        load_clip(path, 16000)
    assert "\n" not in str(caught.value)
