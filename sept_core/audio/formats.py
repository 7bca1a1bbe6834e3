"""The supported sound files: suffixes of their names, and how each format begins.

The format is determined by the first bytes of a file, never by its name, and passed to the decoder, so that it guesses
nothing and cannot be tricked into a format that opens other files (playlists).
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["AUDIO_SUFFIXES", "FORMATS", "SILENT", "Fault", "format_of"]

FORMATS = ("wav", "flac", "ogg", "mp3", "opus", "m4a", "aac", "aiff", "au", "caf", "w64")
"""The supported formats, for messages."""

AUDIO_SUFFIXES = frozenset(
    [
        *(f".{name}" for name in FORMATS),
        *(".wave", ".bwf", ".rf64", ".oga", ".spx", ".mp4", ".m4b", ".aif", ".aifc", ".snd"),
    ]
)
"""Suffixes of audio files, in lower case; folders are searched for these in any case."""

SILENT = "the clip is silent"
"""The reason for refusing a clip without sound."""

_WAV = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_BEGINNINGS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("wav", lambda head: head[:4] in _WAV and head[8:12] == b"WAVE"),
    ("flac", lambda head: head[:4] == b"fLaC"),
    ("ogg", lambda head: head[:4] == b"OggS"),
    ("mov", lambda head: head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")),
    ("aiff", lambda head: head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")),
    ("au", lambda head: head[:4] == b".snd"),
    ("w64", lambda head: head[:16] == bytes.fromhex("726966662e91cf11a5d628db04c10000")),
    ("caf", lambda head: head[:4] == b"caff"),
    ("aac", lambda head: head[:1] == b"\xff" and head[1:2] in (b"\xf0", b"\xf1", b"\xf8", b"\xf9")),
    ("mp3", lambda head: head[:1] == b"\xff" and head[1:2] in (b"\xe2", b"\xe3", b"\xf2", b"\xf3", b"\xfa", b"\xfb")),
)


class Fault(ValueError):  # noqa: N818 (a state of a file, turned into an InputError)
    """The reason why bytes are not a complete sound file, as part of a sentence."""


def format_of(data: bytes, start: int) -> str:
    """FFmpeg's demuxer for a file whose sound begins at a position, after any tags.

    Raises:
        Fault: The file is empty, all zeros, or not in a supported format.
    """
    if not data:
        raise Fault("the file is empty")
    if data.count(0) == len(data):
        raise Fault("the file contains only zeros")
    head = data[start : start + 16]
    for name, begins in _BEGINNINGS:
        if begins(head):
            return name
    begins_with = f"it begins with {bytes(data[:24])!r}"
    # Text has no control characters, and 512 bytes of anything else nearly always have.
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in data[:512]):
        raise Fault(f"its content is text: {begins_with}")
    if data.startswith(b"ID3"):
        raise Fault(f"damaged: no sound at byte {start}, where its ID3 tag ends")
    raise Fault(f"its content is none of {', '.join(FORMATS[:-1])} and {FORMATS[-1]}: {begins_with}")
