"""Building blocks of synthesised sounds: numpy arrays ``[samples]`` at ``RATE`` Hz, randomness from a generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = [
    "RATE",
    "Signal",
    "band",
    "decay",
    "events",
    "finish",
    "harmonics",
    "modes",
    "noise",
    "pluck",
    "pulses",
    "swell",
    "track",
]

RATE = 16000
Signal = NDArray[np.float64]


def noise(rng: Generator, seconds: float, slope: float = 0.0) -> Signal:
    """Noise whose amplitude spectrum falls with frequency to the power ``slope`` (0 white, 0.5 pink, 1 brown)."""
    size = max(round(seconds * RATE), 8)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum *= np.maximum(np.fft.rfftfreq(size, 1 / RATE), 20.0) ** -slope
    signal = np.fft.irfft(spectrum, size)
    return signal / np.abs(signal).max()


def band(signal: Signal, low: float, high: float, order: float = 4.0) -> Signal:
    """Band-pass between ``low`` and ``high`` Hz with soft edges."""
    hertz = np.maximum(np.fft.rfftfreq(len(signal), 1 / RATE), 1.0)
    gain = 1 / np.sqrt((1 + (low / hertz) ** order) * (1 + (hertz / high) ** order))
    return np.fft.irfft(np.fft.rfft(signal) * gain, len(signal))


def decay(seconds: float, attack: float, fall: float) -> Signal:
    """Envelope: linear rise over ``attack`` seconds, then exponential fall with time constant ``fall``."""
    time = np.arange(max(round(seconds * RATE), 8)) / RATE
    return np.minimum(time / max(attack, 1e-4), 1.0) * np.exp(-np.maximum(time - attack, 0) / fall)


def swell(rng: Generator, seconds: float, rate: float, depth: float) -> Signal:
    """Slow random modulation around 1 with about ``rate`` turns a second; ``depth`` 1 reaches silence."""
    knots = rng.uniform(1 - depth, 1 + depth, int(seconds * rate) + 4)
    time = np.linspace(0, len(knots) - 1, round(seconds * RATE))
    return np.maximum(np.interp(time, np.arange(len(knots)), knots), 0.0)


def track(seconds: float, points: Sequence[float]) -> Signal:
    """Values that pass evenly through ``points`` over ``seconds``, on a logarithmic scale (pitch contours)."""
    time = np.linspace(0, len(points) - 1, max(round(seconds * RATE), 8))
    return np.exp(np.interp(time, np.arange(len(points)), np.log(points)))


def harmonics(rng: Generator, pitch: Signal, tilt: float, formants: Sequence[float] = (), rough: float = 0.0) -> Signal:
    """Voiced sound along a ``pitch`` contour in Hz: harmonics falling as n^-tilt, raised around ``formants``.

    ``rough`` jitters the period, as throats and combustion do.
    """
    jittered = pitch * (1 + rough * np.interp(np.arange(len(pitch)), *_knots(rng, len(pitch))))
    phase = 2 * np.pi * np.cumsum(jittered) / RATE
    signal = np.zeros(len(pitch))
    for number in range(1, min(int(RATE / 2 / pitch.min()), 40) + 1):
        hertz = number * pitch
        gain = np.where(hertz < RATE / 2 - 200, number**-tilt, 0.0)
        if formants:
            gain = gain * (
                0.05 + sum(1 / (1 + ((hertz - formant) / (0.12 * formant + 60)) ** 2) for formant in formants)
            )
        signal += gain * np.sin(number * phase + rng.uniform(0, 2 * np.pi))
    return signal / (np.abs(signal).max() + 1e-9)


def _knots(rng: Generator, size: int) -> tuple[Signal, Signal]:
    count = size // 160 + 2
    return np.linspace(0, size, count), rng.standard_normal(count)


def modes(rng: Generator, seconds: float, hertz: Sequence[float], fall: float) -> Signal:
    """A struck body: sinusoids at ``hertz``, the higher ones dying sooner than time constant ``fall``."""
    time = np.arange(round(seconds * RATE)) / RATE
    signal = np.zeros(len(time))
    for frequency in hertz:
        lifetime = fall * (hertz[0] / frequency) ** 0.5 * rng.uniform(0.6, 1.4)
        signal += rng.uniform(0.3, 1.0) * np.sin(2 * np.pi * frequency * time) * np.exp(-time / lifetime)
    return signal / (np.abs(signal).max() + 1e-9)


def pluck(rng: Generator, seconds: float, pitch: float, damping: float) -> Signal:
    """A plucked string: harmonics that die the sooner the higher they are."""
    time = np.arange(round(seconds * RATE)) / RATE
    signal = np.zeros(len(time))
    for number in range(1, int(7000 / pitch) + 1):
        level = rng.uniform(0.4, 1) / number
        signal += level * np.sin(2 * np.pi * number * pitch * time) * np.exp(-time * damping * number)
    return signal / np.abs(signal).max()


def events(seconds: float, times: Sequence[float], make: Callable[[], Signal]) -> Signal:
    """Silence of ``seconds`` with a fresh ``make()`` added at each of ``times``."""
    signal = np.zeros(round(seconds * RATE))
    for time in times:
        start = int(time * RATE)
        if 0 <= start < len(signal):
            event = make()[: len(signal) - start]
            signal[start : start + len(event)] += event
    return signal


def pulses(rng: Generator, seconds: float, rate: float, jitter: float = 0.0) -> list[float]:
    """Times in ``seconds`` at ``rate`` a second; ``jitter`` 0 is a clock, 1 is nearly random."""
    count = int(seconds * rate) + 1
    regular = (np.arange(count) + rng.uniform(0, 1)) / rate
    return list(regular + jitter * rng.standard_normal(count) / rate)


def finish(rng: Generator, signal: Signal) -> Signal:
    """What a recording adds: a room, a microphone's response, a noise floor; peak between 0.2 and 0.9."""
    signal = signal / (np.abs(signal).max() + 1e-9)
    if rng.random() < 0.6:
        tail = noise(rng, 0.6) * decay(0.6, 0.002, rng.uniform(0.02, 0.25))
        size = len(signal) + len(tail)
        wet = np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(tail, size), size)[: len(signal)]
        signal = signal + rng.uniform(0.1, 0.8) * wet / (np.abs(wet).max() + 1e-9)
    hertz = np.fft.rfftfreq(len(signal), 1 / RATE)
    response = np.interp(np.log(hertz + 50), np.linspace(np.log(50), np.log(8050), 7), rng.uniform(-8, 8, 7))
    signal = np.fft.irfft(np.fft.rfft(signal) * 10 ** (response / 20), len(signal))
    signal = signal / (np.abs(signal).max() + 1e-9)
    floor = noise(rng, len(signal) / RATE, rng.uniform(0, 1))[: len(signal)]
    signal[: len(floor)] += floor * 10 ** rng.uniform(-4, -1.5)
    return signal / np.abs(signal).max() * rng.uniform(0.2, 0.9)
