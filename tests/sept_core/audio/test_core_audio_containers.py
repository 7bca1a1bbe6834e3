"""What containers tell: files that are cut off, damaged, endless, or of another kind than their name says."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_damage import encoded, sound

from sept_core.audio.frames import _mp3_frame
from sept_core.audio.waveform import decode_clip, load_clip
from sept_core.errors import InputError

RATE = 16000
SOUND = sound(3, 0.5, RATE)


def written(container: str, subtype: str | None = None, samples: np.ndarray = SOUND, rate: int = RATE) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=container, subtype=subtype)
    return stream.getvalue()


def reason(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        load_clip(data, RATE, where="clip")
    assert caught.value.where == "clip"
    assert "\n" not in str(caught.value)
    return caught.value.what


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        *(("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW")),
        *(("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("AU", "PCM_16"), ("AIFF", "PCM_24")),
        *(("FLAC", "PCM_S8"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS")),
        ("MP3", None),
    ],
)
def test_whole_files_come_out_as_the_decoder_gives_them(container: str, subtype: str | None) -> None:
    data = written(container, subtype)
    expected, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    waveform, own_rate = decode_clip(data)
    assert own_rate == rate
    # Two decoders of an mp3 differ in the last bits.
    assert torch.allclose(waveform, torch.from_numpy(expected), rtol=0, atol=4e-6 if container == "MP3" else 0)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        *((container, "PCM_16") for container in ("WAV", "WAVEX", "RF64", "AU", "AIFF", "FLAC")),
        *(("OGG", "VORBIS"), ("MP3", None)),
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused(container: str, subtype: str | None, share: float) -> None:
    data = written(container, subtype)
    assert "cannot be decoded as audio" in reason(data[: int(share * len(data))])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (bytes(5000), "only zeros"),
        (b"path,classname\na.wav,dog\n", "its content is text"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "none of wav, flac, ogg, mp3"),
        (b"RIFF\0\0\0\0WAVE", "ends before the samples"),
        (b"ID3\4\0\0\0\0\x7f\x7f" + bytes(100), "ID3 tag"),
        (b"fLaC", "cut off or damaged"),
    ],
)
def test_what_is_no_audio_says_what_it_is(content: bytes, why: str) -> None:
    assert why in reason(content)


@pytest.mark.parametrize("sizes", [(0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (36, 0), (0x7FFFF024, 0x7FFFF000)])
def test_a_wav_from_a_pipe_has_the_samples_that_are_there(sizes: tuple[int, int]) -> None:
    data = written("WAV", "PCM_16")
    riff, samples = (struct.pack("<I", size) for size in sizes)
    streamed = data[:4] + riff + data[8:40] + samples + data[44:]
    assert torch.equal(decode_clip(streamed)[0], decode_clip(data)[0])


@pytest.mark.parametrize(
    ("at", "field", "why"),
    [
        (24, struct.pack("<I", 16001), "16001 Hz and 2 bytes"),
        (22, struct.pack("<H", 2), "2 channels of 16 bits"),
        (40, struct.pack("<I", 15999), "not a multiple of 2"),
        (40, struct.pack("<I", 12000), "damaged: "),
        (40, struct.pack("<I", 16002), "promises 16002 bytes of samples, 16000 are there"),
    ],
)
def test_a_wav_whose_header_contradicts_itself_is_refused(at: int, field: bytes, why: str) -> None:
    data = written("WAV", "PCM_16")
    assert why in reason(data[:at] + field + data[at + len(field) :])


def test_a_flac_is_held_to_the_md5_of_its_samples_and_the_rate_of_its_frames() -> None:
    data = bytearray(written("FLAC", "PCM_16"))
    data[30] ^= 1
    assert "do not match their MD5" in reason(bytes(data))
    data[26:42] = bytes(16)  # as streaming encoders leave it
    assert torch.equal(decode_clip(bytes(data))[0], decode_clip(written("FLAC", "PCM_16"))[0])
    data[19] ^= 4
    assert "its first frame 16000 Hz" in reason(bytes(data))


def test_ogg_pages_are_held_to_their_checksums_and_numbers() -> None:
    data = written("OGG", "VORBIS", sound(4, 3.0, RATE))
    starts = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]
    assert len(starts) > 3
    flipped = bytearray(data)
    flipped[starts[-1] - 100] ^= 1
    assert "does not match its checksum" in reason(bytes(flipped))
    assert "missing or out of order" in reason(data[: starts[2]] + data[starts[3] :])
    assert "last page is missing" in reason(data[: starts[-1]])
    assert "several recordings" in reason(data + data)


def test_an_mp3_without_the_number_of_its_frames_is_read_to_its_end() -> None:
    data = encoded("mp3", sound(5, 3.0, 44100), 44100)
    first = _mp3_frame(data, 0)
    assert first is not None
    bare = data[first[1] :]
    # A decoder left alone takes the length from the first frame's bit rate, which this variable one exceeds.
    assert len(soundfile.read(io.BytesIO(bare))[0]) < 100_000
    whole, loose = decode_clip(data)[0], decode_clip(bare)[0]
    assert len(whole) == 132300
    assert 0 <= len(loose) - len(whole) <= 3 * 1152
    start = next(at for at in range(2000) if torch.equal(loose[at : at + 5000], whole[:5000]))
    assert torch.equal(loose[start : start + 130_000], whole[:130_000])


def test_mp3_frames_follow_one_another_and_are_counted() -> None:
    data = encoded("mp3", sound(5, 3.0, 44100), 44100)
    starts = [0]
    while (frame := _mp3_frame(data, starts[-1])) is not None:
        starts.append(starts[-1] + frame[1])
    middle = starts[20]
    assert "where one must follow" in reason(data[:middle] + b"\x55" * 7 + data[middle:])
    assert "promises" in reason(data[:middle] + data[starts[25] :])
    tagged = b"ID3\4\0\0\0\0\0\5" + bytes(5) + data + b"TAG" + bytes(125)
    assert torch.equal(decode_clip(tagged)[0], decode_clip(data)[0])


@pytest.mark.parametrize("rate", [1, 999, 384_001, 400_000])
def test_an_impossible_sample_rate_is_named(rate: int) -> None:
    assert f"sample rate of {rate} Hz" in reason(written("WAV", "PCM_16", SOUND, rate))


@pytest.mark.parametrize("rate", [1000, 384_000])
def test_the_outermost_sample_rates_are_resampled(rate: int) -> None:
    assert len(load_clip(written("WAV", "PCM_16", SOUND, rate), RATE)) == pytest.approx(8000 * RATE / rate, abs=1)


def test_rates_without_a_common_ratio_are_resampled_in_little_memory() -> None:
    clip = load_clip(written("WAV", "PCM_16", sound(1, 1.0, 44101), 44101), 48000)
    assert len(clip) == pytest.approx(48000, rel=5e-4)


def test_seven_hours_are_refused_by_the_header(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with path.open("wb") as stream:
        size = 7 * 3600 * 8000
        stream.write(
            b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
        )
        stream.write(b"data" + struct.pack("<I", size))
        stream.truncate(44 + size)
    with pytest.raises(InputError, match=r"long\.wav: the clip is 7\.0 hours long, longer than one"):
        load_clip(path, RATE)
    path.open("r+b").truncate(3_000_000_000)
    with pytest.raises(InputError, match=r"its 3\.0 GB are more than the 2 GB"):
        load_clip(path, RATE)


def test_more_than_64_channels_are_refused() -> None:
    assert "65 channels, more than 64" in reason(written("WAV", "PCM_16", np.repeat(SOUND[:, None], 65, axis=1)))


@pytest.mark.parametrize(
    "samples",
    [np.zeros(800), np.full(800, 0.3), 1e-6 * (np.arange(800) % 5), np.stack([SOUND, -SOUND], axis=1)],
    ids=["zeros", "offset", "below -100 dB", "channels that cancel"],
)
def test_a_silent_clip_is_refused_for_embedding_though_it_decodes(samples: np.ndarray) -> None:
    data = written("WAV", "FLOAT", samples)
    assert reason(data) == "the clip is silent"
    assert len(decode_clip(data)[0]) == len(samples)


def test_the_least_noise_of_16_bits_is_no_silence() -> None:
    noise = np.random.default_rng(0).integers(0, 2, 800).astype(np.int16)
    assert len(load_clip(written("WAV", "PCM_16", noise), RATE)) == 800


def test_absurd_samples_are_refused() -> None:
    samples = SOUND.copy()
    samples[9] = 1e30
    assert "1e+30 times full scale" in reason(written("WAV", "FLOAT", samples))
