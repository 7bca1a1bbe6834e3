"""Spoken digits from a formant synthesiser: any number of voices, while the recordings have three.

A digit is a row of segments; pitch, vocal tract length, pace and bandwidth are drawn for every clip. Targets of the
formants are textbook values of American English.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from infra.mini.signals import RATE, Signal, band, noise

__all__ = ["DIGIT_RECIPES"]


@dataclass(frozen=True)
class Segment:
    """A stretch of speech.

    Attributes:
        seconds: Typical length.
        formants: Targets in Hz at its end; they change gradually from the previous segment.
        voice: Level of the voice.
        hiss: Level of friction noise.
        low: Lower edge of the friction in Hz.
    """

    seconds: float
    formants: tuple[float, float, float]
    voice: float = 1.0
    hiss: float = 0.0
    low: float = 3000.0


def _vowel(seconds: float, *formants: float) -> Segment:
    return Segment(seconds, (formants[0], formants[1], formants[2]))


def _fricative(seconds: float, hiss: float, low: float, second: float) -> Segment:
    return Segment(seconds, (300, second, 2600), voice=0.0, hiss=hiss, low=low)


_S = _fricative(0.11, 0.5, 3200, 1700)
_F = _fricative(0.09, 0.15, 1200, 1000)
_N = Segment(0.09, (270, 1500, 2500), voice=0.35)
_V = Segment(0.06, (300, 1200, 2400), voice=0.35, hiss=0.06, low=1500)
_R = _vowel(0.07, 350, 1150, 1600)
_CLOSURE = Segment(0.06, (350, 1900, 2600), voice=0.0)
_BURST = _fricative(0.03, 0.5, 2500, 1800)

SEGMENTS = {
    "zero": (
        Segment(0.08, (300, 1700, 2600), voice=0.3, hiss=0.25, low=3200),
        _vowel(0.09, 380, 2000, 2650),
        _R,
        _vowel(0.13, 530, 950, 2400),
        _vowel(0.08, 380, 820, 2300),
    ),
    "one": (_vowel(0.07, 310, 650, 2300), _vowel(0.14, 650, 1190, 2450), _N),
    "two": (_BURST, _vowel(0.07, 320, 1600, 2400), _vowel(0.18, 310, 950, 2300)),
    "three": (_fricative(0.08, 0.1, 1500, 1400), _R, _vowel(0.07, 320, 1900, 2500), _vowel(0.17, 280, 2300, 3000)),
    "four": (_F, _vowel(0.12, 560, 850, 2450), _vowel(0.12, 470, 1150, 1700)),
    "five": (_F, _vowel(0.12, 760, 1250, 2500), _vowel(0.11, 420, 2000, 2600), _V),
    "six": (_S, _vowel(0.10, 400, 1980, 2550), _CLOSURE, _fricative(0.02, 0.4, 1500, 1800), _S),
    "seven": (_S, _vowel(0.09, 570, 1800, 2500), _V, _vowel(0.07, 500, 1400, 2400), _N),
    "eight": (_vowel(0.09, 500, 1950, 2550), _vowel(0.12, 360, 2250, 2750), _CLOSURE, _BURST),
    "nine": (_N, _vowel(0.12, 760, 1250, 2500), _vowel(0.11, 420, 2000, 2600), _N),
}


def _speak(rng: Generator, segments: tuple[Segment, ...]) -> Signal:
    throat, pace = rng.uniform(0.85, 1.3), rng.uniform(0.75, 1.5)
    # Shorter vocal tracts tend to have higher voices.
    pitch = 120 * throat ** rng.uniform(0.5, 3.0) * rng.uniform(0.7, 1.6)
    start = segments[0].formants
    times, targets, voices, hisses = [0.0], [start], [segments[0].voice], [segments[0].hiss]
    for segment in segments:
        length = segment.seconds * pace * rng.uniform(0.7, 1.4)
        wobble = throat * rng.uniform(0.92, 1.08, 3)
        goal = (segment.formants[0] * wobble[0], segment.formants[1] * wobble[1], segment.formants[2] * wobble[2])
        # A third of a segment on the way from the last one, the rest at its target.
        for part in (length / 3, 2 * length / 3):
            times.append(times[-1] + part)
            targets.append(goal)
            voices.append(segment.voice)
            hisses.append(segment.hiss)
    size = round(times[-1] * RATE)
    clock = np.arange(size) / RATE
    tracks = [np.interp(clock, times, [target[i] for target in targets]) for i in range(3)]
    voiced = _voiced(rng, pitch * np.linspace(1.05, rng.uniform(0.7, 1.05), size), tracks, rng.uniform(0.7, 1.6))
    low = np.median([segment.low for segment in segments if segment.hiss > 0] or [3000.0])
    friction = band(noise(rng, size / RATE), float(low) * rng.uniform(0.8, 1.2), 7500)[:size]
    friction /= np.abs(friction).max()
    speech = voiced * np.interp(clock, times, voices) + friction * np.interp(clock, times, hisses) * rng.uniform(
        0.4, 1.5
    )
    # Most recordings of digits come over telephone-like channels.
    return band(speech, rng.uniform(60, 250), rng.choice([3400.0, 3900.0, 7500.0]), order=12.0)


def _voiced(rng: Generator, pitch: Signal, formants: list[Signal], tilt: float) -> Signal:
    phase = (
        2 * np.pi * np.cumsum(pitch * (1 + 0.01 * rng.standard_normal() * np.sin(np.arange(len(pitch)) / 900))) / RATE
    )
    signal = np.zeros(len(pitch))
    widths, levels = rng.uniform(60, 160, 3), (1.0, rng.uniform(0.4, 1.0), rng.uniform(0.15, 0.6))
    for number in range(1, int(4200 / pitch.min()) + 1):
        hertz = number * pitch
        gain = np.full(len(pitch), 0.01)
        for formant, width, level in zip(formants, widths, levels, strict=True):
            gain += level / (1 + ((hertz - formant) / width) ** 2)
        signal += number**-tilt * 3.0 * gain * np.cos(number * phase + 0.3 * number)
    return signal / (np.abs(signal).max() + 1e-9)


def _recipe(segments: tuple[Segment, ...]) -> Callable[[Generator], Signal]:
    return lambda rng: _speak(rng, segments)


DIGIT_RECIPES = {name: _recipe(segments) for name, segments in SEGMENTS.items()}
