"""A recording is found again however it was encoded, and no other is taken for it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from torchaudio.functional import resample

from sept_core.audio.waveform import decode_clip, load_clip
from sept_core.datasets.sound import THRESHOLD, same_sound, sound_distances, sound_of, sounding_like

AUDIO = Path(__file__).parents[4] / "shared" / "audio"
# The same fire, uploaded to Freesound twice.
TWINS = {"2-28314-A", "2-30322-A"}

needs_audio = [
    pytest.mark.audio,
    pytest.mark.skipif(not AUDIO.is_dir(), reason="needs the real audio folders beside the project"),
]


def written(waveform: Tensor, rate: int, **how: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, waveform.numpy(), rate, **how)
    return stream.getvalue()


COPIES: dict[str, Callable[[Tensor, int], bytes]] = {
    "mp3": lambda clip, rate: written(clip, rate, format="MP3", subtype="MPEG_LAYER_III"),
    "ogg": lambda clip, rate: written(clip, rate, format="OGG", subtype="VORBIS"),
    "22 kHz": lambda clip, rate: written(resample(clip, rate, 22_050), 22_050, format="WAV"),
    "one sample longer": lambda clip, rate: written(torch.cat([clip, clip.new_zeros(1)]), rate, format="WAV"),
    "later": lambda clip, rate: written(torch.cat([clip.new_zeros(rate // 20), clip]), rate, format="WAV"),
    "quieter, 48 kHz": lambda clip, rate: written(resample(0.3 * clip, rate, 48_000), 48_000, format="WAV"),
}


def real_clips(pattern: str, every: int) -> dict[str, Path]:
    return {path.stem: path for path in sorted(AUDIO.glob(pattern))[::every]}


def check_all(clips: dict[str, Path], copies: dict[str, Callable[[Tensor, int], bytes]]) -> None:
    decoded = {name: decode_clip(path) for name, path in clips.items()}
    sounds = [sound_of(load_clip(path, 16_000), 16_000) for path in clips.values()]
    names = [*clips]
    assert all(sounds)
    for copy, make in copies.items():
        again = [sound_of(*decode_clip(make(*decoded[name]))) for name in names]
        assert [*same_sound(sounds, again)] == [(row, row) for row in range(len(names))], copy
    distances = sound_distances(sounds, sounds)
    np.fill_diagonal(distances, np.inf)
    close = [{names[row], names[column]} for row, column in np.argwhere(distances < THRESHOLD + 0.03)]
    assert all(pair == TWINS for pair in close)


@needs_audio[0]
@needs_audio[1]
def test_copies_of_real_clips_are_found_and_no_other_clip_is_taken_for_one() -> None:
    clips = real_clips("esc10/*/*.ogg", 50) | real_clips("fsdd/recordings/*.wav", 90)
    # Takes of one speaker and one word are what comes closest.
    close = ("3_theo_13", "3_theo_14", "2_yweweler_14", "2_yweweler_6", "8_theo_0", "8_theo_12", "4_yweweler_0")
    clips |= {name: AUDIO / "fsdd/recordings" / f"{name}.wav" for name in close}
    check_all(clips, COPIES)


@pytest.mark.long
@needs_audio[0]
@needs_audio[1]
def test_copies_of_all_real_clips_are_found_and_no_other_clip_is_taken_for_one() -> None:
    check_all(real_clips("esc10/*/*.ogg", 1) | real_clips("fsdd/recordings/*.wav", 1), COPIES)


def steps(seed: int, seconds: float = 1.0, rate: int = 16_000) -> Tensor:
    """Noise whose colour changes often."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(20, int(seconds * rate / 20), generator=generator)
    spectrum = torch.fft.rfft(white) * torch.rand(20, white.shape[1] // 2 + 1, generator=generator).cumsum(1).sin()
    return 0.1 * torch.fft.irfft(spectrum, n=white.shape[1]).reshape(-1)


def test_silence_and_a_steady_tone_tell_too_little_and_are_like_nothing() -> None:
    time = torch.arange(80_000) / 16_000
    for plain in (torch.zeros(16_000), torch.zeros(1), (440 * 2 * torch.pi * time).sin()):
        assert sound_of(plain, 16_000) == ""
    sound = sound_of(steps(0), 16_000)
    assert len(sound) == 324
    assert [*same_sound(["", sound], ["", sound])] == [(1, 1)]
    assert np.isinf(sound_distances(["", sound], [""])).all()


def test_what_another_release_or_nobody_wrote_counts_as_unknown() -> None:
    sound = sound_of(steps(0), 16_000)
    for strange in ("no base64 at all", "AAAA", "B" + sound[1:], "sound", "é" * 324):
        assert [*same_sound([strange], [strange, sound])] == []


def test_the_same_sound_is_the_same_fingerprint_whatever_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    found = set()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found |= {sound_of(steps(0, 5.0), 16_000) for _ in range(2)}
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.1, 60.0])
def test_clips_of_any_length_have_one(seconds: float) -> None:
    clip = steps(1, seconds) if seconds >= 0.1 else torch.randn(int(16_000 * seconds))
    sound = sound_of(clip, 16_000)
    assert sounding_like([sound], [sound_of(torch.cat([clip.new_zeros(400), 0.5 * clip]), 16_000)]) == [0]


def test_many_are_compared_block_by_block() -> None:
    sounds = [sound_of(steps(seed, 0.3), 16_000) for seed in range(30)]
    many = sounds * 100
    assert sounding_like(many, sounds[:3]) == [row for row in range(len(many)) if row % 30 < 3]
    assert [*same_sound(many, sounds)] == [(row, row % 30) for row in range(len(many))]
