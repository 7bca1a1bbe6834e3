"""Synthesised sounds of classes that the bundled datasets lack: the joint space needs more than twenty classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from infra.mini.signals import (
    Signal,
    band,
    decay,
    events,
    harmonics,
    modes,
    noise,
    pluck,
    swell,
    track,
)
from infra.mini.sounds import SECONDS, U, calls, grains, hit, hits, hum, voice

__all__ = ["KIN_RECIPES"]


def _siren(r: Generator) -> Signal:
    low = U(r, 350, 800)
    return harmonics(r, track(SECONDS, [low, low * U(r, 1.3, 2.2)] * int(r.integers(2, 12))), U(r, 0.8, 2))


def _chirps(r: Generator, base: float, rate: float) -> Signal:
    def chirp() -> Signal:
        tone = harmonics(r, track(U(r, 0.05, 0.25), list(base * U(r, 0.7, 1.3, 4))), 3)
        return tone * np.hanning(len(tone))

    return calls(r, rate, 0.2, chirp)


def _trill(r: Generator, pitch: float, rate: float) -> Signal:
    """Insects: a high tone, chopped regularly, in groups."""
    chop = np.maximum(np.sin(2 * np.pi * rate * np.arange(80000) / 16000), 0) ** 2
    return harmonics(r, pitch * swell(r, SECONDS, 2, 0.01), 3) * chop * swell(r, SECONDS, U(r, 0.5, 4), 0.8)


def _beeps(r: Generator, pitch: float, rate: float, duty: float, tilt: float) -> Signal:
    tone = harmonics(r, np.full(80000, pitch), tilt)
    return tone * ((rate * np.arange(80000) / 16000 + U(r, 0, 1)) % 1 < duty)


def _boom(r: Generator, high: float, fall: float) -> Signal:
    return band(noise(r, SECONDS, 0.5), 30, high) * decay(SECONDS, 0.003, fall)


def _animal(r: Generator, low: float, high: float, length: float, size: float, rate: float, tilt: float) -> Signal:
    """Repeated calls of one throat, each rising to its middle and falling."""
    base = U(r, low, high)
    return calls(r, rate, 0.1, lambda: voice(
        r, [base * U(r, 0.7, 1), base * U(r, 1, 1.3), base * U(r, 0.6, 1)], length * U(r, 0.7, 1.4),
        (700 * size, 1400 * size, 2800 * size), tilt))  # fmt: skip


def _notes(r: Generator, make: Callable[[float], Signal]) -> Signal:
    root = U(r, 110, 440)
    return calls(r, U(r, 1, 5), 0.02, lambda: make(root * 2 ** (r.integers(0, 13) / 12)))


def _tone(r: Generator, pitch: float, tilt: float, length: float) -> Signal:
    tone = harmonics(r, pitch * swell(r, length, 6, 0.006), tilt)
    return tone * np.minimum(np.linspace(0, 12, len(tone)), 1) * np.minimum(np.linspace(8, 0, len(tone)), 1)


def _bells(r: Generator, low: float, high: float, rate: float, fall: float) -> Signal:
    base = U(r, low, high)
    return calls(r, rate, 0.05, lambda: modes(r, 2.5, [base * ratio for ratio in (1, 2, 2.4, 3, 4.2, 5.4)], fall))


def _alternate(r: Generator, rate: float, low: float, high: float, slope: float) -> Signal:
    """Strokes to and fro: saws, brushes, snores."""
    stroke = np.abs(np.sin(np.pi * rate * np.arange(80000) / 16000)) ** U(r, 0.5, 3)
    return band(noise(r, SECONDS, slope), low, high) * stroke


# Names are concepts of vocabulary.txt.
KIN_RECIPES: dict[str, Callable[[Generator], Signal]] = {
    "siren": _siren,
    "chirping birds": lambda r: _chirps(r, U(r, 1800, 4500), U(r, 1, 8)),
    "owl": lambda r: _animal(r, 250, 450, 0.4, 0.6, U(r, 0.5, 1.2), 2.5),
    "wolf": lambda r: voice(r, [300, U(r, 400, 900), U(r, 400, 800), 250], 4.0, (600, 1200), 1.5),
    "cat": lambda r: _animal(r, 350, 750, 0.7, 1.1, U(r, 0.4, 1), 0.6),
    "cow": lambda r: _animal(r, 90, 180, 1.6, 0.6, 0.5, 0.5),
    "sheep": lambda r: _animal(r, 180, 350, 0.8, 0.9, 0.8, 0.3) * (1 + 0.7 * np.sin(np.arange(80000) / 16000 * 60)),
    "pig": lambda r: _animal(r, 80, 160, 0.2, 0.9, U(r, 1, 4), 0.1) + 0.3 * hits(r, 3, 0.3, 300, 3000, 0.05),
    "crow": lambda r: _animal(r, 350, 600, 0.3, 1.3, U(r, 1, 2.5), 0.05) * swell(r, SECONDS, 90, 0.8),
    "hen": lambda r: _animal(r, 400, 700, 0.12, 1.3, U(r, 2, 5), 0.3),
    "duck": lambda r: _animal(r, 180, 300, 0.18, 1.2, U(r, 1.5, 4), 0.0),
    "frog": lambda r: _trill(r, U(r, 400, 1200), U(r, 20, 60)),
    "crickets": lambda r: _trill(r, U(r, 3500, 6500), U(r, 15, 60)),
    "mosquito buzzing": lambda r: _tone(r, U(r, 400, 700), 0.8, SECONDS) * swell(r, SECONDS, 1, 0.8),
    "insects": lambda r: hum(r, U(r, 120, 260), 0.6, 0.1, 0.02),
    "coughing": lambda r: (
        calls(r, U(r, 0.8, 2.5), 0.15, lambda: hit(r, 300, 3000, U(r, 0.04, 0.09)))
        + 0.3 * _animal(r, 90, 200, 0.2, 1, 1.5, 0.5)
    ),
    "laughing": lambda r: _animal(r, 150, 400, 0.12, 1.0, U(r, 4, 6), 0.7),
    "snoring": lambda r: (
        _alternate(r, U(r, 0.25, 0.5), 60, 900, 0.5) * np.maximum(np.sin(np.arange(80000) / 16000 * U(r, 150, 400)), 0)
    ),
    "breathing": lambda r: _alternate(r, U(r, 0.4, 1), 400, 5000, 0.2),
    "brushing teeth": lambda r: _alternate(r, U(r, 4, 8), 1500, 7500, 0),
    "hand saw": lambda r: _alternate(r, U(r, 1.5, 4), 600, 6000, 0) * swell(r, SECONDS, 150, 0.7),
    "clapping": lambda r: grains(r, U(r, 15, 150), 700, 3500, 0.006, 6.0),
    "footsteps": lambda r: hits(r, U(r, 1.3, 2.6), 0.04, 80, U(r, 600, 4000), U(r, 0.015, 0.05)),
    "door wood knock": lambda r: calls(
        r, U(r, 3, 6), 0.05, lambda: modes(r, 0.3, [U(r, 100, 250), 330, 520, 800], 0.03)
    ),
    "keyboard typing": lambda r: hits(r, U(r, 4, 10), 0.4, 1200, 7000, 0.006),
    "mouse click": lambda r: hits(r, U(r, 0.7, 2), 0.4, 2000, 7500, 0.003),
    "glass breaking": lambda r: events(
        SECONDS, list(0.3 + r.exponential(0.15, 40)), lambda: modes(r, 0.4, list(U(r, 1500, 7500, 5)), 0.05)
    ),
    "water drops": lambda r: calls(
        r,
        U(r, 0.8, 4),
        0.2,
        lambda: harmonics(r, track(0.06, [U(r, 400, 900), U(r, 1000, 2500)]), 4) * decay(0.06, 0.002, 0.02),
    ),
    "bubbles": lambda r: calls(
        r,
        U(r, 12, 40),
        0.8,
        lambda: (
            U(r, 0.1, 1) * harmonics(r, track(0.04, [U(r, 300, 900), U(r, 600, 1600)]), 4) * decay(0.04, 0.002, 0.015)
        ),
    ),
    "pouring water": lambda r: (
        band(noise(r, SECONDS), 500, 6000) * 0.3 * swell(r, SECONDS, 10, 0.6)
        + calls(r, 30, 0.8, lambda: harmonics(r, track(0.04, [500, U(r, 700, 2000)]), 4) * decay(0.04, 0.002, 0.015))
    ),
    "wind": lambda r: band(noise(r, SECONDS, 0.8), 60, U(r, 300, 1200)) * swell(r, SECONDS, 1, 0.8),
    "waterfall": lambda r: band(noise(r, SECONDS, U(r, 0.2, 0.6)), 60, 7900),
    "thunderstorm": lambda r: _boom(r, U(r, 150, 500), U(r, 1, 3)) * swell(r, SECONDS, 4, 0.8),
    "hail": lambda r: grains(r, U(r, 60, 200), 2500, 7500, 0.002, 5.0),
    "frying": lambda r: 0.3 * band(noise(r, SECONDS), 3000, 7900) + grains(r, U(r, 60, 200), 3000, 7500, 0.001, 3.0),
    "steam": lambda r: band(noise(r, SECONDS), U(r, 2500, 4500), 7900),
    "noise": lambda r: noise(r, SECONDS, U(r, 0, 1)),
    "rustling leaves": lambda r: band(noise(r, SECONDS), 2000, 7500) * swell(r, SECONDS, 12, 0.95),
    "engine": lambda r: hum(r, U(r, 40, 110), U(r, 0.5, 1.2), 0.15, U(r, 0.05, 0.3), 0.05),
    "engine idling": lambda r: hum(r, U(r, 18, 35), U(r, 0.3, 0.9), 0.02, U(r, 0.02, 0.2), 0.08),
    "motorcycle": lambda r: hum(r, U(r, 60, 140), U(r, 0.2, 0.6), 0.4, U(r, 0.05, 0.3), 0.08),
    "airplane": lambda r: band(noise(r, SECONDS, 0.6), 60, 3500) + 0.3 * hum(r, U(r, 80, 200), 1, 0.02, 0),
    "drone": lambda r: hum(r, U(r, 150, 260), 0.3, 0.05, 0.1) + hum(r, U(r, 150, 260), 0.3, 0.05, 0.1),
    "vacuum cleaner": lambda r: hum(r, U(r, 200, 450), 0.8, 0.01, U(r, 0.5, 1.5)),
    "washing machine": lambda r: (
        hum(r, U(r, 50, 120), 1.0, 0.05, 0.3) * (1.2 + np.sin(np.arange(80000) / 16000 * U(r, 3, 12)))
    ),
    "drilling": lambda r: hum(r, U(r, 150, 500), 0.2, 0.08, U(r, 0.2, 0.8), 0.03),
    "train": lambda r: band(noise(r, SECONDS, 0.6), 60, 2500) * 0.6 + hits(r, U(r, 2, 4), 0.03, 200, 2500, 0.05),
    "jackhammer": lambda r: hits(r, U(r, 10, 25), 0.02, 150, 6000, 0.012),
    "gun shot": lambda r: _boom(r, 6000, U(r, 0.03, 0.15)),
    "explosion": lambda r: _boom(r, U(r, 600, 2500), U(r, 0.3, 1)),
    "fireworks": lambda r: (
        calls(r, U(r, 0.6, 3), 0.5, lambda: U(r, 0.2, 1) * hit(r, 60, 3500, U(r, 0.05, 0.2)))
        + grains(r, 15, 1500, 7000, 0.003, 2.5) / 20
    ),
    "car horn": lambda r: _tone(r, U(r, 300, 500), 0.3, U(r, 0.5, 3)),
    "clock alarm": lambda r: _beeps(r, U(r, 1500, 3500), U(r, 2, 9), 0.5, 1.5),
    "beep": lambda r: _beeps(r, U(r, 500, 2500), U(r, 0.5, 2), U(r, 0.1, 0.4), 4),
    "telephone": lambda r: _trill(r, U(r, 1000, 2500), U(r, 15, 25)),
    "buzzer": lambda r: _beeps(r, U(r, 90, 300), U(r, 0.2, 1), 0.8, 0.2),
    "tone": lambda r: _tone(r, U(r, 200, 4000), 5, SECONDS),
    "sweep tone": lambda r: harmonics(r, track(SECONDS, [U(r, 100, 400), U(r, 1500, 6000)]), 4),
    "falling tone": lambda r: harmonics(r, track(SECONDS, [U(r, 1500, 6000), U(r, 100, 400)]), 4),
    "whistling": lambda r: _notes(r, lambda pitch: _tone(r, 4 * pitch, 4, 0.5)),
    "church bells": lambda r: _bells(r, 200, 600, U(r, 0.6, 1.8), 1.2),
    "bell": lambda r: _bells(r, 1200, 2500, U(r, 1, 6), 0.3),
    "gong": lambda r: _bells(r, 80, 220, 0.3, 2.5) + 0.1 * _boom(r, 5000, 1.5),
    "drum": lambda r: calls(
        r,
        U(r, 2, 6),
        0.02,
        lambda: (
            U(r, 0.3, 1)
            * (modes(r, 0.3, [U(r, 60, 220), 300], 0.08) + U(r, 0, 1) * np.resize(hit(r, 1000, 7000, 0.05), 4800))
        ),
    ),
    "guitar": lambda r: _notes(r, lambda pitch: pluck(r, 1.5, pitch, U(r, 0.4, 1.2))),
    "flute": lambda r: _notes(r, lambda pitch: _tone(r, 2 * pitch, 2.5, 0.6)),
    "organ": lambda r: _notes(r, lambda pitch: _tone(r, pitch, 0.9, 1.5)),
    "heartbeat": lambda r: calls(
        r, U(r, 1, 2), 0.01, lambda: events(0.5, [0, 0.25], lambda: modes(r, 0.15, [U(r, 40, 70)], 0.04))
    ),
}
