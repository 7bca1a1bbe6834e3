"""Sound files of all formats and oddities, made with the decoder's own libraries (PyAV, soundfile) or byte by byte."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import soundfile
from audio_damage import sound

RATE = 44100
FRAMES = 88_200
MONO = (sound(11, 2.0, RATE) * 30_000).astype(np.int16)
STEREO = np.stack([MONO, np.roll(MONO, 13) // 2], axis=1)
GUID = bytes.fromhex("000000001000800000aa00389b71")


def muxed(container: str, *codecs: str, samples: np.ndarray = STEREO, video: bool = False, **options: str) -> bytes:
    """A file that FFmpeg writes: int16 samples, a stream for each codec, perhaps a picture that moves."""
    stream = io.BytesIO()
    layout = "mono" if samples.ndim == 1 else "stereo"
    with av.open(stream, "w", format=container, options=options) as out:
        if video:
            pictures = out.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p")
        tracks = [out.add_stream(codec, rate=RATE, layout=layout) for codec in codecs]
        for track in tracks:
            track.codec_context.open(strict=False)
        for track in tracks:
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=layout)
            frame.sample_rate = RATE
            context = track.codec_context
            resampler = av.AudioResampler(context.format, layout, context.rate, frame_size=context.frame_size or None)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                out.mux(track.encode(part))
            out.mux(track.encode(None))
        if video:
            for number in range(50):
                picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 5 * number, np.uint8), format="rgb24")
                out.mux(pictures.encode(picture))
            out.mux(pictures.encode(None))
    return stream.getvalue()


def written(container: str, subtype: str, samples: np.ndarray = STEREO) -> bytes:
    """A file that libsndfile writes."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE, format=container, subtype=subtype)
    return stream.getvalue()


def chunk(name: bytes, content: bytes, *, size: int | None = None, pad: bool = True) -> bytes:
    """A chunk of a wav, perhaps with another size than it has, or without its pad byte."""
    stated = struct.pack("<I", len(content) if size is None else size)
    return name + stated + content + (b"\0" if pad and len(content) % 2 else b"")


def wav(*chunks: bytes, whole: int | None = None, magic: bytes = b"RIFF") -> bytes:
    """A wav of chunks, perhaps with another size of the whole."""
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(body) if whole is None else whole) + body


def fmt(bits: int = 16, width: int = 2, tag: int = 1, valid: int = 0, byte_rate: int | None = None) -> bytes:
    """The chunk that says what the stereo samples are; EXTENSIBLE where bits are ``valid``."""
    align = 2 * width
    fields = (0xFFFE if valid else tag, 2, RATE, RATE * align if byte_rate is None else byte_rate, align, bits)
    extension = struct.pack("<HHIH", 22, valid, 3, tag) + GUID if valid else b""
    return chunk(b"fmt ", struct.pack("<HHIIHH", *fields) + extension)


def mp3_starts(data: bytes) -> list[int]:
    """Where the frames of an mp3 without tags begin, and where the last one ends."""
    from sept_core.audio.frames import _mp3_frame

    starts = [0]
    while (frame := _mp3_frame(data, starts[-1])) is not None:
        starts.append(starts[-1] + frame[1])
    return starts


def id3(size: int, encoded: bytes | None = None) -> bytes:
    """An ID3 tag with a title in Latin-1 and so many bytes in all."""
    safe = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + (encoded or safe) + (b"TIT2\0\0\0\5\0\0\0\xe9\xe8\xe7\xe6" + bytes(size))[:size]


def ape(size: int = 50) -> bytes:
    """An APE tag with header and footer."""
    header, footer = (struct.pack("<8sIIII8x", b"APETAGEX", 2000, size, 0, flags) for flags in (0xA0000000, 0x80000000))
    return header + bytes(size - 32) + footer
