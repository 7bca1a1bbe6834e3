"""Common parts of the recipes of synthesised sounds: hits, grains, throats, calls, machines."""

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
    noise,
    pulses,
    swell,
    track,
)

__all__ = ["SECONDS", "U", "calls", "grains", "hit", "hits", "hum", "voice"]

SECONDS = 5.0
U = Generator.uniform  # Short, as recipes draw from it some three hundred times.


def hit(r: Generator, low: float, high: float, fall: float) -> Signal:
    """A burst of band-limited noise."""
    return band(noise(r, 6 * fall + 0.02), low, high) * decay(6 * fall + 0.02, 0.001, fall)


def hits(r: Generator, rate: float, jitter: float, low: float, high: float, fall: float) -> Signal:
    """Bursts of noise at ``rate`` a second: steps, keys, wheels on rails."""
    times = pulses(r, SECONDS, rate, jitter)
    return events(SECONDS, times, lambda: U(r, 0.3, 1) * hit(r, low * U(r, 0.7, 1.4), high * U(r, 0.7, 1.4), fall))


def grains(r: Generator, rate: float, low: float, high: float, fall: float, heavy: float) -> Signal:
    """Many small bursts at random times, loudness heavy-tailed: drops, sparks, bubbles of frying fat."""
    grains = [hit(r, low * U(r, 0.5, 2), high * U(r, 0.5, 1.5), fall * U(r, 0.4, 2)) for _ in range(12)]
    times = list(r.uniform(0, SECONDS, max(int(rate * SECONDS), 1)))
    return events(SECONDS, times, lambda: grains[r.integers(12)] * r.pareto(heavy))


def voice(r: Generator, pitch: list[float], length: float, formants: tuple[float, ...], tilt: float) -> Signal:
    """One call of a throat along the ``pitch`` points, with breath, fading in and out."""
    tone = harmonics(r, track(length, pitch), tilt, formants, rough=U(r, 0.002, 0.03))
    breath = band(noise(r, length), 800, 6000)[: len(tone)] * U(r, 0.01, 0.15)
    size = min(len(tone), len(breath))
    edge = np.minimum(np.linspace(0, 1, size) * U(r, 6, 20), np.linspace(1, 0, size) * U(r, 3, 10))
    return (tone[:size] + breath[:size]) * np.minimum(edge, 1)


def calls(r: Generator, rate: float, jitter: float, call: Callable[[], Signal]) -> Signal:
    """A fresh ``call()`` at ``rate`` a second."""
    return events(SECONDS, pulses(r, SECONDS, rate, jitter), call)


def hum(r: Generator, pitch: float, tilt: float, wobble: float, air: float, rough: float = 0.01) -> Signal:
    """A running machine: a harmonic buzz that wanders in pitch, and air."""
    contour = pitch * swell(r, SECONDS, U(r, 0.5, 2), wobble)
    tone = harmonics(r, np.maximum(contour, 15.0), tilt, (U(r, 300, 900), U(r, 1200, 3500)), rough)
    return tone + air * band(noise(r, SECONDS), 300, U(r, 2000, 7500))
