"""Formats made of chunks (wav, aiff, w64), simplified before they are decoded, since the decoders miss some damage.

FFmpeg (8.1) reads a truncated wav, or one with a wrong size, as a shorter one; it stops at a chunk of odd size without
its pad byte, reads 24 bits in 4 bytes as floats, and finds no samples in an aiff or w64 whose sizes were never filled
in. libsndfile (1.2) is little better. So the chunks are parsed here, and the decoders get only two chunks of a wav: the
format and the samples.

Writers often get these wrong: sizes that a recorder or a pipe never filled in, other chunks, the total size and the
byte rate. None of this is a reason to refuse samples that are complete.
"""

from __future__ import annotations

import struct
from typing import Literal

import numpy as np

from sept_core.audio.formats import Fault

__all__ = ["closed_aiff", "closed_w64", "plain_wav"]

_Order = Literal["little", "big"]
# Formats whose samples have a fixed size, and the bits that it may have: PCM, float, A-law, mu-law.
_SAMPLE_BITS = {1: range(1, 33), 3: (32, 64), 6: (8,), 7: (8,)}
_EXTENSIBLE = 0xFFFE
_RATES = frozenset(
    (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000, 176400, 192000, 384000)
)
# No clip has 2 GB: these are placeholders for an unknown size. sox 0x7f000000 and 0x7ffff000, arecord 0x7fffff00
# and 0x80000000, FFmpeg and others 0xffffffff, each minus or plus the bytes before the samples.
_OPEN_SIZES = (range(0x7F000000, 0x7F001000), range(0x7FFFF000, 0x80001000), range(0xFFFFF000, 1 << 32))
_W64_DATA = b"data" + bytes.fromhex("f3acd3118cd100c04f8edb8a")
# Chunks after the samples; if one of them is truncated, the sound is still complete.
_KNOWN = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"cue ", b"smpl", b"inst", b"PEAK", b"fact", b"_PMX", b"JUNK")


def plain_wav(data: bytes) -> tuple[bytes, bool]:
    """A wav with its format and samples only, and whether the samples have a fixed size.

    Raises:
        Fault: It is cut off or damaged: its header contradicts itself or the content.
    """
    order: _Order = "big" if data[:4] == b"RIFX" else "little"
    fmt, wide_size, at = b"", 0, 12
    while True:
        name, size = _chunk(data, at, order)
        at += 8
        if name == b"data":
            break
        if at + size > len(data):
            raise Fault(f"cut off or damaged: chunk {name!r} reaches beyond the end of the file")
        if name == b"fmt ":
            fmt = data[at : at + size]
        elif name == b"ds64" and size >= 24:
            wide_size = int.from_bytes(data[at + 8 : at + 16], "little")
        at = _behind(data, at + size, order)
    if size == 0xFFFFFFFF and data[:4] in (b"RF64", b"BW64"):
        size = wide_size or size
    frame, fmt, wide = _checked_fmt(fmt, order)
    samples = _samples(data, at, size, frame or 1, order)
    if wide:
        samples = _left_aligned(samples, order)
    sizes = [value.to_bytes(4, order) for value in (20 + len(fmt) + len(samples), len(fmt), len(samples))]
    magic = b"RIFX" if order == "big" else b"RIFF"
    return b"".join((magic, sizes[0], b"WAVEfmt ", sizes[1], fmt, b"data", sizes[2], samples)), frame > 0


def _chunk(data: bytes, at: int, order: _Order) -> tuple[bytes, int]:
    """Name and size of the chunk at a position."""
    if at + 8 > len(data):
        raise Fault("cut off: it ends before the samples")
    if not _is_chunk(data, at):
        raise Fault(f"damaged: no chunk at byte {at}, where one must begin")
    return bytes(data[at : at + 4]), int.from_bytes(data[at + 4 : at + 8], order)


def _is_chunk(data: bytes, at: int) -> bool:
    name = bytes(data[at : at + 4])
    return at + 8 <= len(data) and name.isascii() and name.decode().isprintable()


def _behind(data: bytes, at: int, order: _Order) -> int:
    """Position of the chunk after one that ends at a position: after a pad byte, which some writers omit."""
    unpadded = at % 2 and data[at : at + 1] != b"\0" and _is_chunk(data, at)
    return at if unpadded and not data.startswith((b"fmt ", b"data", *_KNOWN), at + 1) else at + at % 2


def _checked_fmt(fmt: bytes, order: _Order) -> tuple[int, bytes, bool]:
    """Bytes of one sample of all channels (0 where the format has no such size), the format for the decoder, and
    whether samples are narrower than their 4 bytes.
    """
    if len(fmt) < 16:
        raise Fault("damaged: no chunk 'fmt ' before the samples")
    layout = ("<" if order == "little" else ">") + "HHIIHH"
    tag, channels, rate, byte_rate, align, bits = struct.unpack(layout, fmt[:16])
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        tag = int.from_bytes(fmt[24:26], order)
    if tag not in _SAMPLE_BITS:
        if len(fmt) < 18:
            raise Fault(f"damaged: its format {tag:#x} needs a longer header than it has")
        return 0, fmt, False
    width = align // channels if channels else 0
    wide = tag == 1 and width == 4 and 17 <= bits <= 24
    if not width or bits not in _SAMPLE_BITS[tag] or align % channels or (width != (bits + 7) // 8 and not wide):
        raise Fault(f"damaged: {channels} channels of {bits} bits do not make the {align} bytes that it states")
    # If rate and byte rate disagree, the rate is correct if it is a usual one.
    if byte_rate not in (0, rate * align, rate * channels * ((bits + 7) // 8)) and rate not in _RATES:
        raise Fault(f"damaged: {rate} Hz and {align} bytes a sample do not make the {byte_rate} bytes/s that it states")
    # The full width of a sample: EXTENSIBLE states the valid bits, which FFmpeg reads as the width.
    return align, struct.pack(layout, tag, channels, rate, rate * align & 0xFFFFFFFF, align, 8 * width), wide


def _samples(data: bytes, at: int, size: int, frame: int, order: _Order) -> bytes:
    """The samples that begin at a position."""
    there = len(data) - at
    end = at + size
    closed_at = int.from_bytes(data[4:8], order) + 8
    rest = _behind(data, end, order)
    if _is_open(size) or (size == 0 and there and not _are_chunks(data, at, order)):
        # An incomplete last sample, left by an interrupted writer, is dropped.
        return data[at : at + there - there % frame]
    if size > there:
        raise _cut_off(size, there)
    if size % frame:
        raise Fault(f"damaged: {size} bytes of samples are not a multiple of {frame}, the size of one of each channel")
    if end < len(data) and closed_at not in (end, rest) and not _are_chunks(data, rest, order):
        raise Fault("damaged: bytes after the samples belong to nothing")
    return data[at:end]


def _are_chunks(data: bytes, at: int, order: _Order) -> bool:
    """Whether only chunks follow from a position on, perhaps with an extra byte or a truncated last chunk."""
    while len(data) - at >= 8 and _is_chunk(data, at):
        name, size = _chunk(data, at, order)
        if at + 8 + size > len(data) and name in _KNOWN:
            return True
        at = _behind(data, at + 8 + size, order)
    return at >= len(data) or (not any(data[at : at + 8]) and len(data) - at < 8)


def _cut_off(promised: int, there: int) -> Fault:
    return Fault(f"cut off: the header promises {promised} bytes of samples, {there} are there")


def _is_open(size: int) -> bool:
    return any(size in sizes for sizes in _OPEN_SIZES)


def _left_aligned(samples: bytes, order: _Order) -> bytes:
    """Samples of 24 bits in 4 bytes, as 32 bits.

    ALSA (S24_LE) puts them into the lower bytes, with the sign above; others into the upper ones. If the top byte is
    only the sign, they are in the lower ones: otherwise the loudest sample would be below -48 dB.
    """
    values = np.frombuffer(samples, "<i4" if order == "little" else ">i4")
    lower = len(values) and max(int(values.max()), -int(values.min()) - 1) < 1 << 23
    return (values << 8).astype(values.dtype).tobytes() if lower else samples


def closed_aiff(data: bytes) -> bytes:
    """An aiff whose missing sizes, which its writer could not fill in afterwards, are set from its content.

    Raises:
        Fault: It ends before its samples.
    """
    at, comm = 12, 0
    while True:
        name, size = _chunk(data, at, "big")
        at += 8
        if name == b"SSND":
            break
        comm = at if name == b"COMM" else comm
        at = _behind(data, at + size, "big")
    if not comm or not (_is_open(size) or (size <= 8 and len(data) - at > 8)):
        return data
    frame = int.from_bytes(data[comm : comm + 2], "big") * ((int.from_bytes(data[comm + 6 : comm + 8], "big") + 7) // 8)
    frames = (len(data) - at - 8) // max(frame, 1)
    end = at + 8 + frames * frame
    whole, counted, samples = (value.to_bytes(4, "big") for value in (end - 8, frames, end - at))
    return b"".join((data[:4], whole, data[8 : comm + 2], counted, data[comm + 6 : at - 4], samples, data[at:end]))


def closed_w64(data: bytes) -> bytes:
    """A w64 whose missing size, which its writer could not fill in afterwards, is set from its content.

    Raises:
        Fault: It is cut off, which FFmpeg does not report.
    """
    at = data.find(_W64_DATA, 0, 1 << 16) + len(_W64_DATA)
    if at < len(_W64_DATA):
        raise Fault("cut off or damaged: it has no samples")
    # A size counts the name and itself.
    size, there = int.from_bytes(data[at : at + 8], "little"), len(data) - at + len(_W64_DATA)
    if size >= 1 << 62:
        return b"".join((data[:at], there.to_bytes(8, "little"), data[at + 8 :]))
    if size > there:
        raise _cut_off(size, there)
    return data
