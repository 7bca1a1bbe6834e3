"""Damaged sound files, and what decoding makes of them; a program of its own, so that a crash ends only it.

    python audio_damage.py 720          # one line of JSON for each file: before it is decoded, and after
    python audio_damage.py 720 AUDIO    # of real clips: a folder with esc10 and fsdd in it

The damage is seeded: the same number gives the same files.
"""

from __future__ import annotations

import io
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

KINDS = {
    "wav-16": ("WAV", "PCM_16"),
    "wav-24": ("WAV", "PCM_24"),
    "wav-float": ("WAV", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", None),
}
DAMAGES = ("bits", "run", "truncation", "insertion", "deletion", "header", "splice", "zeros")
HEADER = 200  # bytes in which formats keep what they say of themselves


@dataclass(frozen=True)
class Damaged:
    """A file after something has happened to it, and the one that it was."""

    kind: str
    damage: str
    original: bytes
    data: bytes


def sound(seed: int, seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """Tones with noise, ``[samples]`` or ``[samples, channels]``, float32."""
    chance = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    tones = sum(0.2 * np.sin(2 * np.pi * hertz * time) for hertz in chance.uniform(100, rate / 3, 3))
    samples = (tones[:, None] + 0.05 * chance.standard_normal((len(time), channels))).astype(np.float32)
    return samples[:, 0] if channels == 1 else samples


def encoded(kind: str, samples: np.ndarray, rate: int) -> bytes:
    """A sound file of one of ``KINDS``."""
    stream = io.BytesIO()
    container, subtype = KINDS[kind]
    soundfile.write(stream, samples, rate, format=container, subtype=subtype)
    return stream.getvalue()


def originals(kind: str, audio: Path | None = None) -> tuple[bytes, ...]:
    """Two different files of a kind: made ones, or real clips (WAV and Ogg as they are, the others encoded anew)."""
    if audio is not None:
        clips = sorted((audio / "esc10").rglob("*.ogg"))[:2]
        if kind in ("wav-16", "ogg"):
            clips = clips if kind == "ogg" else sorted((audio / "fsdd").rglob("*.wav"))[:2]
            return tuple(clip.read_bytes() for clip in clips)
        return tuple(encoded(kind, *soundfile.read(clip, frames=40_000, dtype="float32")) for clip in clips)
    return encoded(kind, sound(1, 0.5, 16000), 16000), encoded(kind, sound(2, 0.3, 44100, 2), 44100)


def damaged(count: int, audio: Path | None = None) -> list[Damaged]:
    """So many damaged files, all kinds and damages in turn."""
    of = {kind: originals(kind, audio) for kind in KINDS}
    made: list[Damaged] = []
    for number in range(count):
        chance = random.Random(f"damage {number}")
        kind, damage = [*KINDS][number % len(KINDS)], DAMAGES[number // len(KINDS) % len(DAMAGES)]
        first, second = of[kind] if chance.random() < 0.5 else of[kind][::-1]
        other = second if chance.random() < 0.7 else chance.choice(of[chance.choice([*KINDS])])
        data = first
        while data == first:
            data = _damage(damage, first, other, chance)
        made.append(Damaged(kind, damage, first, data))
    return made


def _damage(damage: str, data: bytes, other: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    at = chance.randrange(4, len(data))
    length = min(chance.choice((1, 2, 4, 8, 64, 1000)), len(data) - at)
    if damage == "bits":
        for _ in range(chance.choice((1, 1, 3, 20))):
            changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif damage == "run":
        changed[at : at + length] = chance.randbytes(length)
    elif damage == "truncation":
        return data[: chance.choice((0, 1, 4, 12, 40, 44, 58, at, at, at, len(data) - length))]
    elif damage == "insertion":
        changed[at:at] = chance.randbytes(length)
    elif damage == "deletion":
        del changed[at : at + length]
    elif damage == "header":
        place = chance.randrange(min(HEADER, len(data) - 4))
        changed[place : place + 4] = chance.choice(
            (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0\0\0", b"\0\0\0\1", chance.randbytes(4))
        )
    elif damage == "splice":
        return data[:at] + other[chance.randrange(len(other)) :]
    else:
        changed[at : at + 20 * length] = bytes(len(changed[at : at + 20 * length]))
    return bytes(changed)


def outcome(data: bytes) -> dict[str, object]:
    """What decoding gives: a reason, or what the waveform is like."""
    import hashlib

    from sept_core.audio.waveform import decode_clip
    from sept_core.errors import InputError

    try:
        waveform, rate = decode_clip(data)
    except InputError as error:
        return {"reason": error.what}
    return {
        "rate": rate,
        "samples": len(waveform),
        "finite": bool(waveform.isfinite().all()),
        "peak": float(waveform.abs().max()),
        "digest": hashlib.sha256(waveform.numpy().tobytes()).hexdigest(),
    }


def main() -> None:
    audio = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    for number, one in enumerate(damaged(int(sys.argv[1]), audio)):
        print(json.dumps({"number": number}), flush=True)
        print(json.dumps({"number": number} | outcome(one.data)), flush=True)


if __name__ == "__main__":
    main()
