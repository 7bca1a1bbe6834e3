"""Decodes sound files with FFmpeg's libraries (PyAV); plain wav, Ogg Vorbis and Ogg Opus with libsndfile (soundfile).

FFmpeg continues at damage. Here an error in a packet is an error of the file, the number of samples must match the
packets and the header, and a flac must match its MD5. Damage that the libraries ignore even so is checked first:
``sept_core.audio.chunks`` and ``sept_core.audio.frames``.

libsndfile is used for Ogg Vorbis, since FFmpeg's decoder (8.1) drops the first 128 samples of files by libvorbis; for
Ogg Opus, since clips have been embedded with its samples; and for wav with samples of a fixed size, which both read
equally, since it opens a short clip in a fifth of the time.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from sept_core.audio.chunks import closed_aiff, closed_w64, plain_wav
from sept_core.audio.flac import StreamInfo
from sept_core.audio.formats import Fault, format_of
from sept_core.audio.frames import after_tags, before_tags, check_ogg, mp3_frames

__all__ = ["Sound", "open_sound"]

_BY_SNDFILE = (b"\x01vorbis", b"OpusHead")
_FIRST_PAYLOAD = 28  # of an Ogg stream: after the header of a page with one segment
_BLOCK = 1 << 18
_UNKNOWN_FRAMES = 1 << 62
# Errors of packets are errors of the file. One thread, so that the same bytes always give the same samples.
_STRICT = {"err_detect": "crccheck+bitstream+buffer+explode", "threads": "1"}
# No format that is named explicitly opens other files; this makes sure. No frame is longer than a few seconds.
_CLOSED = {"protocol_whitelist": "none", "enable_drefs": "0", "max_samples": str(1 << 22)}
# Their headers state the number of samples or packets: a file with fewer is cut off.
_COUNTED = frozenset({"aiff", "au", "caf", "flac"})
# Their last packet may be shorter than stated, or their clock is coarse.
_LOOSE = frozenset({"caf", "mov", "ogg"})
# FFmpeg (8.1) does not remove all the padding of their last packet.
_PADDED = frozenset({"mov", "mp3"})
# Its decoder removes the padding of the last packet; FFmpeg (8.1) would remove it a second time.
_TRIMS_ITSELF = "alac"
_SCALES = {"u1": 7, "i2": 15, "i4": 31, "i8": 63}


@dataclass(frozen=True)
class Sound:
    """A sound file while it is decoded.

    Attributes:
        rate: In Hz.
        channels: Number of channels.
        frames: Samples of each channel stated by the header; None if it states none.
        blocks: The samples, float32 ``[samples, channels]`` each. Raises Fault if the file turns out to be damaged.
    """

    rate: int
    channels: int
    frames: int | None
    blocks: Iterator[np.ndarray]


@contextmanager
def open_sound(data: bytes) -> Generator[Sound, None, None]:
    """A file's sound, ready to be decoded.

    Raises:
        Fault: It is not in a supported format, has no sound or several, is cut off, or is damaged.
    """
    start, packets = after_tags(data), None
    kind = format_of(data, start)
    if kind == "ogg":
        streams = check_ogg(data)
        if data.startswith(_BY_SNDFILE, _FIRST_PAYLOAD):
            if streams > 1:
                raise Fault(f"it holds {streams} streams, and it is unknown which one is meant")
            with _by_sndfile(data) as sound:
                yield sound
            return
    elif kind == "wav":
        data, fixed = plain_wav(data)
        if fixed:
            with _by_sndfile(data) as sound:
                yield sound
            return
    elif kind == "aiff":
        data = closed_aiff(data)
    elif kind == "w64":
        data = closed_w64(data)
    elif kind == "mp3":
        data, packets = mp3_frames(data, start)
    elif kind in ("flac", "aac"):
        data = data[start : before_tags(data)]
    with _by_ffmpeg(data, kind, packets) as sound:
        yield sound


@contextmanager
def _by_sndfile(data: bytes) -> Generator[Sound, None, None]:
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            stated = int(file.frames) if file.frames < _UNKNOWN_FRAMES else None
            length = max(_BLOCK // int(file.channels), 1)

            def blocks() -> Iterator[np.ndarray]:
                frames = 0
                while len(block := file.read(length, dtype="float32", always_2d=True)):
                    frames += len(block)
                    yield block
                if stated is not None and frames != stated:
                    raise _wrong_length(stated, frames)

            yield Sound(int(file.samplerate), int(file.channels), stated, blocks())
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        raise Fault(str(error).split(": ")[-1].strip().rstrip(".") or "damaged") from error


@contextmanager
def _by_ffmpeg(data: bytes, kind: str, packets: int | None) -> Generator[Sound, None, None]:
    import av
    from av.codec.context import Flags2

    try:
        # Tags may be in any encoding.
        with av.open(
            io.BytesIO(data), format=kind, options=_STRICT | _CLOSED, metadata_errors="replace", buffer_size=1 << 16
        ) as container:
            streams = container.streams.audio
            if not streams:
                raise Fault("there is no audio in it" if container.streams else "cut off or damaged: it is empty")
            if len(streams) > 1:
                raise Fault(f"it holds {len(streams)} audio streams, and it is unknown which one is meant")
            context = streams[0].codec_context
            # FFmpeg drops the end of a wma and ignores damaged packets.
            if context is None or context.name.startswith("wma"):
                raise Fault(f"its codec is not supported{f': {context.name}' if context else ''}")
            context.options = _STRICT
            context.thread_count = 1
            if context.name == _TRIMS_ITSELF:
                context.flags2 |= Flags2.skip_manual
            decoding = _Decoding(container, streams[0], kind, packets)
            with closing(decoding.blocks()) as blocks:
                yield Sound(decoding.rate, decoding.channels, decoding.stated, blocks)
    except av.FFmpegError as error:
        raise Fault(f"cut off or damaged: {error.strerror}") from error


@dataclass
class _Tally:
    """Counts of a stream so far: packets, their bytes, clock ticks, and decoded samples."""

    packets: int = 0
    size: int = 0
    ticks: int = 0
    longest: int = 0
    left_out: int = 0  # samples that are not sound: delay and padding
    timed: bool = True  # whether each packet states its duration
    frames: int = 0
    gaps: int = 0  # packets that do not begin where the previous one ends

    def add(self, packet: Any) -> None:
        """Count a packet."""
        self.gaps += packet.pts is not None and packet.pts != self.ticks
        self.packets, self.size = self.packets + 1, self.size + packet.size
        ticks = packet.duration or 0
        self.ticks, self.longest, self.timed = self.ticks + ticks, max(self.longest, ticks), self.timed and ticks > 0
        if packet.has_sidedata("skip_samples"):
            both = bytes(packet.get_sidedata("skip_samples"))
            self.left_out += int.from_bytes(both[:4], "little") + int.from_bytes(both[4:8], "little")


class _Decoding:
    """One stream of an open container, packet by packet.

    Args:
        container: A container of PyAV.
        stream: Its only audio stream.
        kind: FFmpeg's name for its format.
        packets: Expected number of packets; None if unknown.

    Attributes:
        rate: In Hz.
        channels: Number of channels.
        stated: Samples that the header states; None if it states none.

    Raises:
        Fault: Its beginning does not decode.
    """

    def __init__(self, container: Any, stream: Any, kind: str, packets: int | None) -> None:
        context = stream.codec_context
        self.container, self.stream, self.kind, self.packets = container, stream, kind, packets
        self.rate, self.channels = context.sample_rate, context.channels
        self.plain = context.name.startswith("pcm_")
        self.flac = StreamInfo.of(context)
        self.read = _Tally()
        self.frames = self._frames()
        self.first = next(self.frames, None)
        if self.first is not None:
            # Not from the header: AAC may decode to twice the stated rate.
            self.rate, self.channels = self.first.sample_rate, self.first.layout.nb_channels
        self.stated = self._stated()

    def _stated(self) -> int | None:
        if self.kind == "caf" and self.plain:
            return self.stream.frames or None
        ticks = self.stream.duration if self.kind in _COUNTED else None
        return None if ticks is None else _in_samples(ticks, self.stream, self.rate)

    def blocks(self) -> Generator[np.ndarray, None, None]:
        """The samples; checks at the end that they are complete. Raises Fault."""
        held: list[np.ndarray] = []
        for frame in chain(() if self.first is None else (self.first,), self.frames):
            # The last one is held back: it may have padding at its end.
            if sum(map(len, held)) * self.channels >= _BLOCK:
                yield _as_float(np.concatenate(held))
                held = []
            held.append(self._samples(frame))
            self.read.frames += len(held[-1])
        self._check_packets()
        excess = self._excess()
        self._check_header(self.read.frames - excess)
        if self.flac is not None:
            self.flac.check()
        if held:
            last = np.concatenate(held)
            yield _as_float(last[: max(len(last) - excess, 0)])

    def _frames(self) -> Iterator[Any]:
        import av

        try:
            for packet in self.container.demux(self.stream):
                # Without a codec the last packet may be shorter than the others; the samples are counted instead.
                if packet.is_corrupt and not (self.plain and self.kind != "mov"):
                    raise Fault(f"cut off or damaged: {self._place()} a packet is not whole")
                if packet.size:
                    self.read.add(packet)
                yield from packet.decode()
        except av.FFmpegError as error:
            raise Fault(f"cut off or damaged: {self._place()} it does not decode ({error.strerror})") from error

    def _place(self) -> str:
        return f"after {self.read.frames / (self.rate or 1):.2f} s"

    def _samples(self, frame: Any) -> np.ndarray:
        """The raw samples of a frame, ``[samples, channels]``."""
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        try:
            values = frame.to_ndarray()
        except ValueError as error:
            raise Fault(f"its sample format is not supported ({frame.format.name})") from error
        values = values.T if frame.format.is_planar else values.reshape(-1, channels)
        if self.flac is not None:
            self.flac.add(values, rate, channels)
        if (rate, channels) != (self.rate, self.channels):
            raise Fault(
                f"damaged: {self._place()} it changes from {self.rate} Hz and {self.channels} channels to {rate} Hz "
                f"and {channels}"
            )
        return values

    def _check_packets(self) -> None:
        packets, size = self.read.packets, self.read.size
        if self.packets is not None and packets != self.packets:
            raise Fault(f"damaged: {self.packets} frames are there, {packets} can be read")
        if self.kind == "flac" and self.read.gaps:
            raise Fault("damaged: frames are missing")
        if self.kind == "mov" and self.stream.frames:
            # Without a codec the header counts each sample as a packet.
            there = self.read.frames if self.plain else packets
            if there != self.stream.frames:
                raise Fault(f"cut off: its header promises {self.stream.frames} packets, {there} are there")
        if self.kind == "aac" and size != self.container.size:
            raise Fault(f"damaged: {self.container.size - size} bytes belong to no frame")

    def _excess(self) -> int:
        """Samples beyond the sum of the packets: padding of the last one. Raises Fault if there are too few."""
        if not self.read.timed:
            return 0
        left_out = 0 if self.stream.codec_context.name == _TRIMS_ITSELF else self.read.left_out
        expected = _in_samples(self.read.ticks, self.stream, self.rate) - left_out
        missing, longest = expected - self.read.frames, self._longest()
        if missing > (longest if self.kind in _LOOSE else 0) or -missing > longest:
            raise Fault(f"damaged: its packets add up to {expected} samples, {self.read.frames} can be decoded")
        return max(-missing, 0) if self.kind in _PADDED else 0

    def _longest(self) -> int:
        return _in_samples(self.read.longest, self.stream, self.rate)

    def _check_header(self, frames: int) -> None:
        if self.stated is None:
            return
        # The last packet of a CAF may be shorter than the others; its header does not say so.
        tolerated = self._longest() if self.kind == "caf" and not self.plain else 0
        if abs(frames - self.stated) > tolerated:
            raise _wrong_length(self.stated, frames)


def _as_float(values: np.ndarray) -> np.ndarray:
    """Samples as float32 in -1 to 1."""
    bits = _SCALES.get(values.dtype.str[1:])
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, which is refused
        values = values.astype(np.float32)
    if bits is None:
        return values
    if bits == _SCALES["u1"]:
        values -= 128
    return values * np.float32(2.0**-bits)


def _in_samples(ticks: int, stream: Any, rate: int) -> int:
    return round(ticks * stream.time_base * rate)


def _wrong_length(stated: int, frames: int) -> Fault:
    return Fault(f"cut off or damaged: its header promises {stated} samples, {frames} are there")
