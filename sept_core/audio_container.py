"""What the container of a sound file says of itself, checked before a decoder sees the file.

Decoders are made to play on: they pass over damaged Ogg pages and MP3 frames, and read a file that is cut off as if it
were short. Here such files are refused, by what each container offers:

    wav, aiff, au   sizes of chunks against the bytes that are there; wav: byte rate against sample rate
    flac            the first frame's header against STREAMINFO (the decoder's caller checks the MD5 of the samples)
    ogg             CRC and number of every page, first and last page of every stream
    mp3             frame upon frame without a gap, and their number where the encoder wrote it

Samples of wav, aiff, au and mp3 have no checksum: bits flipped among them cannot be noticed by any reader.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal

from sept_core.audio_frames import Fault, after_id3, check_flac, check_mp3, check_ogg, is_mp3

__all__ = ["Fault", "check_container"]

_OPEN_SIZES = (0x7FFFF000, *range(0xFFFFFF00, 1 << 32))  # sox; ffmpeg and others, less what stands before
# Formats of wav whose samples have a fixed size, and the bits that it may have: PCM, float, A-law, mu-law.
_SAMPLE_BITS = {1: range(1, 33), 3: (32, 64), 6: (8,), 7: (8,)}
_EXTENSIBLE = 0xFFFE


def check_container(data: bytes) -> bytes:
    """The bytes to decode, once their container is found whole.

    Returns:
        What was given; for a wav whose writer could not go back to fill in sizes, and an mp3 without the number of its
        frames, the same with what is there.

    Raises:
        Fault: Empty, of no known format, cut off, or damaged.
    """
    if not data:
        raise Fault("the file is empty")
    if data.count(0) == len(data):
        raise Fault("the file holds nothing but zeros")
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        return _check_wav(data)
    check = _check_of(data)
    if check is None:
        begins = f"it begins with {bytes(data[:24])!r}"
        # Text has no control characters, and 512 bytes of anything else nearly always have.
        if all(byte >= 32 or byte in b"\t\r\n\f" for byte in data[:512]):
            raise Fault(f"its content is text: {begins}")
        raise Fault(f"its content is none of wav, flac, ogg, mp3, aiff and au: {begins}")
    return check(data) or data


def _check_of(data: bytes) -> Callable[[bytes], bytes | None] | None:
    if data[:4] == b"OggS":
        return check_ogg
    if data[:4] == b".snd":
        return _check_au
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return _check_aiff
    if data.startswith(b"fLaC", after_id3(data)):
        return check_flac
    return check_mp3 if is_mp3(data) else None


def _cut_off(promised: int, there: int, of: str = "samples") -> Fault:
    return Fault(f"cut off: the header promises {promised} bytes of {of}, {there} are there")


def _check_wav(data: bytes) -> bytes:
    """Chunk by chunk to the samples, and from there to the end; what to decode."""
    riff = int.from_bytes(data[4:8], "little")
    fmt, wide_size, at = b"", 0, 12
    while True:
        name, size, at = *_chunk(data, at), at + 8
        if name == b"data":
            break
        if at + size > len(data):
            raise Fault(f"damaged: chunk {name!r} reaches beyond the end of the file")
        if name == b"fmt ":
            fmt = data[at : at + size]
        elif name == b"ds64" and data[:4] == b"RF64" and size >= 24:
            wide_size = int.from_bytes(data[at + 8 : at + 16], "little")
        at += size + size % 2
    frame = _check_fmt(fmt)
    there = len(data) - at
    if data[:4] == b"RF64":
        size, riff = (wide_size or size) if size == 0xFFFFFFFF else size, 0xFFFFFFFF
    unclosed = riff == 0 or riff in _OPEN_SIZES
    if size in _OPEN_SIZES or (size == 0 and (unclosed or riff + 8 <= at)):
        return data if data[:4] == b"RF64" else _with_sizes(data, at)
    if size > there:
        raise _cut_off(size, there)
    if frame and size % frame:
        raise Fault(f"damaged: {size} bytes of samples are no multiple of {frame}, the size of one of each channel")
    end = len(data) if unclosed else min(riff + 8, len(data))
    if end < at + size:
        raise Fault("damaged: the samples reach beyond the end that its RIFF header states")
    _check_rest(data, at + size + size % 2, end)
    return data


def _chunk(data: bytes, at: int, order: Literal["little", "big"] = "little") -> tuple[bytes, int]:
    """Name and size of the chunk at a place."""
    name = bytes(data[at : at + 4])
    if at + 8 > len(data):
        raise Fault("cut off: it ends before the samples")
    if not (name.isascii() and name.decode().isprintable()):
        raise Fault(f"damaged: no chunk at byte {at}, where one must stand")
    return name, int.from_bytes(data[at + 4 : at + 8], order)


def _check_fmt(fmt: bytes) -> int:
    """Bytes of one sample of all channels; 0 where the format has no such size."""
    if len(fmt) < 16:
        raise Fault("damaged: no chunk 'fmt ' before the samples")
    tag, channels, rate, byte_rate, align, bits = struct.unpack("<HHIIHH", fmt[:16])
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        tag = int.from_bytes(fmt[24:26], "little")
    if tag not in _SAMPLE_BITS:
        return 0
    if not channels or bits not in _SAMPLE_BITS[tag] or align != channels * ((bits + 7) // 8):
        raise Fault(f"damaged: {channels} channels of {bits} bits do not make the {align} bytes that it states")
    if byte_rate not in (0, rate * align):
        raise Fault(f"damaged: {rate} Hz and {align} bytes a sample do not make the {byte_rate} bytes/s that it states")
    return int(align)


def _check_rest(data: bytes, at: int, end: int) -> None:
    """What stands behind the samples must be chunks: else the size of the samples is wrong."""
    while end - at >= 8:
        _, size = _chunk(data, at)
        at += 8 + size + size % 2
        if at > end + 1:
            raise Fault("damaged: a chunk after the samples reaches beyond the end of the file")
    if at < end and any(data[at:end]):
        raise Fault("damaged: bytes after the samples belong to nothing")


def _with_sizes(data: bytes, samples: int) -> bytes:
    """A wav whose sizes were left open, with those of what is there."""
    sizes = [(len(data) - start).to_bytes(4, "little") for start in (8, samples)]
    return b"".join((data[:4], sizes[0], data[8 : samples - 4], sizes[1], data[samples:]))


def _check_aiff(data: bytes) -> None:
    name, at = b"", 12
    while name != b"SSND":
        name, size = _chunk(data, at, "big")
        at += 8 + size + size % 2
        if at > len(data) + 1:
            raise _cut_off(size, len(data) - (at - size - size % 2), f"chunk {name.decode()!r}")


def _check_au(data: bytes) -> None:
    start, size = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
    there = len(data) - start
    if len(data) < 24 or there < 0:
        raise Fault("cut off: it ends before the samples")
    if size != 0xFFFFFFFF and size > there:
        raise _cut_off(size, there)
