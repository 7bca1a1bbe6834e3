"""Nothing that is sound is refused: every container that people hold, and what writers got wrong beside the samples."""

from __future__ import annotations

import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from audio_damage import outcome
from audio_made import FRAMES, MONO, RATE, STEREO, ape, chunk, fmt, id3, mp3_starts, muxed, wav, written

from sept_core.audio.waveform import decode_clip
from sept_core.errors import InputError

FAULTS = Path(__file__).parents[4] / "shared" / "faults"
RAW = STEREO.tobytes()
DATA = chunk(b"data", RAW)
EXPECTED = torch.from_numpy(STEREO.astype(np.float32) / 32768).mean(dim=1)
LAME = muxed("mp3", "libmp3lame", samples=MONO)
BARE = LAME[45 : 45 + mp3_starts(LAME[45:])[-1]]  # behind the ID3 tag
NOTE = 21  # where the note of the encoder stands in the first frame of a mono mp3


def read(data: bytes) -> torch.Tensor:
    waveform, rate = decode_clip(data, where="clip")
    assert rate == RATE
    return waveform


def close(data: bytes, apart: float = 0.0) -> bool:
    """Whether a file holds the stereo samples, sample for sample."""
    waveform = read(data)
    return len(waveform) == FRAMES and float((waveform - EXPECTED).abs().max()) <= apart


@pytest.mark.parametrize(
    ("name", "rate", "peak"),
    [
        ("mono-written-by-ffmpeg.mp3", 44100, 0.60),
        ("frames-with-crc-vbr.mp3", 44100, 0.45),
        ("reference-without-crc.mp3", 44100, 0.42),
        ("size-never-filled-in.wav", 44100, 0.63),
        ("length-unknown.flac", 44100, 0.63),
        ("24-bits-in-4-bytes.wav", 44100, 0.63),
        ("rain.opus", 48000, 0.60),
        ("RAIN.AIF", 44100, 0.63),
    ],
)
def test_the_odd_files_that_people_hold_come_out_whole(name: str, rate: int, peak: float) -> None:
    if not FAULTS.is_dir():
        pytest.skip("the odd sound files are not at ../shared/faults beside the project")
    waveform, own_rate = decode_clip(FAULTS / name)
    assert (own_rate, len(waveform)) == (rate, 2 * rate)
    assert float(waveform.abs().max()) == pytest.approx(peak, abs=0.01)


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        *(("wav", f"pcm_{kind}") for kind in ("s16le", "s24le", "s32le", "f32le", "f64le")),
        *(("aiff", f"pcm_{kind}") for kind in ("s16be", "s24be", "s32be", "s16le", "f32be")),
        *(("caf", "pcm_s16be"), ("caf", "alac"), ("au", "pcm_s16be"), ("au", "pcm_f32be"), ("w64", "pcm_s16le")),
        *(("flac", "flac"), ("ipod", "alac"), ("mov", "pcm_s16le")),
    ],
)
def test_what_loses_nothing_comes_out_sample_for_sample(container: str, codec: str) -> None:
    assert close(muxed(container, codec), 2**-24 if codec.startswith("pcm_f") else 0.0)


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC"])
def test_what_another_library_writes_does_too(container: str) -> None:
    assert close(written(container, "PCM_16"))


@pytest.mark.parametrize(
    ("container", "codec", "frames", "apart"),
    [
        ("mp3", "libmp3lame", FRAMES, 0.2),
        ("ipod", "aac", FRAMES + 1024, 0.0),  # the delay of the encoder, which PyAV as a writer does not note
        ("adts", "aac", 88 * 1024, 0.0),
        ("wav", "pcm_alaw", FRAMES, 0.02),
        ("wav", "pcm_mulaw", FRAMES, 0.02),
        ("au", "pcm_mulaw", FRAMES, 0.02),
        ("wav", "adpcm_ms", 89_056, 0.0),  # whole blocks
        ("wav", "adpcm_ima_wav", 88_479, 0.0),
        ("aiff", "adpcm_ima_qt", 88_256, 0.0),
        ("wav", "libmp3lame", 78 * 1152, 0.0),
    ],
)
def test_what_is_packed_comes_out_at_its_length(container: str, codec: str, frames: int, apart: float) -> None:
    waveform = read(muxed(container, codec))
    assert len(waveform) == frames
    if apart:
        assert float((waveform - EXPECTED).abs().max()) < apart
    assert float(waveform.abs().max()) == pytest.approx(float(EXPECTED.abs().max()), abs=0.15)


@pytest.mark.parametrize("size", [0, 0x7F000000, 0x7FFFF000, 0x7FFFFF00, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF - 44])
@pytest.mark.parametrize("whole", [0, 36, 0x7FFFF024, 0xFFFFFFFF, len(RAW) + 36])
def test_a_wav_whose_size_was_never_filled_in_has_the_samples_that_are_there(size: int, whole: int) -> None:
    data = wav(fmt(), chunk(b"data", RAW, size=size), whole=whole)
    assert close(data)
    assert close(data + b"\1")  # the writer was stopped within a sample


def test_an_aiff_a_w64_and_a_caf_whose_sizes_were_never_filled_in_too() -> None:
    aiff, w64, caf = (
        bytearray(muxed(kind, f"pcm_s16{order}")) for kind, order in (("aiff", "be"), ("w64", "le"), ("caf", "be"))
    )
    at = aiff.index(b"SSND")
    aiff[4:8] = aiff[22:26] = aiff[at + 4 : at + 8] = bytes(4)
    assert close(bytes(aiff))
    at = w64.index(b"data") + 16
    w64[at : at + 8] = b"\xff" * 7 + b"\x7f"
    assert close(bytes(w64))
    at = caf.index(b"data") + 4
    caf[at : at + 8] = b"\xff" * 8
    assert close(bytes(caf))


WIDE = STEREO.astype("<i4") << 16


@pytest.mark.parametrize(
    "data",
    [
        wav(chunk(b"JUNK", bytes(28)), fmt(), DATA),
        wav(fmt(), chunk(b"LIST", b"x" * 27), DATA),
        wav(fmt(), chunk(b"LIST", b"x" * 27, pad=False), DATA),
        wav(fmt(), DATA, chunk(b"LIST", b"x" * 27, pad=False), chunk(b"id3 ", b"y" * 10)),
        wav(fmt(), DATA, chunk(b"LIST", b"x" * 27, size=300)),
        wav(fmt(), DATA) + b"TAG" + b"\xe9" * 125,
        wav(fmt(), DATA, whole=5000),
        wav(fmt(), DATA, chunk(b"LIST", b"x" * 20), whole=5000),
        wav(fmt(), DATA, whole=5_000_000),
        wav(fmt(byte_rate=44100), DATA),
        wav(fmt(byte_rate=0), DATA),
        wav(fmt(16, valid=16), DATA),
        wav(fmt(32, 4, valid=24), chunk(b"data", WIDE.tobytes())),
        wav(fmt(24, 4, valid=24), chunk(b"data", WIDE.tobytes())),
        wav(fmt(24, 4), chunk(b"data", (WIDE >> 8).tobytes())),
        wav(fmt(20, 3, valid=20), chunk(b"data", (WIDE >> 8).view(np.uint8).reshape(-1, 4)[:, :3].tobytes())),
        wav(fmt(32, 4, tag=3, valid=32), chunk(b"data", (STEREO / 32768).astype("<f4").tobytes())),
        *(
            wav(
                chunk(b"ds64", struct.pack("<QQQI", len(RAW) + 72, len(RAW), FRAMES, 0)),
                *(fmt(), chunk(b"data", RAW, size=0xFFFFFFFF)),
                whole=0xFFFFFFFF,
                magic=magic,
            )
            for magic in (b"RF64", b"BW64")
        ),
        struct.pack(
            ">4sI8sIHHIIHH4sI", b"RIFX", 36 + len(RAW), b"WAVEfmt ", 16, 1, 2, RATE, 4 * RATE, 4, 16, b"data", len(RAW)
        )
        + STEREO.astype(">i2").tobytes(),
    ],
    ids=[
        *(
            "chunk in front",
            "odd chunk",
            "odd chunk unpadded",
            "odd chunk behind",
            "chunk behind cut off",
            "ID3v1 behind",
        ),
        *(
            "whole too small",
            "whole too small, chunk",
            "whole too large",
            "wrong byte rate",
            "no byte rate",
            "EXTENSIBLE",
        ),
        *("24 of 32 bits", "24 upper bits in 4 bytes", "24 lower bits in 4 bytes", "20 of 24 bits", "EXTENSIBLE float"),
        *("RF64", "BW64", "RIFX"),
    ],
)
def test_what_writers_of_wav_got_wrong_condemns_no_samples(data: bytes) -> None:
    assert close(data, 2**-24)


def test_a_flac_may_leave_its_length_and_digest_open_and_have_tags_around_it() -> None:
    data = muxed("flac", "flac")
    for tagged in (id3(300) + data, data + b"TAG" + bytes(125), data + ape(), data + ape() + b"TAG" + bytes(125)):
        assert close(tagged)
    streamed = bytearray(data)
    streamed[26:42] = bytes(16)
    assert close(bytes(streamed))
    streamed[21] &= 0xF0
    streamed[22:26] = bytes(4)
    assert close(bytes(streamed))


@pytest.mark.parametrize(
    "data",
    [
        id3(3000) + BARE + b"TAG" + b"\xe9" * 125,
        id3(3000) + id3(200) + BARE + id3(200),
        id3(200, struct.pack(">I", 200)) + BARE,
        BARE + ape(),
        ape() + BARE,
        BARE + ape() + b"TAG" + bytes(125),
        BARE + b"LYRICSBEGIN" + b"x" * 50 + b"LYRICS200" + b"TAG" + bytes(125),
        bytes(500) + BARE + bytes(700),
    ],
    ids=[
        "ID3 around",
        "ID3 twice and behind",
        "ID3 of plain size",
        "APE",
        "APE in front",
        "APE, ID3",
        "lyrics",
        "zeros",
    ],
)
def test_an_mp3_may_have_tags_around_it(data: bytes) -> None:
    assert torch.equal(read(data), read(BARE))
    assert len(read(data)) == FRAMES


def test_what_an_encoder_noted_of_an_mp3_cuts_nothing_where_it_is_out_of_date() -> None:
    """A note with a checksum that is wrong, or that counts fewer frames than are there, is left out."""
    whole = 78 * 1152
    for at, value in ((NOTE + 11, 75), (NOTE + 11, 110), (NOTE + 154, 1), (NOTE + 142, 255)):
        changed = bytearray(BARE)
        changed[at] = value
        assert len(read(bytes(changed))) == whole, at
    assert len(read(BARE + BARE)) == 2 * whole + 1152
    assert len(read(muxed("mp3", "libmp3lame", write_xing="0"))) == whole


@pytest.mark.skipif(shutil.which("lame") is None, reason="lame is not installed, and no library writes frames with CRC")
@pytest.mark.parametrize("channels", [MONO, STEREO], ids=["mono", "stereo"])
@pytest.mark.parametrize("options", ["-b 128 -p", "-V 2 -p", "-V 2", "--abr 100 -p", "-b 128 -t -p", "-b 64 --nores"])
def test_an_mp3_with_a_crc_in_each_frame_is_as_long_as_one_without(
    options: str, channels: np.ndarray, tmp_path: Path
) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", channels, RATE, subtype="PCM_16")
    subprocess.run(
        ["lame", "--quiet", *options.split(), "--resample", "44.1", tmp_path / "a.wav", tmp_path / "a.mp3"], check=True
    )
    assert len(read((tmp_path / "a.mp3").read_bytes())) == (78 * 1152 if "-t" in options else FRAMES)


def test_pictures_beside_the_sound_are_passed_over_and_two_sounds_are_not_chosen_from() -> None:
    assert len(read(muxed("mp4", "aac", video=True))) == FRAMES + 1024
    with pytest.raises(InputError, match="there is no audio in it"):
        decode_clip(muxed("mp4", video=True))
    with pytest.raises(InputError, match="it holds 2 audio streams, and it is unknown which one is meant"):
        decode_clip(muxed("ipod", "aac", "aac"))


def test_the_same_bytes_give_the_same_samples_in_any_thread() -> None:
    files = [BARE, muxed("ipod", "aac"), muxed("flac", "flac"), written("OGG", "VORBIS"), wav(fmt(), DATA)]
    alone = [outcome(file)["digest"] for file in files]
    with ThreadPoolExecutor(8) as pool:
        assert [one["digest"] for one in pool.map(outcome, files * 6)] == alone * 6
