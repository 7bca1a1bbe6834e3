"""Checks of ogg and mp3 for damage that FFmpeg and libsndfile ignore, since they are made to keep playing.

ogg     pages that do not match their checksum, are missing, or end without a last one: both continue silently
mp3     bytes between frames, and a last frame that is cut off: FFmpeg continues; and the number of frames that the
        encoder wrote at the start: FFmpeg truncates to it even if it is wrong
"""

from __future__ import annotations

import struct
import zlib

from sept_core.audio.formats import Fault

__all__ = ["after_tags", "before_tags", "check_ogg", "mp3_frames"]

_OGG_HEADER = struct.Struct("<4sBBqIIIB")
_OGG_FIRST, _OGG_LAST = 2, 4
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
# Of the 32 bits of an MP3 frame's header: sync, version, layer and sample rate, which all frames share.
_MP3_SHARED = 0xFFFE0C00
_MP3_KBITS = {
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = (44100, 48000, 32000)
_MP3_PADDING = 4096
_ID3_HEADER = 10
_TAGS_BEHIND = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")


def after_tags(data: bytes) -> int:
    """Position where the sound begins: after ID3 and APE tags, and zeros before an mp3. Raises Fault."""
    at = 0
    while data.startswith((b"APETAGEX", b"ID3"), at):
        name = data[at : at + 3].decode()
        if name == "ID3":
            at = _after_id3(data, at)
        else:
            at += 32 + int.from_bytes(data[at + 12 : at + 16], "little")
        if at >= len(data):
            raise Fault(f"cut off: the {name} tag at its beginning is longer than the file")
    padded = _after_zeros(data, at)
    return padded if _mp3_frame(data, padded) else at


def _after_id3(data: bytes, at: int) -> int:
    """Position where an ID3 tag ends: as in the standard or, if only that leads to frames, as some writers counted."""
    size = bytes(data[at + 6 : at + 10]).ljust(4, b"\0")
    begins = at + _ID3_HEADER * (2 if data[at + 5 : at + 6] and data[at + 5] & 0x10 else 1)
    right = begins + sum(byte << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True))
    plain = begins + int.from_bytes(size, "big")
    if max(size) > 127 or not _two_frames(data, right):
        if _two_frames(data, plain):
            return plain
        if max(size) > 127:
            raise Fault("the ID3 tag at its beginning is damaged")
    return right


def _after_zeros(data: bytes, at: int) -> int:
    """Position of the first byte that is not zero, within the longest possible padding."""
    head = data[at : at + _MP3_PADDING]
    return at + len(head) - len(head.lstrip(b"\0"))


def _two_frames(data: bytes, at: int) -> bool:
    frame = _mp3_frame(data, at)
    return frame is not None and _mp3_frame(data, at + frame[1]) is not None


def before_tags(data: bytes) -> int:
    """Position where the sound ends: before an ID3v1 and an APE tag at the end of a file."""
    end = len(data)
    if data[end - 128 : end - 125] == b"TAG":
        end -= 128
    if data[end - 32 : end - 24] == b"APETAGEX":
        size = int.from_bytes(data[end - 20 : end - 16], "little")
        end -= min(size + (32 if data[end - 9] & 0x80 else 0), end)
    return end


def check_ogg(data: bytes) -> int:
    """Check every page: its checksum, its number, and that its stream has a beginning and an end. Raises Fault.

    Returns:
        Number of streams.
    """
    at, pages, ended = 0, dict[int, int](), set[int]()
    begun = False  # whether a page other than a first one was read
    while at < len(data):
        if data[at : at + 4] != b"OggS":
            if not data[at:].strip(b"\0"):
                break
            raise Fault(f"damaged: no Ogg page at byte {at}, where one must follow")
        size = _ogg_page_size(data, at)
        _, version, flags, _, serial, number, crc, _ = _OGG_HEADER.unpack_from(data, at)
        if version or crc != _ogg_crc(data[at : at + 22] + bytes(4) + data[at + 26 : at + size]):
            raise Fault(f"damaged: the Ogg page at byte {at} does not match its checksum")
        if flags & _OGG_FIRST:
            if begun:
                raise Fault("it holds several recordings one after another")
        else:
            begun = True
        if number != pages.get(serial, -1) + 1 or bool(flags & _OGG_FIRST) != (serial not in pages) or serial in ended:
            raise Fault(f"damaged: pages are missing or out of order at byte {at}")
        pages[serial] = number
        if flags & _OGG_LAST:
            ended.add(serial)
        at += size
    if ended != set(pages):
        raise Fault("cut off: its last page is missing")
    return len(pages)


def _ogg_page_size(data: bytes, at: int) -> int:
    header = at + _OGG_HEADER.size
    table = data[header : header + data[header - 1]] if header <= len(data) else b""
    size = _OGG_HEADER.size + len(table) + sum(table)
    if header > len(data) or len(table) < data[header - 1] or at + size > len(data):
        raise Fault("cut off within an Ogg page")
    return size


def _ogg_crc(page: bytes) -> int:
    """CRC-32 of Ogg, which is zlib's with the bits of each byte and of the result reversed, starting from 0."""
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")


def mp3_frames(data: bytes, start: int) -> tuple[bytes, int]:
    """The frames from a position on, without the tags after them, and the number of frames with sound. Raises Fault.

    An encoder may write a first frame without sound that states how many frames follow and their padding. It is kept
    only if it is right. If it states more frames and its checksum is right, the file is cut off; otherwise it is out of
    date and dropped, so that nothing is truncated because of it.
    """
    first, at, lengths = _mp3_frame(data, start), start, list[int]()
    if not first:
        if data[start + 2] < 0x10:
            raise Fault("an mp3 of free bit rate, which cannot be read")
        raise Fault(f"damaged: no MP3 frame at byte {start}, where the sound must begin")
    while at < len(data):
        frame = _mp3_frame(data, at)
        if not frame:
            after = _after_zeros(data, at)
            if after < len(data) and not data.startswith(_TAGS_BEHIND, after):
                raise Fault(f"damaged: no MP3 frame at byte {at}, where one must follow")
            break
        if (frame[0] ^ first[0]) & _MP3_SHARED or _is_mono(frame[0]) != _is_mono(first[0]):
            raise Fault(f"damaged: the MP3 frame at byte {at} is of another kind than the first")
        if at + frame[1] > len(data):
            raise Fault("cut off within its last frame")
        lengths.append(frame[1])
        at += frame[1]
    note = data[start : start + lengths[0]]
    tag = _after_side_info(first[0])
    if note[tag : tag + 4] not in (b"Xing", b"Info") or len(note) < tag + 16:
        return data[start:at], len(lengths)
    flags, stated, size = struct.unpack_from(">III", note, tag + 4)
    sound, intact = len(lengths) - 1, _is_intact(note, tag)
    if not flags & 1:
        return data[start:at], sound
    # The frame itself is not counted, except by some encoders.
    if stated == sound + 1 and (not flags & 2 or size in (0, at - start)):
        stated = sound
    if stated > sound and intact:
        raise Fault(f"cut off: its header promises {stated} frames, {sound} are there")
    return data[start if stated == sound and intact else start + lengths[0] : at], sound


def _is_intact(note: bytes, tag: int) -> bool:
    """Whether the encoder's padding can be trusted: it matches its checksum, or there is no padding."""
    end = tag + 154
    if len(note) < end + 2 or not any(note[tag + 120 : end]):
        return True
    crc = int.from_bytes(note[end : end + 2], "big")
    # The checksum covers the bytes before it; FFmpeg uses 190 bytes, which may be too many for mono.
    return crc in (_crc16(note[:end]), _crc16((note[:end] + bytes(2) + note[end + 2 :]).ljust(190, b"\0")[:190]))


def _after_side_info(header: int) -> int:
    """Position of the encoder's information: after header and side information, as if there were no CRC between
    them."""
    mono = _is_mono(header)
    return 4 + ((17 if mono else 32) if header >> 19 & 3 == 3 else (9 if mono else 17))


def _crc16(data: bytes) -> int:
    """CRC-16 (polynomial 0x8005, reflected, from 0) of a few bytes."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def _mp3_frame(data: bytes, at: int) -> tuple[int, int] | None:
    """Header and length in bytes of the MPEG layer III frame at a position; None if there is none."""
    header = int.from_bytes(data[at : at + 4], "big")
    version, layer, kbits, rate = header >> 19 & 3, header >> 17 & 3, header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer != 1 or kbits in (0, 15) or rate == 3:
        return None
    hertz = _MP3_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]  # 3: MPEG-1; 2 and 0: MPEG-2 and 2.5, of half and a quarter
    table = _MP3_KBITS[1 if version == 3 else 2]
    return header, (144000 if version == 3 else 72000) * table[kbits - 1] // hertz + (header >> 9 & 1)


def _is_mono(header: int) -> bool:
    return header >> 6 & 3 == 3
