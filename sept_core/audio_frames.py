"""Formats made of frames or pages, checked one after another: flac, ogg and mp3 (see ``sept_core.audio_container``)."""

from __future__ import annotations

import struct
import zlib

__all__ = ["Fault", "after_id3", "check_flac", "check_mp3", "check_ogg", "is_mp3"]

_ID3_HEADER = 10
_FLAC_RATES = (88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)  # codes 1 to 11
_OGG_HEADER = struct.Struct("<4sBBqIIIB")
_OGG_FIRST, _OGG_LAST = 2, 4
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
# Of the 32 bits of an MP3 frame's header: sync, version, layer, protection and sample rate, which all frames share.
_MP3_SHARED = 0xFFFF0C00
_MP3_KBITS = {
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = (44100, 48000, 32000)
_MP3_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")
_MP3_PADDING = 4096
_MP3_ENCODERS = (b"LAME", b"Lavf", b"Lavc")


class Fault(ValueError):  # noqa: N818 (a state of a file, turned into an InputError)
    """Why a file's bytes are no sound file that is whole, as half a sentence."""


def after_id3(data: bytes) -> int:
    """Where the sound begins, after ID3 tags at the front."""
    at = 0
    while data[at : at + 3] == b"ID3" and at + _ID3_HEADER <= len(data):
        if max(data[at + 6 : at + 10]) > 127:
            raise Fault("the ID3 tag at its beginning is damaged")
        size = int.from_bytes(bytes(data[at + 6 : at + 10]), "big")
        size = sum(((size >> 8 * part) & 127) << 7 * part for part in range(4))
        at += _ID3_HEADER * (2 if data[at + 5] & 0x10 else 1) + size
        if at >= len(data):
            raise Fault("cut off: the ID3 tag at its beginning promises more than is there")
    return at


def check_flac(data: bytes) -> None:
    """STREAMINFO, which nothing protects, against the header of the first frame. Raises Fault."""
    at = after_id3(data) + 4
    info = data[at + 4 : at + 38]
    if len(info) < 34 or data[at] & 127 or data[at + 1 : at + 4] != b"\0\0\x22":
        raise Fault("damaged: no STREAMINFO at its beginning")
    last = False
    while not last:
        if at + 4 > len(data):
            raise Fault("cut off: it ends before the samples")
        last = bool(data[at] & 128)
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    if at + 16 > len(data):
        raise Fault("cut off or damaged: no samples after its metadata")
    if data[at] != 0xFF or data[at + 1] & 0xFE != 0xF8:
        raise Fault("damaged: no frame after its metadata")
    packed = int.from_bytes(info[10:18], "big")
    rate, channels = packed >> 44, (packed >> 41 & 7) + 1
    stated_rate, stated_channels = _flac_frame(data[at : at + 16])
    if stated_rate not in (0, rate) or stated_channels != channels:
        raise Fault(
            f"damaged: its header states {rate} Hz and {channels} channels, its first frame {stated_rate} Hz and "
            f"{stated_channels}"
        )


def _flac_frame(header: bytes) -> tuple[int, int]:
    """Sample rate (0: as in STREAMINFO) and channels of a frame."""
    block, code, channels = header[2] >> 4, header[2] & 15, header[3] >> 4
    lead = f"{header[4]:08b}".index("0") if header[4] != 0xFF else 8
    at = 4 + max(lead, 1) + {6: 1, 7: 2}.get(block, 0)
    if code <= len(_FLAC_RATES):
        rate = _FLAC_RATES[code - 1] if code else 0
    elif code == 12:
        rate = header[at] * 1000
    else:
        rate = int.from_bytes(header[at : at + 2], "big") * {13: 1, 14: 10, 15: 0}[code]
    return rate, channels + 1 if channels < 8 else 2


def check_ogg(data: bytes) -> None:
    """Every page: its checksum, its number, and that its stream has a beginning and an end. Raises Fault."""
    at, pages, ended = 0, dict[int, int](), set[int]()
    begun = False  # whether a page other than a first one has come
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


def _ogg_page_size(data: bytes, at: int) -> int:
    header = at + _OGG_HEADER.size
    table = data[header : header + data[header - 1]] if header <= len(data) else b""
    size = _OGG_HEADER.size + len(table) + sum(table)
    if header > len(data) or len(table) < data[header - 1] or at + size > len(data):
        raise Fault("cut off within an Ogg page")
    return size


def _ogg_crc(page: bytes) -> int:
    """CRC-32 of Ogg, which is zlib's with the bits of each byte and of the result in the other order, from 0."""
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")


def check_mp3(data: bytes) -> bytes:
    """Every frame: where it must stand, and of one kind; and how many there are. Raises Fault.

    Returns:
        What to decode: where no encoder wrote the number of frames, it is put in front, since decoders guess the length
        from the first frame's, and end there.
    """
    start = at = _after_zeros(data, after_id3(data))
    first = _mp3_frame(data, at)
    if not first:
        raise Fault(f"damaged: no MP3 frame at byte {at}, where the sound must begin")
    frames = 0
    while at < len(data):
        frame = _mp3_frame(data, at)
        if not frame:
            _check_mp3_end(data, at)
            break
        if (frame[0] ^ first[0]) & _MP3_SHARED or _is_mono(frame[0]) != _is_mono(first[0]):
            raise Fault(f"damaged: the MP3 frame at byte {at} is of another kind than the first")
        if at + frame[1] > len(data):
            raise Fault("cut off within its last frame")
        frames += 1
        at += frame[1]
    if _states_count(data[start : start + first[1]], frames, at - start):
        return data
    return data[:start] + _count_frame(first[0], frames) + data[start:]


def is_mp3(data: bytes) -> bool:
    """Whether a file begins as an mp3 does: with an ID3 tag or with a frame, perhaps after some zeros."""
    return data[:3] == b"ID3" or _mp3_frame(data, _after_zeros(data, 0)) is not None


def _states_count(first: bytes, frames: int, size: int) -> bool:
    """Whether an encoder wrote the number of frames into the first one, which then has no sound. Raises Fault."""
    at = _after_side_info(int.from_bytes(first[:4], "big"))
    end = at + 154
    encoder, crc = first[at + 120 : at + 124], int.from_bytes(first[end : end + 2], "big")
    if first[at : at + 4] not in (b"Xing", b"Info") or len(first) < at + 16:
        if encoder in _MP3_ENCODERS and not any(first[4:at]):
            raise Fault("damaged: its first frame says nothing of the others")
        return False
    if len(first) >= end + 2 and (crc or encoder in _MP3_ENCODERS) and crc != _crc16(first[:end]):
        raise Fault("damaged: its first frame does not match its checksum")
    flags, stated, stated_size = struct.unpack_from(">III", first, at + 4)
    stated_size = stated_size if flags & 2 else 0
    # The first frame itself is not counted, except by some encoders.
    if flags & 1 and stated != frames - 1 and (stated != frames or stated_size not in (0, size)):
        kind = "cut off" if stated > frames - 1 else "damaged"
        raise Fault(f"{kind}: its header promises {stated} frames, {frames - 1} are there")
    return bool(flags & 1)


def _count_frame(header: int, frames: int) -> bytes:
    """A frame without sound that says how many follow, for sound whose frames have this header."""
    header = header & ~0xF200 | 9 << 12  # a bit rate that leaves room
    length = _mp3_length(header)
    frame = header.to_bytes(4, "big").ljust(_after_side_info(header), b"\0") + struct.pack(">4sII", b"Info", 1, frames)
    return frame.ljust(length, b"\0")


def _after_side_info(header: int) -> int:
    """Where a frame's main data begin: after header, CRC if any, and side information."""
    mono, checksum = header >> 6 & 3 == 3, 0 if header >> 16 & 1 else 2
    return 4 + checksum + ((17 if mono else 32) if header >> 19 & 3 == 3 else (9 if mono else 17))


def _crc16(data: bytes) -> int:
    """CRC-16 (polynomial 0x8005, reflected, from 0) of a few bytes."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def _after_zeros(data: bytes, at: int) -> int:
    """Where something other than zeros begins, as far as there may be padding."""
    head = data[at : at + _MP3_PADDING]
    return at + len(head) - len(head.lstrip(b"\0"))


def _check_mp3_end(data: bytes, at: int) -> None:
    """Behind the last frame there may be some padding, and tags."""
    after = _after_zeros(data, at)
    if after < len(data) and not data.startswith(_MP3_TAGS, after):
        raise Fault(f"damaged: no MP3 frame at byte {at}, where one must follow")


def _mp3_frame(data: bytes, at: int) -> tuple[int, int] | None:
    """Header and length in bytes of the MPEG layer III frame at a place; None where there is none."""
    header = int.from_bytes(data[at : at + 4], "big")
    version, layer, kbits, rate = header >> 19 & 3, header >> 17 & 3, header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer != 1 or kbits in (0, 15) or rate == 3:
        return None
    return header, _mp3_length(header)


def _mp3_length(header: int) -> int:
    """Bytes of a frame with this header."""
    version = header >> 19 & 3  # 3: MPEG-1; 2 and 0: MPEG-2 and 2.5, of half and a quarter of its rates
    hertz = _MP3_RATES[header >> 10 & 3] >> {3: 0, 2: 1, 0: 2}[version]
    kbits = _MP3_KBITS[1 if version == 3 else 2][(header >> 12 & 15) - 1]
    return (144000 if version == 3 else 72000) * kbits // hertz + (header >> 9 & 1)


def _is_mono(header: int) -> bool:
    return header >> 6 & 3 == 3
