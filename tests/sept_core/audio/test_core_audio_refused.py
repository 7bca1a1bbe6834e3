"""Nothing that is unsound is trusted: files that are cut off or damaged, and files made to do harm.

What each container tells of itself, and so what is refused:

    format          cut off   bits flipped in the samples   samples missing in the middle
    wav, w64        yes       no                            yes   (size of the samples against what is there)
    aiff, au, caf   yes       no                            yes   (number of samples)
    flac            yes       yes                           yes   (CRC and place of each frame, MD5, number of samples)
    ogg             yes       yes                           yes   (CRC and number of each page)
    mp3             yes       where frames have a CRC       yes   (frame upon frame, and the encoder's count of them)
    aac (ADTS)      yes       where it does not decode      yes   (frame upon frame)
    m4a             yes       where it does not decode      yes   (number and size of packets)

No reader can tell: that an mp3 or aac without a count ends between two frames, or in zeros; and that samples are
missing at the end of a wav, aiff, au, w64 or caf whose size was never filled in, or between the frames at the end of a
flac of unknown length.
"""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from audio_damage import DAMAGES, _damage, outcome
from audio_made import RATE, muxed, written

from sept_core.audio.waveform import decode_clip
from sept_core.errors import InputError

MADE = {
    "wav": lambda: muxed("wav", "pcm_s16le"),
    "wav, ADPCM": lambda: muxed("wav", "adpcm_ms"),
    "wav, MP3": lambda: muxed("wav", "libmp3lame"),
    "rf64": lambda: written("RF64", "PCM_16"),
    "w64": lambda: muxed("w64", "pcm_s16le"),
    "aiff": lambda: muxed("aiff", "pcm_s16be"),
    "aifc": lambda: muxed("aiff", "adpcm_ima_qt"),
    "au": lambda: muxed("au", "pcm_s16be"),
    "caf": lambda: muxed("caf", "pcm_s16be"),
    "caf, ALAC": lambda: muxed("caf", "alac"),
    "flac": lambda: muxed("flac", "flac"),
    "flac of unknown length": lambda: _streamed(muxed("flac", "flac")),
    "ogg": lambda: written("OGG", "VORBIS"),
    "opus": lambda: _opus(),
    "mp3": lambda: muxed("mp3", "libmp3lame"),
    "mp3 without a count": lambda: muxed("mp3", "libmp3lame", write_xing="0"),
    "aac": lambda: muxed("adts", "aac"),
    "m4a": lambda: muxed("ipod", "aac"),
    "m4a, ALAC": lambda: muxed("ipod", "alac"),
    "m4a in fragments": lambda: muxed("mp4", "aac", movflags="frag_keyframe+empty_moov"),
}
# Formats that keep a checksum of all that becomes sound.
CHECKED = {"flac", "flac of unknown length", "ogg", "opus"}


def _streamed(flac: bytes) -> bytes:
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(20) + flac[42:]


def _opus() -> bytes:
    import io

    import numpy as np
    import soundfile
    from audio_damage import sound

    stream = io.BytesIO()
    soundfile.write(stream, sound(5, 2.0, 48000).astype(np.float32), 48000, format="OGG", subtype="OPUS")
    return stream.getvalue()


@pytest.mark.parametrize("kind", MADE)
def test_a_file_that_is_cut_off_anywhere_is_refused_or_has_lost_no_sound(kind: str) -> None:
    data = MADE[kind]()
    whole = outcome(data)
    chance = random.Random(kind)
    ends = [len(data) - less for less in (1, 2, 3, 10, 100, 1000)] + [chance.randrange(1, len(data)) for _ in range(30)]
    refused = 0
    for end in ends:
        cut = outcome(data[:end])
        refused += "reason" in cut
        # Behind the sound there may be tags.
        assert "reason" in cut or cut["digest"] == whole["digest"], end
    assert refused >= 30


@pytest.mark.parametrize("kind", MADE)
def test_a_damaged_file_is_refused_or_as_long_as_it_was(kind: str) -> None:
    data = MADE[kind]()
    whole = outcome(data)
    refused = 0
    for number in range(64):
        damage = DAMAGES[number % len(DAMAGES)]
        damaged = outcome(_damage(damage, data, data[::-1], random.Random(f"{kind} {number}")))
        if "reason" in damaged:
            assert "\n" not in str(damaged["reason"])
            refused += 1
        elif kind in CHECKED:
            assert damaged["digest"] == whole["digest"], number
        elif kind == "mp3 without a count" and damage == "zeros":
            # Zeros in place of the last frames are taken for padding behind them.
            assert damaged["samples"] <= whole["samples"], number
        elif "mp3" in kind or kind == "m4a in fragments":
            # What says how much of it is padding may be gone; nothing is ever lost.
            assert 0 <= damaged["samples"] - whole["samples"] <= 3 * 1152, number
        else:
            assert damaged["samples"] == whole["samples"], number
    assert refused >= 16


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "its content is text"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "its content is text"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n", "its content is text"),
        (b"http://127.0.0.1/clip.wav", "its content is text"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01" + bytes(100), "is none of wav, flac, ogg"),
        (b"\x00\x00\x01\xba" + bytes(100), "is none of wav, flac, ogg"),
        (b"\x7fELF\2\1\1" + bytes(100), "is none of wav, flac, ogg"),
        (b"ID3\4\0\0\0\0\0\4" + bytes(4) + b"#EXTM3U\nfile:///etc/passwd\n", "no sound at byte 14"),
        (b"APETAGEX" + struct.pack("<III", 2000, 0xFFFFFFF0, 0), "cut off: the APE tag"),
        (b"OggS" + bytes(22) + b"\xff", "cut off within an Ogg page"),
        (b"\xff\xfb\x00\xc4" + bytes(500), "free bit rate"),
        (b"\0\0\0\x10ftypM4A \0\0\0\0" + b"\xff\xff\xff\xffmoov" + bytes(100), "cut off or damaged"),
    ],
)
def test_nothing_but_sound_is_opened(content: bytes, why: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_clip(content, where="clip")
    assert why in caught.value.what


def test_a_movie_that_refers_to_another_file_does_not_open_it(tmp_path: Path) -> None:
    other = tmp_path / "other.m4a"
    other.write_bytes(muxed("ipod", "alac"))
    name = str(other).encode()
    # An alias with a path, in place of the reference to the file itself.
    path = struct.pack(">hh", 2, len(name)) + name + bytes(len(name) % 2) + struct.pack(">hh", -1, 0)
    alias = bytes(6) + struct.pack(">HH", 2, 0) + bytes(32) + bytes(12) + bytes(64) + bytes(4) + bytes(30) + path
    data = bytearray(muxed("ipod", "alac"))
    at = data.index(b"url \0\0\0\1")
    boxes = [data.index(box) for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov")]
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    for box in boxes:
        size = int.from_bytes(data[box - 4 : box], "big")
        data[box - 4 : box] = (size + len(entry) - 12).to_bytes(4, "big")
    data[at - 4 : at + 8] = entry
    # The samples are not there: only the other file has them.
    at = data.index(b"mdat") + 4
    size = int.from_bytes(data[at - 8 : at - 4], "big") - 8
    data[at : at + size] = bytes(size)
    with pytest.raises(InputError, match="cannot be decoded as audio"):
        decode_clip(bytes(data))


def test_a_small_file_cannot_claim_hours() -> None:
    for kind in ("aiff", "au", "caf", "w64"):
        data = bytearray(muxed(kind, "pcm_s16le" if kind == "w64" else "pcm_s16be"))
        huge = struct.pack(">I", 0x70000000)
        if kind == "aiff":
            data[22:26] = huge
        elif kind == "au":
            data[8:12] = huge
        else:
            at = data.index(b"data") + (4 if kind == "caf" else 16)
            data[at : at + 8] = struct.pack(">Q" if kind == "caf" else "<Q", 0x7000000000)
        with pytest.raises(InputError, match=r"hours long|cut off|damaged"):
            decode_clip(bytes(data))


def test_the_decoder_says_nothing_on_its_own(tmp_path: Path) -> None:
    data = [MADE[kind]() for kind in ("mp3", "m4a", "flac", "aiff", "ogg", "wav, ADPCM")]
    for number, file in enumerate(data):
        (tmp_path / f"{number}.whole").write_bytes(file)
        (tmp_path / f"{number}.cut").write_bytes(file[: len(file) // 2])
        (tmp_path / f"{number}.bits").write_bytes(file[:5000] + b"\x55" * 40 + file[5040:])
    program = (
        "import sys\nfrom pathlib import Path\nfrom sept_core.audio.waveform import decode_clip\n"
        "from sept_core.errors import InputError\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try:\n        decode_clip(path)\n    except InputError:\n        pass\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_an_absurd_rate_is_named() -> None:
    data = bytearray(muxed("au", "pcm_s16be"))
    data[16:20] = struct.pack(">I", 100 * RATE)
    with pytest.raises(InputError, match="a sample rate of 4410000 Hz, outside 1 kHz to 384 kHz"):
        decode_clip(bytes(data))
